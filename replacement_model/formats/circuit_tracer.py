"""circuit-tracer's transcoder layouts: `config.yaml` beside, or pointing to, one or two files a layer.

Per layer (`model_kind: transcoder_set`), `layer_{i}.safetensors`: W_enc (F, d), W_dec (F, d), b_enc, b_dec, and
optionally `activation_function.threshold` (F), `W_skip` (d_out, d_in), a scalar `k`. Cross-layer
(`cross_layer_transcoder`), `W_enc_{i}.safetensors`: `W_enc_{i}`, `b_enc_{i}`, `b_dec_{i}`, optionally `threshold_{i}`;
`W_dec_{i}.safetensors`: `W_dec_{i}` (F, n_layers - i, d). No threshold means ReLU.

`transcoders` may list other files instead, index = layer: local paths or `hf://owner/repository/path[?revision=]`, in
this layout or in Gemma Scope's. In June 2025 its entries were `{id, layer, filepath}`, with W_dec (d, F) in the files.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from replacement_model.activation import Activation
from replacement_model.errors import WeightsError
from replacement_model.formats.circuit_tracer_list import ListedFile, listed_files
from replacement_model.formats.draft import Draft, LayerDraft, ReadOptions, join_layers, stack_biases, take
from replacement_model.formats.files import read_safetensors, read_yaml, tensor_shapes
from replacement_model.formats.gemma_scope_1 import layer_of_npz
from replacement_model.formats.gemma_scope_2 import has_gemma_scope_2_tensors, layer_of_params, read_cross_layer_files
from replacement_model.formats.gemma_scope_2_config import Config
from replacement_model.formats.hooks import choose_site, choose_tap
from replacement_model.transcoder import TranscoderLayer

__all__ = ["CONFIG_NAME", "is_circuit_tracer", "read_circuit_tracer"]

CONFIG_NAME = "config.yaml"
KINDS = {"transcoder_set": False, "cross_layer_transcoder": True}
FIRST_FILES = ("layer_0.safetensors", "W_enc_0.safetensors")
REQUIRED = {"W_enc": 2, "W_dec": 2, "b_enc": 1, "b_dec": 1}
OPTIONAL = {"activation_function.threshold": 1, "W_skip": 2}


def is_circuit_tracer(folder: Path) -> bool:
    """Whether `folder` holds circuit-tracer's layout: its config, or a first layer's file under its names."""
    if (folder / "checkpoint.safetensors").is_file():
        return False  # another trainer's, whose config has the same name
    return any((folder / name).is_file() for name in (CONFIG_NAME, *FIRST_FILES))


def read_circuit_tracer(folder: Path, options: ReadOptions) -> Draft:
    """Read the per-layer or cross-layer layout, of today or of June 2025.

    Raises:
        InputError: nothing says where it reads and writes, or a listed file is out of reach.
        WeightsError: a file is missing or damaged, a hook is unknown, or the config contradicts the tensors.
    """
    path = folder / CONFIG_NAME
    config = read_yaml(path) if path.is_file() else {}
    tap = choose_tap([config.get("feature_input_hook")], options.encoder_tap, path)
    site = choose_site([config.get("feature_output_hook")], options.decoder_site, path)
    options = ReadOptions(tap, site, options.n_layers, options.l0)
    crosses = _crosses_layers(folder, config)
    listed = listed_files(config, folder)
    name = str(config.get("scan", folder.name))
    if crosses:
        draft = _listed_cross_layer(listed, options, config, name) if listed else _cross_layer(folder, options, config)
    else:
        files = listed or [ListedFile(path, index) for index, path in enumerate(_layer_files(folder, "layer_"))]
        draft = join_layers([_layer(file, options, config) for file in files], options, folder, name)
    _check_declared(config, draft)
    prefix = tuple(config.get("prefix_token_ids", ()))
    return replace(draft, prefix=prefix) if prefix else draft


def _crosses_layers(folder: Path, config: dict[str, Any]) -> bool:
    if not config:
        return (folder / FIRST_FILES[1]).is_file()
    kind = config.get("model_kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise WeightsError(f"config.yaml: model_kind must be one of {', '.join(KINDS)}, it is {kind!r}")
    return KINDS[kind]


def _layer_files(folder: Path, stem: str) -> list[Path]:
    pattern = re.compile(rf"{stem}(\d+)\.safetensors")
    found = {int(match[1]): path for path in folder.iterdir() if (match := pattern.fullmatch(path.name))}
    missing = [index for index in range(len(found)) if index not in found]
    if missing or not found:
        raise WeightsError(
            f"{folder}: {stem}{missing[0] if missing else 0}.safetensors is missing; the set is incomplete"
        )
    return [found[index] for index in range(len(found))]


def _layer(file: ListedFile, options: ReadOptions, config: dict[str, Any]) -> LayerDraft:
    """One layer's transcoder, in whichever layout the file is."""
    if file.path.suffix == ".npz":
        return layer_of_npz(file.path, file.layer, options)
    tensors = read_safetensors(file.path)
    if has_gemma_scope_2_tensors(list(tensors)):
        return layer_of_params(file.path, file.layer, _as_gemma_scope_2(options, config))
    take(tensors, file.path, REQUIRED, OPTIONAL | {"k": tensors["k"].ndim if "k" in tensors else 0})
    k = _scalar(tensors["k"], file.path) if "k" in tensors else None
    activation = _activation(config, tensors.get("activation_function.threshold"), k)
    return LayerDraft(
        layer=file.layer,
        make=partial(_make, tensors, activation, file.is_transposed(tensors)),
        b_dec=tensors["b_dec"],
        **_places(options),
        path=file.path,
        model_name=config.get("model_name"),
    )


