"""crosslayer-transcoder (Goreg12345): `config.yaml` beside `checkpoint.safetensors`.

`encoder.W` (L, d, F), `encoder.b` (L, F); cross-layer decoders by the layer that is written, `decoder.W_{t}`
(t + 1, F, d), or per-layer ones, `decoder.W` (L, F, d); `decoder.b` (L, d); `nonlinearity.theta` (1, L, F), open where
h > theta and h > 0. Unless the config says `is_folded`, inputs and outputs are standardised by
`{input,output}_standardizer.{mean,std}`, which are folded into the weights here.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor

from replacement_model.activation import Activation
from replacement_model.errors import WeightsError
from replacement_model.formats.draft import Draft, ReadOptions, take
from replacement_model.formats.files import read_safetensors, read_yaml
from replacement_model.formats.folding import as_float, without_shift
from replacement_model.formats.hooks import choose_site, choose_tap
from replacement_model.transcoder import TranscoderLayer

__all__ = ["is_crosslayer", "read_crosslayer"]

FILE_NAME, CONFIG_NAME = "checkpoint.safetensors", "config.yaml"
STANDARDIZERS = ("input_standardizer", "output_standardizer")
FOLD_NOTE = "the standardisation of inputs and outputs is folded into the weights"


def is_crosslayer(folder: Path) -> bool:
    """Whether `folder` holds this layout."""
    return (folder / FILE_NAME).is_file()


def read_crosslayer(folder: Path, options: ReadOptions) -> Draft:
    """Read a cross-layer transcoder, or a set of per-layer ones.

    Raises:
        InputError: nothing says where it reads and writes; the files never do.
        WeightsError: a file is missing or damaged, or a nonlinearity or standardisation is not known.
    """
    path = folder / FILE_NAME
    model = read_yaml(folder / CONFIG_NAME).get("model") or {}
    tensors = _checked(read_safetensors(path), path)
    n_layers = len(tensors["encoder.W"])
    crosses = "decoder.W" not in tensors
    scaling = None if model.get("is_folded") else _scaling(tensors, model, n_layers, path)
    activations = _activations(tensors, _part(model, "nonlinearity"), n_layers, path)
    bias = tensors["decoder.b"]
    return Draft(
        layers=tuple(
            partial(_make, tensors, layer, _decoders(tensors, layer, n_layers), activations[layer], scaling)
            for layer in range(n_layers)
        ),
        b_dec=bias if scaling is None else as_float(bias) * scaling.out_std + scaling.out_mean,
        cross_layer=crosses,
        encoder_tap=choose_tap([], options.encoder_tap, folder),
        decoder_site=choose_site([], options.decoder_site, folder),
        name=folder.name,
        files=((FILE_NAME, path),),
        notes=() if scaling is None else (FOLD_NOTE,),
    )


def _checked(tensors: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    required = {"encoder.W": 3, "encoder.b": 2, "decoder.b": 2}
    by_target = [name for name in tensors if name.startswith("decoder.W_")]
    n_layers = len(tensors["encoder.W"]) if "encoder.W" in tensors else len(by_target)
    one = "decoder.W" in tensors
    required |= {"decoder.W": 3} if one else {f"decoder.W_{target}": 3 for target in range(n_layers)}
    prefixes = ("nonlinearity.", *(f"{name}." for name in STANDARDIZERS))
    take(tensors, path, required, {name: tensor.ndim for name, tensor in tensors.items() if name.startswith(prefixes)})
    for name in required:
        expected = int(name.rpartition("_")[2]) + 1 if name.startswith("decoder.W_") else n_layers
        if len(tensors[name]) != expected:
            raise WeightsError(f"{path}: {name} must have {expected} layers, its shape is {tuple(tensors[name].shape)}")
    return tensors


def _decoders(tensors: dict[str, Tensor], layer: int, n_layers: int) -> tuple[Tensor, ...]:
    if "decoder.W" in tensors:
        return (tensors["decoder.W"][layer],)
    return tuple(tensors[f"decoder.W_{target}"][layer] for target in range(layer, n_layers))


@dataclass(frozen=True, slots=True, eq=False)
class _Scaling:
    """x -> (x - in_mean) / in_std before the encoder, y -> y * out_std + out_mean after the decoder."""

    in_mean: Float[Tensor, "n_layers d_or_1"]
    in_std: Float[Tensor, "n_layers d_or_1"]
    out_mean: Float[Tensor, "n_layers d_or_1"]
    out_std: Float[Tensor, "n_layers d_or_1"]


def _scaling(tensors: dict[str, Tensor], model: dict[str, Any], n_layers: int, path: Path) -> _Scaling | None:
    """One value a dimension, or one a layer; None where nothing is standardised."""
    found = []
    for name in STANDARDIZERS:
        stored = [tensors.get(f"{name}.{part}") for part in ("mean", "std")]
        if stored[0] is None or stored[1] is None:
            kind = str(_part(model, name).get("class_path", "")).rpartition(".")[2]
            if kind not in ("", "Standardizer"):
                raise WeightsError(f"{path}: a {kind} has no mean and std to fold; save the model folded")
            stored = [tensors["decoder.b"].new_full((n_layers,), value) for value in (0.0, 1.0)]
        found += [as_float(part).reshape(n_layers, -1) for part in stored if part is not None]
    if all(not bool(mean.any()) and bool((std == 1).all()) for mean, std in (found[:2], found[2:])):
        return None
    return _Scaling(*found)


def _part(model: dict[str, Any], name: str) -> dict[str, Any]:
    part = (model.get("init_args") or {}).get(name)
    return part if isinstance(part, dict) else {}


def _activations(tensors: dict[str, Tensor], config: dict[str, Any], n_layers: int, path: Path) -> list[Activation]:
    theta = tensors.get("nonlinearity.theta")
    kind = str(config.get("class_path", "")).rpartition(".")[2]
    if theta is not None:
        d_transcoder = tensors["encoder.W"].shape[2]
        if theta.numel() != n_layers * d_transcoder:
            expected, shape = (1, n_layers, d_transcoder), tuple(theta.shape)
            raise WeightsError(f"{path}: nonlinearity.theta must be {expected}, it is {shape}")
        # Open where h > theta and h > 0.
        return [Activation("jumprelu", threshold=row) for row in theta.reshape(n_layers, d_transcoder).clamp(min=0)]
    if kind in ("BatchTopK", "PerLayerBatchTopK") and "nonlinearity.threshold" in tensors:
        # What the trainer does when it does not train: the running threshold, of all layers or of each.
        running = tensors["nonlinearity.threshold"].clamp(min=0).expand(n_layers)
        width = tensors["encoder.W"].shape[2]
        return [Activation("jumprelu", threshold=value.expand(width)) for value in running]
    if kind == "PerLayerTopK":
        return [Activation("topk", k=(config.get("init_args") or {}).get("k"))] * n_layers
    if kind == "ReLU":
        return [Activation("relu")] * n_layers
    raise WeightsError(f"{path}: the nonlinearity {kind or 'that config.yaml does not name'} is not known")


def _make(
    tensors: dict[str, Tensor],
    layer: int,
    W_dec: tuple[Tensor, ...],
    activation: Activation,
    scaling: _Scaling | None,
) -> TranscoderLayer:
    W_enc, b_enc = tensors["encoder.W"][layer].T, tensors["encoder.b"][layer]
    if scaling is not None:
        W_enc = as_float(W_enc) / scaling.in_std[layer]
        b_enc = without_shift(b_enc, W_enc, scaling.in_mean[layer])
        W_dec = tuple(as_float(matrix) * scaling.out_std[layer + j] for j, matrix in enumerate(W_dec))
    return TranscoderLayer(W_enc=W_enc, b_enc=b_enc, W_dec=W_dec, activation=activation)
