"""A prompt's MLP outputs as the transcoder explains them: active features, constants, and the error that is left."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from replacement_model.capture import Capture
from replacement_model.transcoder import Transcoder

__all__ = ["Decomposition", "decompose"]


@dataclass(frozen=True, slots=True, eq=False)
class Decomposition:
    """What the transcoder says of one prompt; everything written is at the decoder's site.

    At every position: sum of acts * W_dec + constants + skip + errors = the host's MLP output.

    Attributes:
        features: (layer, pos, feature_idx) of every active feature, sorted in this order.
        feature_acts, pre_acts: their activations and pre-activations.
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
    found = [torch.empty(0, 3, dtype=torch.int64, device=outputs.device)]
    acts_found, pre_found = [outputs.new_empty(0)], [outputs.new_empty(0)]
    fvu: list[float] = []
    acts: dict[int, Tensor] = {}
    for layer, out in enumerate(outputs):
        x = capture.frozen.blocks[layer].tap(capture.resid_mid[layer], transcoder.encoder_tap)
        explained = torch.zeros_like(out)
        constant = torch.zeros_like(out)
        if transcoder.layers[layer] is not None:
            pre_acts = transcoder.pre_acts(layer, x)
            acts[layer] = transcoder.activate(layer, pre_acts)
            acts[layer][:n_ignored_pos] = 0
            where = acts[layer].nonzero()  # [n, 2]: pos, feature_idx
            found.append(torch.cat([torch.full_like(where[:, :1], layer), where], dim=1))
            acts_found.append(acts[layer][where[:, 0], where[:, 1]])
            pre_found.append(pre_acts[where[:, 0], where[:, 1]])
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
    return Decomposition(
        features=torch.cat(found),
        feature_acts=torch.cat(acts_found),
        pre_acts=torch.cat(pre_found),
        errors=errors,
        constants=constants,
        fvu=tuple(fvu),
        n_ignored_pos=n_ignored_pos,
    )


def _fvu(error: Float[Tensor, "pos d_model"], out: Float[Tensor, "pos d_model"]) -> float:
    """Fraction of variance unexplained; of the energy where a single position leaves no variance."""
    reference = out - out.mean(0) if len(out) > 1 else out
    return float(error.square().sum() / reference.square().sum())