def _places(options: ReadOptions) -> dict[str, Any]:
    return {"encoder_tap": options.encoder_tap, "decoder_site": options.decoder_site}


def _as_gemma_scope_2(options: ReadOptions, config: dict[str, Any]) -> Config:
    return Config(**_places(options), model_name=config.get("model_name"))


def _make(tensors: dict[str, Tensor], activation: Activation, transposed: bool) -> TranscoderLayer:
    return TranscoderLayer(
        W_enc=tensors["W_enc"],
        b_enc=tensors["b_enc"],
        W_dec=(tensors["W_dec"].T if transposed else tensors["W_dec"],),
        activation=activation,
        W_skip=tensors.get("W_skip"),
    )


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


def _listed_cross_layer(listed: Sequence[ListedFile], options: ReadOptions, config: dict[str, Any], name: str) -> Draft:
    for file in listed:
        if not has_gemma_scope_2_tensors(list(tensor_shapes(file.path))):
            raise WeightsError(f"{file.path}: listed files of a cross-layer transcoder must be Gemma Scope 2's")
    return read_cross_layer_files([file.path for file in listed], _as_gemma_scope_2(options, config), name)


def _cross_layer(folder: Path, options: ReadOptions, config: dict[str, Any]) -> Draft:
    encoders = _layer_files(folder, "W_enc_")
    decoders = [folder / f"W_dec_{index}.safetensors" for index in range(len(encoders))]
    layers, biases = [], []
    for index, (path, decoder) in enumerate(zip(encoders, decoders, strict=True)):
        required = {f"W_enc_{index}": 2, f"b_enc_{index}": 1, f"b_dec_{index}": 1}
        tensors = take(read_safetensors(path), path, required, {f"threshold_{index}": 1})
        W_dec = take(read_safetensors(decoder), decoder, {f"W_dec_{index}": 3})[f"W_dec_{index}"]
        activation = _activation(config, tensors.get(f"threshold_{index}"), None)
        layers.append(
            partial(
                TranscoderLayer,
                W_enc=tensors[f"W_enc_{index}"],
                b_enc=tensors[f"b_enc_{index}"],
                W_dec=W_dec.unbind(1),
                activation=activation,
            )
        )
        biases.append(tensors[f"b_dec_{index}"])
    return Draft(
        layers=tuple(layers),
        b_dec=stack_biases(biases, folder),
        cross_layer=True,
        **_places(options),
        name=str(config.get("scan", folder.name)),
        files=tuple((path.name, path) for path in (*encoders, *decoders)),
        model_name=config.get("model_name"),
    )


def _check_declared(config: dict[str, Any], draft: Draft) -> None:
    declared = {"d_transcoder", "skip", "activation_kind"} & config.keys()
    if not declared:
        return
    layers = [make() for make in draft.layers if make is not None]
    found: dict[str, set[Any]] = {
        "d_transcoder": {layer.d_transcoder for layer in layers},
        "skip": {layer.W_skip is not None for layer in layers},
        "activation_kind": {layer.activation.kind for layer in layers},
    }
    for key in sorted(declared):
        if [config[key]] != list(found[key]):
            raise WeightsError(
                f"config.yaml says {key}: {config[key]}, the tensors say {sorted(str(value) for value in found[key])}"
            )
