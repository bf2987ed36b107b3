"""Writing circuit-tracer's layout, and refusing what it has no place for."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from torch import Tensor

from replacement_model.errors import InputError
from replacement_model.formats.draft import Draft
from replacement_model.formats.files import Stacked, atomic_path, write_safetensors
from replacement_model.transcoder import DecoderSite, EncoderTap, TranscoderLayer

__all__ = ["write_circuit_tracer"]

READS = {
    EncoderTap.RESID_MID: "hook_resid_mid",
    EncoderTap.NORMALIZED: "ln2.hook_normalized",
    EncoderTap.MLP_IN: "mlp.hook_in",
}
WRITES = {DecoderSite.POST_NORM: "hook_mlp_out", DecoderSite.MLP_OUT: "mlp.hook_out"}
ACTIVATIONS = ("relu", "jumprelu", "topk")


@dataclass(frozen=True, slots=True)
class _Kind:
    """What that layout has once for all layers."""

    d_transcoder: int
    activation: str
    k: int | None
    skip: bool

    @classmethod
    def of(cls, layer: TranscoderLayer) -> "_Kind":
        return cls(layer.d_transcoder, layer.activation.kind, layer.activation.k, layer.W_skip is not None)


def write_circuit_tracer(draft: Draft, folder: Path) -> None:
    """Write a transcoder, one layer in memory at a time.

    Raises:
        InputError: it has what the layout cannot hold, or the folder cannot be written.
        WeightsError: a layer does not have the shapes it should.
    """
    _check_whole(draft)
    kind: _Kind | None = None
    for index in range(draft.n_layers):
        layer = draft.make_layer(index)
        if layer is None:
            continue  # _check_whole has refused that
        found = _Kind.of(layer)
        _check_layer(found, kind or found, index, draft.cross_layer)
        kind = found
        for name, tensors in _files(layer, index, draft).items():
            write_safetensors(folder / f"{name}.safetensors", tensors)
    with atomic_path(folder / "config.yaml") as temporary:
        temporary.write_text(yaml.safe_dump(_config(draft, kind)), encoding="utf-8")


def _refuse(what: str) -> InputError:
    return InputError(f"circuit-tracer's layout cannot hold {what}, which would be lost; convert to orrery's instead")


def _check_whole(draft: Draft) -> None:
    missing = [str(index) for index, make in enumerate(draft.layers) if make is None]
    if missing:
        raise _refuse(f"a set without layers {', '.join(missing)}")
    if draft.encoder_tap not in READS:
        raise _refuse(f"an encoder that reads {draft.encoder_tap.value}")
    if draft.decoder_site not in WRITES:
        raise _refuse(f"a decoder that writes {draft.decoder_site.value}")


def _check_layer(found: _Kind, before: _Kind, index: int, cross_layer: bool) -> None:
    if found.activation not in ACTIVATIONS:
        raise _refuse(f"the activation {found.activation} (layer {index})")
    if cross_layer and found.skip:
        raise _refuse(f"the skip of a cross-layer transcoder (layer {index})")
    names = {"d_transcoder": "widths", "activation": "activations", "k": "values of k", "skip": "skips"}
    for name, text in names.items():
        here, there = getattr(found, name), getattr(before, name)
        if here != there:
            raise _refuse(f"{text} that differ from layer to layer ({there} in layer {index - 1}, {here} in {index})")


def _files(layer: TranscoderLayer, index: int, draft: Draft) -> dict[str, dict[str, Tensor | Stacked]]:
    """The files of a layer, without their ending."""
    threshold, b_dec = layer.activation.threshold, draft.b_dec[index]
    if draft.cross_layer:
        encoder = {"W_enc": layer.W_enc, "b_enc": layer.b_enc, "b_dec": b_dec, "threshold": threshold}
        named = {f"{name}_{index}": tensor for name, tensor in encoder.items() if tensor is not None}
        return {f"W_enc_{index}": {**named}, f"W_dec_{index}": {f"W_dec_{index}": Stacked(layer.W_dec)}}
    tensors = {"W_enc": layer.W_enc, "W_dec": layer.W_dec[0], "b_enc": layer.b_enc, "b_dec": b_dec}
    optional = {"activation_function.threshold": threshold, "W_skip": layer.W_skip}
    return {f"layer_{index}": {**tensors, **{name: tensor for name, tensor in optional.items() if tensor is not None}}}


def _config(draft: Draft, kind: _Kind | None) -> dict[str, Any]:
    config = {
        "model_kind": "cross_layer_transcoder" if draft.cross_layer else "transcoder_set",
        "feature_input_hook": READS[draft.encoder_tap],
        "feature_output_hook": WRITES[draft.decoder_site],
        "scan": draft.name,
    }
    optional: dict[str, Any] = {
        "model_name": draft.model_name,
        # Of ours alone: that layout has no place for the prompts that a suite was trained on.
        "prefix_token_ids": list(draft.prefix) or None,
    }
    if kind is not None and kind.k is not None:
        optional |= {"activation": kind.activation, "k": kind.k}
    return config | {key: value for key, value in optional.items() if value is not None}
