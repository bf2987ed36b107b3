"""What a folder holds, known from configs and headers: layers are made from it one at a time, or all at once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from replacement_model.errors import InputError, WeightsError
from replacement_model.transcoder import DecoderSite, EncoderTap, Transcoder, TranscoderLayer, check_layer

__all__ = ["Draft", "LayerDraft", "ReadOptions", "count_layers", "join_layers", "stack_biases", "take"]


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """What the caller says of a folder, where its files do not, or are wrong.

    Attributes:
        encoder_tap, decoder_site: win over what the files say.
        n_layers: of the model, for a set that has not all of its layers.
        l0: of several transcoders of a layer, that whose average L0 is nearest to this.
    """

    encoder_tap: EncoderTap | None = None
    decoder_site: DecoderSite | None = None
    n_layers: int | None = None
    l0: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Draft:
    """A transcoder whose big tensors have not been read.

    Attributes:
        layers: make the features of a layer; None for a layer without.
        files: what it is read from, by their names within the folder.
        model_name: the model that the files name; None where they name none.
        notes: what a user should know: conventions that no file states, what was folded or left out.
        size: in bytes, if there are no files.
        Others as in `Transcoder`.
    """

    layers: tuple[Callable[[], TranscoderLayer] | None, ...]
    b_dec: Float[Tensor, "n_layers d_model"]
    cross_layer: bool
    encoder_tap: EncoderTap
    decoder_site: DecoderSite
    name: str
    files: tuple[tuple[str, Path], ...]
    model_name: str | None = None
    notes: tuple[str, ...] = ()
    prefix: tuple[int, ...] = ()
    size: int | None = None

    @classmethod
    def of(cls, transcoder: Transcoder) -> "Draft":
        """What would be read from the files of `transcoder`."""
        tensors = [tensor for layer in transcoder.layers if layer is not None for tensor in layer.tensors().values()]
        return cls(
            layers=tuple(None if layer is None else partial(replace, layer) for layer in transcoder.layers),
            b_dec=transcoder.b_dec,
            cross_layer=transcoder.cross_layer,
            encoder_tap=transcoder.encoder_tap,
            decoder_site=transcoder.decoder_site,
            name=transcoder.name,
            files=transcoder.files,
            model_name=transcoder.model_name,
            notes=transcoder.notes,
            prefix=transcoder.prefix,
            size=sum(tensor.numel() * tensor.itemsize for tensor in tensors),
        )

    def crossing(self, b_dec: Float[Tensor, "n_layers d_model"]) -> "Draft":
        """The same with layers that write to all later ones as well."""
        return replace(self, cross_layer=True, b_dec=b_dec)

    @property
    def n_layers(self) -> int:
        return len(self.layers)

    @property
    def n_bytes(self) -> int:
        """Size of all its tensors, roughly."""
        return sum(path.stat().st_size for _, path in self.files) if self.size is None else self.size

    def make_layer(self, layer: int) -> TranscoderLayer | None:
        """The features of a layer, with their shapes checked; None where there are none."""
        make = self.layers[layer]
        if make is None:
            return None
        made = make()
        check_layer(made, layer, self.n_layers - layer if self.cross_layer else 1, self.b_dec.shape[1])
        return made

    def load(self) -> Transcoder:
        """The transcoder itself."""
        return Transcoder(
            layers=tuple(None if make is None else make() for make in self.layers),
            b_dec=self.b_dec,
            cross_layer=self.cross_layer,
            encoder_tap=self.encoder_tap,
            decoder_site=self.decoder_site,
            name=self.name,
            files=self.files,
            model_name=self.model_name,
            notes=self.notes,
            prefix=self.prefix,
        )


@dataclass(frozen=True, slots=True, eq=False)
class LayerDraft:
    """The transcoder of a single layer, as formats with a folder or file a layer have it.

    Attributes:
        layer: of the model.
        n_layers: of the model, where the files say it.
        Others as in `Draft`.
    """

    layer: int
    make: Callable[[], TranscoderLayer]
    b_dec: Float[Tensor, "d_model"]
    encoder_tap: EncoderTap
    decoder_site: DecoderSite
    path: Path
    n_layers: int | None = None
    model_name: str | None = None
    notes: tuple[str, ...] = ()
    prefix: tuple[int, ...] = ()


def join_layers(drafts: Sequence[LayerDraft], options: ReadOptions, folder: Path, name: str | None = None) -> Draft:
    """The set of per-layer transcoders that `drafts` are, one for each layer at most.

    Raises:
        InputError: the number of layers is not known.
        WeightsError: the layers do not fit each other.
    """
    by_layer = {draft.layer: draft for draft in drafts}
    declared = next((draft.n_layers for draft in drafts if draft.n_layers is not None), None)
    if None not in (declared, options.n_layers) and declared != options.n_layers:
        raise WeightsError(
            f"{folder} is for a model of {declared} layers, not of {options.n_layers}; use its own model"
        )
    n_layers = count_layers(list(by_layer), options.n_layers or declared, folder)
    missing = [layer for layer in range(n_layers) if layer not in by_layer]
    present = sorted(drafts, key=lambda draft: draft.layer)
    for what in ("encoder_tap", "decoder_site"):
        values = sorted({getattr(draft, what).value for draft in drafts})
        if len(values) > 1:
            raise WeightsError(f"{folder}: {what} differs from layer to layer ({', '.join(values)}); one set has one")
    biases = stack_biases([draft.b_dec for draft in present], folder)
    b_dec = biases.new_zeros(n_layers, biases.shape[1])
    b_dec[[draft.layer for draft in present]] = biases
    root = folder.parent if any("*" in part for part in folder.parts) else folder
    while any("*" in part for part in root.parts):
        root = root.parent
    said = f"layers without a transcoder keep their MLP as error: {', '.join(map(str, missing))}"
    return Draft(
        layers=tuple(by_layer[layer].make if layer in by_layer else None for layer in range(n_layers)),
        b_dec=b_dec if missing else biases,
        cross_layer=False,
        encoder_tap=present[0].encoder_tap,
        decoder_site=present[0].decoder_site,
        name=name or folder.name,
        files=tuple((_name_within(draft.path, root), draft.path) for draft in present),
        model_name=present[0].model_name,
        notes=tuple(dict.fromkeys(note for draft in present for note in draft.notes)) + ((said,) if missing else ()),
        prefix=present[0].prefix,
    )


def count_layers(layers: Sequence[int], declared: int | None, folder: Path) -> int:
    """How many layers the model has, of which `layers` have a transcoder.

    Raises:
        InputError: nobody says it, and the layers are not all from the first on.
        WeightsError: there are too many.
    """
    layers, n_layers = sorted(layers), declared
    if n_layers is None and len(layers) > 1 and layers == list(range(len(layers))):
        n_layers = len(layers)
    has = ", ".join(map(str, layers))
    if n_layers is None:
        raise InputError(
            f"{folder} has layers {has} and does not say how many the model has; say so with n_layers (--n-layers)"
        )
    if layers[-1] >= n_layers:
        raise WeightsError(f"{folder} has layers {has}, which do not fit a model of {n_layers} layers")
    return n_layers


def _name_within(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name


def stack_biases(biases: Sequence[Tensor], folder: Path) -> Float[Tensor, "n_layers d_model"]:
    """One row a layer.

    Raises:
        WeightsError: they are not vectors of one length.
    """
    shapes = [tuple(bias.shape) for bias in biases]
    if len(set(shapes)) > 1 or len(shapes[0]) != 1:
        raise WeightsError(f"{folder}: b_dec must be a vector of one length in every layer, it is {shapes}")
    return torch.stack(list(biases))


def take(
    tensors: dict[str, Tensor], path: Path, required: dict[str, int], optional: dict[str, int] | None = None
) -> dict[str, Tensor]:
    """The tensors of a file, checked: all that are required, none that is unknown.

    Args:
        tensors: by their names in the file.
        path: the file, for messages.
        required, optional: number of dimensions by name.

    Raises:
        WeightsError: one is missing, unknown, or has another number of dimensions.
    """
    expected = required | (optional or {})
    for name in required:
        if name not in tensors:
            raise WeightsError(f"{path}: expected a tensor {name!r}, the file has {', '.join(sorted(tensors))}")
    for name, tensor in tensors.items():
        if name not in expected:
            raise WeightsError(
                f"{path}: the tensor {name!r} is not known in this layout, so what it does would be left out"
            )
        if tensor.ndim != expected[name]:
            shape = tuple(tensor.shape)
            raise WeightsError(f"{path}: {name} must have {expected[name]} dimensions, its shape is {shape}")
    return tensors
