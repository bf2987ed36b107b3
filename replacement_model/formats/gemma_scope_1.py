"""Gemma Scope 1: `layer_{L}/width_{W}/average_l0_{N}/params.npz`, JumpReLU, for Gemma 2.

`W_enc` (d, F), `W_dec` (F, d), `b_enc`, `threshold` (F), `b_dec` (d). The files say nothing of where they read and
write: what is here is the convention of the suite's transcoders (its autoencoders have files of the same form).
"""

from functools import partial
from pathlib import Path

from torch import Tensor

from replacement_model.activation import Activation
from replacement_model.formats.draft import Draft, LayerDraft, ReadOptions, join_layers, take
from replacement_model.formats.layer_folders import choose_layers, holders, layer_in_path
from replacement_model.formats.npz import read_npz
from replacement_model.transcoder import DecoderSite, EncoderTap, TranscoderLayer

__all__ = ["FILE_NAME", "TENSORS", "is_gemma_scope_1", "layer_of_npz", "read_gemma_scope_1"]

FILE_NAME = "params.npz"
TENSORS = {"W_enc": 2, "W_dec": 2, "b_enc": 1, "b_dec": 1, "threshold": 1}
CONVENTION = (
    "Gemma Scope 1 files do not say where they read and write: taken as the suite's transcoders (norm without gain, "
    "after the post-norm)"
)


def is_gemma_scope_1(folder: Path) -> bool:
    """Whether `folder` holds numpy archives in this layout."""
    return bool(holders(folder, FILE_NAME))


def read_gemma_scope_1(folder: Path, options: ReadOptions) -> Draft:
    """Read one transcoder a layer.

    Raises:
        InputError: a layer has several, or the number of layers is not known.
        WeightsError: a file is missing, damaged or of another form.
    """
    found = [(layer_in_path(path), path) for path in holders(folder, FILE_NAME)]
    chosen = choose_layers(found, options.l0, folder)
    drafts = [layer_of_npz(path / FILE_NAME, layer, options) for layer, path in chosen.items()]
    return join_layers(drafts, options, folder)


def layer_of_npz(path: Path, layer: int, options: ReadOptions) -> LayerDraft:
    """The transcoder of one layer in a numpy archive."""
    tensors = take(read_npz(path), path, TENSORS)
    asked = options.encoder_tap is not None and options.decoder_site is not None
    return LayerDraft(
        layer=layer,
        make=partial(_make, tensors),
        b_dec=tensors["b_dec"],
        encoder_tap=options.encoder_tap or EncoderTap.NORMALIZED,
        decoder_site=options.decoder_site or DecoderSite.POST_NORM,
        path=path,
        notes=() if asked else (CONVENTION,),
    )


def _make(tensors: dict[str, Tensor]) -> TranscoderLayer:
    return TranscoderLayer(
        W_enc=tensors["W_enc"].T,
        b_enc=tensors["b_enc"],
        W_dec=(tensors["W_dec"],),
        activation=Activation("jumprelu", threshold=tensors["threshold"]),
    )
