"""circuit-tracer's transcoder layout: `config.yaml` beside one or two safetensors files a layer.

Per layer (`model_kind: transcoder_set`), `layer_{i}.safetensors`: W_enc (F, d), W_dec (F, d), b_enc, b_dec, and
optionally `activation_function.threshold` (F), `W_skip` (d_out, d_in), a scalar `k`. Cross-layer
(`cross_layer_transcoder`), `W_enc_{i}.safetensors`: `W_enc_{i}`, `b_enc_{i}`, `b_dec_{i}`, optionally `threshold_{i}`;
`W_dec_{i}.safetensors`: `W_dec_{i}` (F, n_layers - i, d). No threshold means ReLU.
"""

import re
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from replacement_model.activation import Activation
from replacement_model.errors import WeightsError
from replacement_model.formats.files import read_safetensors, sha256
from replacement_model.transcoder import DecoderSite, EncoderTap, Transcoder, TranscoderLayer

__all__ = ["is_circuit_tracer", "load_circuit_tracer"]

ENCODER_TAPS = {
    "hook_resid_mid": EncoderTap.RESID_MID,
    "ln2.hook_normalized": EncoderTap.NORMALIZED,
    "mlp.hook_in": EncoderTap.MLP_IN,
}
DECODER_SITES = {"hook_mlp_out": DecoderSite.POST_NORM, "mlp.hook_out": DecoderSite.MLP_OUT}


def is_circuit_tracer(folder: Path) -> bool:
    """Whether `folder` holds circuit-tracer's layout."""
    return (folder / "config.yaml").is_file()


def load_circuit_tracer(folder: Path) -> Transcoder:
    """Read circuit-tracer's per-layer or cross-layer layout.

    Raises:
        WeightsError: a file is missing or damaged, a hook is unknown, or the config contradicts the tensors.
    """
    config = _read_config(folder / "config.yaml")
    tap = _lookup(config, "feature_input_hook", ENCODER_TAPS)
    site = _lookup(config, "feature_output_hook", DECODER_SITES)
    loaders = {"transcoder_set": _per_layer, "cross_layer_transcoder": _cross_layer}
    kind = config.get("model_kind")
    files = sorted(folder.glob("*.safetensors"))
    layers, b_dec = _lookup(config, "model_kind", loaders)(folder, config)
    _check_declared(config, layers)
    return Transcoder(
        layers=layers,
        b_dec=b_dec,
        cross_layer=kind == "cross_layer_transcoder",
        encoder_tap=tap,
        decoder_site=site,
        name=str(config.get("scan", folder.name)),
        hashes=tuple((path.name, sha256(path)) for path in files),
    )


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise WeightsError(f"{path} cannot be read as YAML ({reason}); download it again") from error
    if not isinstance(config, dict):
        raise WeightsError(f"{path} must hold a mapping of settings")
    if "transcoders" in config:
        raise WeightsError(
            f"{path} lists files elsewhere ('transcoders'); put layer_{{i}}.safetensors beside it instead"
        )
    return config


def _lookup(config: dict[str, Any], key: str, table: dict[str, Any]) -> Any:
    value = config.get(key)
    if not isinstance(value, str) or value not in table:
        raise WeightsError(f"config.yaml: {key} must be one of {', '.join(table)}, it is {value!r}")
    return table[value]


def _layer_files(folder: Path, stem: str) -> list[Path]:
    pattern = re.compile(rf"{stem}(\d+)\.safetensors")
    found = {int(match[1]): path for path in folder.iterdir() if (match := pattern.fullmatch(path.name))}
    missing = [index for index in range(len(found)) if index not in found]
    if missing or not found:
        raise WeightsError(
            f"{folder}: {stem}{missing[0] if missing else 0}.safetensors is missing; the set is incomplete"
        )
    return [found[index] for index in range(len(found))]


def _take(tensors: dict[str, Tensor], name: str, path: Path) -> Tensor:
    if name not in tensors:
        raise WeightsError(f"{path}: expected a tensor {name!r}, the file has {', '.join(sorted(tensors))}")
    return tensors[name]


def _scalar(tensor: Tensor, path: Path) -> int:
    if tensor.numel() != 1 or int(tensor.item()) != tensor.item():
        raise WeightsError(f"{path}: 'k' must be one whole number, it is {tensor.tolist()}")
    return int(tensor.item())


def _activation(config: dict[str, Any], threshold: Tensor | None, k: int | None) -> Activation:
    if threshold is not None:
        return Activation("jumprelu", threshold=threshold)
    k = config.get("k") if k is None else k
    if k is not None and not isinstance(k, int):
        raise WeightsError(f"config.yaml: k must be a whole number, it is {k!r}")
    declared = config.get("activation", "topk" if k is not None else "relu")
    return Activation(str(declared), k=k if declared == "topk" else None)


def _per_layer(folder: Path, config: dict[str, Any]) -> tuple[tuple[TranscoderLayer, ...], Tensor]:
    layers, biases = [], []
    for path in _layer_files(folder, "layer_"):
        tensors = read_safetensors(path)
        k = _scalar(tensors["k"], path) if "k" in tensors else None
        layers.append(
            TranscoderLayer(
                W_enc=_take(tensors, "W_enc", path),
                b_enc=_take(tensors, "b_enc", path),
                W_dec=(_take(tensors, "W_dec", path),),
                activation=_activation(config, tensors.get("activation_function.threshold"), k),
                W_skip=tensors.get("W_skip"),
            )
        )
        biases.append(_take(tensors, "b_dec", path))
    return tuple(layers), _stack(biases, folder)


def _cross_layer(folder: Path, config: dict[str, Any]) -> tuple[tuple[TranscoderLayer, ...], Tensor]:
    layers, biases = [], []
    for index, path in enumerate(_layer_files(folder, "W_enc_")):
        tensors = read_safetensors(path)
        decoder_path = folder / f"W_dec_{index}.safetensors"
        layers.append(
            TranscoderLayer(
                W_enc=_take(tensors, f"W_enc_{index}", path),
                b_enc=_take(tensors, f"b_enc_{index}", path),
                W_dec=_take(read_safetensors(decoder_path), f"W_dec_{index}", decoder_path).unbind(1),
                activation=_activation(config, tensors.get(f"threshold_{index}"), None),
            )
        )
        biases.append(_take(tensors, f"b_dec_{index}", path))
    return tuple(layers), _stack(biases, folder)


def _stack(biases: list[Tensor], folder: Path) -> Tensor:
    if len({bias.shape for bias in biases}) > 1:
        raise WeightsError(f"{folder}: b_dec differs in shape from layer to layer: {[tuple(b.shape) for b in biases]}")
    return torch.stack(biases)


def _check_declared(config: dict[str, Any], layers: tuple[TranscoderLayer, ...]) -> None:
    found: dict[str, set[Any]] = {
        "d_transcoder": {layer.d_transcoder for layer in layers},
        "skip": {layer.W_skip is not None for layer in layers},
        "activation_kind": {layer.activation.kind for layer in layers},
    }
    for key, values in found.items():
        if key in config and [config[key]] != list(values):
            raise WeightsError(
                f"config.yaml says {key}: {config[key]}, the tensors say {sorted(str(value) for value in values)}"
            )
