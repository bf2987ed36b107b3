"""Gemma Scope 2: per-layer and cross-layer transcoders for Gemma 3, JumpReLU, with or without an affine skip.

Per layer, `layer_{L}_width_{W}_l0_{S}[_affine]/`: `config.json` and `params.safetensors` with `w_enc` (d, F), `w_dec`
(F, d), `b_enc`, `threshold` (F), `b_dec` (d), and for the skip `affine_skip_connection` (d_in, d_out), x @ affine.
Cross-layer, one folder: `params_layer_{L}.safetensors` for every layer, with `w_dec` (F, n_layers, d) whose output axis
is the absolute layer; the part before the layer's own is not used.
"""

import logging
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from replacement_model.activation import Activation
from replacement_model.errors import InputError, WeightsError
from replacement_model.formats.draft import Draft, LayerDraft, ReadOptions, join_layers, stack_biases, take
from replacement_model.formats.files import read_safetensors
from replacement_model.formats.gemma_scope_2_config import Config, read_config
from replacement_model.formats.layer_folders import choose_layers, holders, layer_in_path
from replacement_model.transcoder import TranscoderLayer

__all__ = [
    "ONE_FILE",
    "VECTORS",
    "has_gemma_scope_2_tensors",
    "is_gemma_scope_2",
    "layer_of_params",
    "read_cross_layer_files",
    "read_gemma_scope_2",
]

log = logging.getLogger(__name__)

ONE_FILE, FIRST_FILE = "params.safetensors", "params_layer_0.safetensors"
LAYER_FILE = re.compile(r"params_layer_(\d+)\.safetensors")
VECTORS = {"b_enc": 1, "b_dec": 1, "threshold": 1}
SKIP = {"affine_skip_connection": 2}
N_SAMPLED = 16  # features of a layer whose rows for earlier layers are looked at


def is_gemma_scope_2(folder: Path) -> bool:
    """Whether `folder` holds this layout, one folder a layer or one file a layer."""
    return bool(holders(folder, ONE_FILE) or holders(folder, FIRST_FILE))


def has_gemma_scope_2_tensors(names: Sequence[str]) -> bool:
    """Whether a file with tensors of these names is in this layout."""
    return "w_enc" in names


def read_gemma_scope_2(folder: Path, options: ReadOptions) -> Draft:
    """Read a cross-layer transcoder, or one transcoder a layer.

    Raises:
        InputError: there are several sets, a layer has several transcoders, the number of layers is not known, or
            nothing says where they read and write.
        WeightsError: a file is missing or damaged, config and tensors contradict each other, or it is another kind.
    """
    crossing, single = holders(folder, FIRST_FILE), holders(folder, ONE_FILE)
    if len(crossing) > 1 or (crossing and single):
        names = ", ".join(str(path) for path in (*crossing, *single)[:4])
        raise InputError(f"{folder} holds several sets, with {names}; name the folder of one set")
    if crossing:
        config = read_config(crossing[0], options)
        return read_cross_layer_files(_layer_files(crossing[0]), config, folder.name)
    found = [(layer_in_path(path), path) for path in single]
    chosen = choose_layers(found, options.l0, folder)
    drafts = [_read_layer_folder(path, layer, options) for layer, path in chosen.items()]
    return join_layers(drafts, options, folder)


def _read_layer_folder(path: Path, layer: int, options: ReadOptions) -> LayerDraft:
    config = read_config(path, options)
    if config.layer not in (None, layer):
        raise WeightsError(f"{path} is named for layer {layer}, its config.json is for layer {config.layer}")
    return layer_of_params(path / ONE_FILE, layer, config)


def layer_of_params(path: Path, layer: int, config: Config) -> LayerDraft:
    """The transcoder of one layer in a `params.safetensors`."""
    tensors = take(read_safetensors(path), path, VECTORS | {"w_enc": 2, "w_dec": 2}, SKIP)
    config.check(path, tensors["w_enc"].shape[1], "affine_skip_connection" in tensors)
    return LayerDraft(
        layer=layer,
        make=partial(_make, tensors, (tensors["w_dec"],)),
        b_dec=tensors["b_dec"],
        encoder_tap=config.encoder_tap,
        decoder_site=config.decoder_site,
        path=path,
        n_layers=config.n_layers,
        model_name=config.model_name,
        notes=config.notes,
        prefix=config.prefix,
    )


def _make(tensors: dict[str, Tensor], W_dec: tuple[Tensor, ...]) -> TranscoderLayer:
    affine = tensors.get("affine_skip_connection")
    return TranscoderLayer(
        W_enc=tensors["w_enc"].T,
        b_enc=tensors["b_enc"],
        W_dec=W_dec,
        activation=Activation("jumprelu", threshold=tensors["threshold"]),
        W_skip=None if affine is None else affine.T,
    )


def _layer_files(folder: Path) -> list[Path]:
    found = {int(match[1]): path for path in folder.iterdir() if (match := LAYER_FILE.fullmatch(path.name))}
    missing = [layer for layer in range(len(found)) if layer not in found]
    if missing:
        raise WeightsError(f"{folder}: params_layer_{missing[0]}.safetensors is missing; the set is incomplete")
    return [found[layer] for layer in range(len(found))]


def read_cross_layer_files(paths: Sequence[Path], config: Config, name: str) -> Draft:
    """The cross-layer transcoder in the files of all layers, in their order."""
    files = [take(read_safetensors(p), p, VECTORS | {"w_enc": 2, "w_dec": 3}, SKIP) for p in paths]
    for path, tensors in zip(paths, files, strict=True):
        if tensors["w_dec"].shape[1] != len(paths):
            raise WeightsError(
                f"{path}: w_dec writes to {tensors['w_dec'].shape[1]} layers and there are {len(paths)} files; "
                "the set is incomplete, download it again"
            )
    folder, has_skip = paths[0].parent, ["affine_skip_connection" in tensors for tensors in files]
    config.check(folder, sum(tensors["w_enc"].shape[1] for tensors in files), any(has_skip))
    return Draft(
        layers=tuple(
            partial(_make, tensors, tensors["w_dec"].unbind(1)[layer:]) for layer, tensors in enumerate(files)
        ),
        b_dec=stack_biases([tensors["b_dec"] for tensors in files], folder),
        cross_layer=True,
        encoder_tap=config.encoder_tap,
        decoder_site=config.decoder_site,
        name=name,
        files=tuple((path.name, path) for path in paths),
        model_name=config.model_name,
        notes=config.notes + _backward(files),
        prefix=config.prefix,
    )


def _backward(files: Sequence[dict[str, Tensor]]) -> tuple[str, ...]:
    """A note if features have weights for layers before their own, by a sample of the features of each layer."""
    layers = [layer for layer, tensors in enumerate(files) if layer and _writes_back(tensors["w_dec"], layer)]
    if not layers:
        return ()
    said = f"w_dec of layers {', '.join(map(str, layers))} is not zero for earlier layers; that part is not used"
    log.warning(said)
    return (said,)


def _writes_back(w_dec: Tensor, layer: int) -> bool:
    sample = torch.linspace(0, len(w_dec) - 1, min(N_SAMPLED, len(w_dec))).long()
    return bool((w_dec[sample, :layer] != 0).any())
