"""EleutherAI's sparsify and clt-training: one folder a hookpoint (`layers.5.mlp`) with `cfg.json`, `sae.safetensors`.

`encoder.weight` (F, d), `encoder.bias`, `W_dec` (F, d), `b_dec`, `W_skip` (d, d), x @ W_skip.mT. Cross-layer: instead
of the last three `W_decs.{i}`, `b_decs.{i}`, `W_skips.{i}` with i relative to the layer that is read; every layer that
writes somewhere adds its own decoder bias there. The k largest of relu are kept at each position.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from replacement_model.errors import WeightsError
from replacement_model.formats.draft import Draft, LayerDraft, ReadOptions, count_layers, join_layers, take
from replacement_model.formats.eleuther_folder import FILE_NAME, CoderFolder, numbered, open_folder
from replacement_model.formats.layer_folders import choose_layers, holders, layer_in_path
from replacement_model.transcoder import TranscoderLayer

__all__ = ["is_eleuther", "read_eleuther"]

ENCODER = {"encoder.weight": 2, "encoder.bias": 1}
ONE_TARGET = {"W_dec": 2, "b_dec": 1}


def is_eleuther(folder: Path) -> bool:
    """Whether `folder` holds this layout."""
    return bool(holders(folder, FILE_NAME))


def read_eleuther(folder: Path, options: ReadOptions) -> Draft:
    """Read one transcoder a layer, or a cross-layer transcoder.

    Raises:
        InputError: nothing says that these are transcoders, where they read and write, or how many layers there are.
        WeightsError: a file is missing or damaged, or does what cannot be expressed.
    """
    found = [(layer_in_path(path), path) for path in holders(folder, FILE_NAME)]
    coders = {layer: open_folder(path, options) for layer, path in choose_layers(found, options.l0, folder).items()}
    if any(coder.crosses_layers for coder in coders.values()):
        return _cross_layer(coders, options, folder)
    return join_layers([_single(coder, layer) for layer, coder in coders.items()], options, folder)


def _single(coder: CoderFolder, layer: int) -> LayerDraft:
    tensors = take(coder.tensors, coder.path, ENCODER | ONE_TARGET, {"W_skip": 2})
    return _layer_draft(coder, layer, (tensors["W_dec"],), tensors["b_dec"], tensors.get("W_skip"))


def _layer_draft(
    coder: CoderFolder, layer: int, W_dec: Sequence[Tensor], b_dec: Tensor, W_skip: Tensor | None
) -> LayerDraft:
    return LayerDraft(
        layer=layer,
        make=partial(
            TranscoderLayer,
            W_enc=coder.tensors["encoder.weight"],
            b_enc=coder.tensors["encoder.bias"],
            W_dec=tuple(W_dec),
            activation=coder.activation,
            W_skip=W_skip,
        ),
        b_dec=b_dec,
        encoder_tap=coder.encoder_tap,
        decoder_site=coder.decoder_site,
        path=coder.path,
        notes=coder.notes,
    )


def _cross_layer(coders: dict[int, CoderFolder], options: ReadOptions, folder: Path) -> Draft:
    n_layers = count_layers(list(coders), options.n_layers, folder)
    drafts, written = [], []
    for layer, coder in coders.items():
        W_decs, b_decs, W_skip = _targets(coder)
        if len(W_decs) > n_layers - layer:
            raise WeightsError(
                f"{coder.path} writes to {len(W_decs)} layers, the model has {n_layers - layer} from there"
            )
        # A target that was not trained gets nothing: zeros that take no memory.
        nothing = W_decs[0].new_zeros(()).expand_as(W_decs[0])
        W_decs = W_decs + [nothing] * (n_layers - layer - len(W_decs))
        drafts.append(_layer_draft(coder, layer, W_decs, b_decs[0], W_skip))
        written.append((layer, b_decs))
    b_dec = torch.zeros(n_layers, len(written[0][1][0]), dtype=written[0][1][0].dtype)
    for layer, b_decs in written:
        for index, bias in enumerate(b_decs):
            b_dec[layer + index] += bias
    return join_layers(drafts, options, folder).crossing(b_dec)


def _targets(coder: CoderFolder) -> tuple[list[Tensor], list[Tensor], Tensor | None]:
    """Decoders and biases by target, and the skip within the layer."""
    tensors = numbered(coder.tensors)
    counts = [sum(name.startswith(f"{series}.") for name in tensors) for series in ("W_decs", "W_skips")]
    decoders, biases, skips = (
        [f"{series}.{index}" for index in range(count)]
        for series, count in (("W_decs", counts[0]), ("b_decs", counts[0]), ("W_skips", counts[1]))
    )
    required = ENCODER | dict.fromkeys(decoders, 2) | dict.fromkeys(biases, 1)
    take(tensors, coder.path, required, dict.fromkeys(skips, 2))
    if any(bool(tensors[name].any()) for name in skips[1:]):
        raise WeightsError(
            f"{coder.path}: W_skips.1 and later carry a layer's input to other layers, which cannot be expressed"
        )
    return [tensors[name] for name in decoders], [tensors[name] for name in biases], tensors.get("W_skips.0")
