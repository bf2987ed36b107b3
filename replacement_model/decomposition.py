"""A prompt's MLP outputs as the transcoder explains them: active features, constants, and the error that is left."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from replacement_model.capture import Capture
from replacement_model.transcoder import ActiveFeatures, Transcoder

__all__ = ["Decomposition", "decompose"]


@dataclass(frozen=True, slots=True, eq=False)
class Decomposition:
    """What the transcoder says of one prompt; everything written is at the decoder's site.

    At every position: sum of acts * W_dec + constants + skip + errors = the host's MLP output.

    Attributes:
        features: (layer, pos, feature_idx) of every active feature, sorted in this order.
        feature_acts, pre_acts: their activations and pre-activations, equal where a feature is active.
        errors: zero at ignored positions.
        constants: b_dec; at ignored positions all that is written there but the skip, which stays a live path.
        fvu: per layer, errors' energy over the output's variance at positions that are not ignored; NaN where no
            transcoder writes.
        n_ignored_pos: leading positions without features.
    """

    features: Int[Tensor, "n_active 3"]
    feature_acts: Float[Tensor, "n_active"]
    pre_acts: Float[Tensor, "n_active"]
    errors: Float[Tensor, "n_layers pos d_model"]
    constants: Float[Tensor, "n_layers pos d_model"]
    fvu: tuple[float, ...]
    n_ignored_pos: int


def decompose(capture: Capture, transcoder: Transcoder, n_ignored_pos: int) -> Decomposition:
    """Encode a captured prompt, and split each MLP output into what the transcoder explains and its error.

    Args:
        capture: the host on the prompt.
        transcoder: in the capture's dtype and on its device.
        n_ignored_pos: leading positions (such as <bos>) whose features are not traced.
    """
    outputs = capture.at_site(transcoder.decoder_site)
    errors, constants = torch.zeros_like(outputs), torch.zeros_like(outputs)
    acts: dict[int, ActiveFeatures] = {}
    fvu: list[float] = []
    for layer, out in enumerate(outputs):
        x = capture.frozen.blocks[layer].tap(capture.resid_mid[layer], transcoder.encoder_tap)
        if transcoder.layers[layer] is not None:
            acts[layer] = transcoder.active_features(layer, x).since(n_ignored_pos)
            transcoder.prefetch_decoders(layer, acts[layer].feature_idx)
        explained, constant = torch.zeros_like(out), torch.zeros_like(out)
        written = bool(transcoder.source_layers(layer))
        if written:  # earlier layers write across one that has no features of its own
            explained = transcoder.reconstruct(acts, layer, x)
            constant = transcoder.b_dec[layer].expand_as(out).clone()
        errors[layer] = out - explained
        errors[layer, :n_ignored_pos] = 0
        skip = transcoder.skip(layer)
        constant[:n_ignored_pos] = out[:n_ignored_pos]
        if skip is not None:
            constant[:n_ignored_pos] -= x[:n_ignored_pos] @ skip.T
        constants[layer] = constant
        fvu.append(_fvu(errors[layer, n_ignored_pos:], out[n_ignored_pos:]) if written else float("nan"))
    feature_acts = torch.cat([outputs.new_empty(0), *(active.acts for active in acts.values())])
    return Decomposition(
        features=_indices(acts, outputs.device),
        feature_acts=feature_acts,
        pre_acts=feature_acts,
        errors=errors,
        constants=constants,
        fvu=tuple(fvu),
        n_ignored_pos=n_ignored_pos,
    )


def _indices(acts: dict[int, ActiveFeatures], device: torch.device) -> Int[Tensor, "n_active 3"]:
    found = [torch.empty(0, 3, dtype=torch.int64, device=device)]
    for layer, active in acts.items():
        layers = torch.full_like(active.pos, layer)
        found.append(torch.stack([layers, active.pos, active.feature_idx], dim=1))
    return torch.cat(found)


def _fvu(error: Float[Tensor, "pos d_model"], out: Float[Tensor, "pos d_model"]) -> float:
    """Fraction of variance unexplained; of the energy where a single position leaves no variance."""
    reference = out - out.mean(0) if len(out) > 1 else out
    return float(error.square().sum() / reference.square().sum())
