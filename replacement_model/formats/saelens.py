"""SAELens: one folder a layer with `cfg.json` and `sae_weights.safetensors`.

`W_enc` (d_in, F), `W_dec` (F, d_out), `b_enc`, `b_dec`, optionally `threshold` (F) and `W_skip` (d_out, d_in), used
x @ W_skip.T. ReLU, or relu(h) * (h > threshold). The places that it reads and writes are under `metadata`, before
version 6 at the top. Where the decoder's bias is subtracted from the input, that is folded into `b_enc`.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor

from replacement_model.activation import Activation
from replacement_model.errors import WeightsError
from replacement_model.formats.draft import Draft, LayerDraft, ReadOptions, join_layers, take
from replacement_model.formats.files import read_json, read_safetensors
from replacement_model.formats.folding import without_shift
from replacement_model.formats.hooks import choose_site, choose_tap, parse_hook
from replacement_model.formats.layer_folders import choose_layers, holders, layer_in_path
from replacement_model.transcoder import TranscoderLayer

__all__ = ["FILE_NAME", "SaeLensFolder", "activation_of", "is_saelens", "open_saelens", "read_saelens"]

FILE_NAME, CONFIG_NAME = "sae_weights.safetensors", "cfg.json"
REQUIRED = {"W_enc": 2, "W_dec": 2, "b_enc": 1, "b_dec": 1}
OPTIONAL = {"threshold": 1, "W_skip": 2}
TRANSCODERS = ("transcoder", "skip_transcoder", "jumprelu_transcoder", "jumprelu_skip_transcoder")
NO_NORMALISATION = ("none", None, False)


@dataclass(frozen=True, slots=True, eq=False)
class SaeLensFolder:
    """One folder's files.

    Attributes:
        reads, writes: names of places, the most exact first; None where none is given.
    """

    path: Path
    tensors: dict[str, Tensor]
    config: dict[str, Any]
    architecture: str
    reads: tuple[str | None, ...]
    writes: tuple[str | None, ...]
    model_name: str | None

    @property
    def is_transcoder(self) -> bool:
        return self.architecture in TRANSCODERS or any(name not in (None, *self.reads) for name in self.writes)

    @property
    def layer(self) -> int:
        """The layer that it is for, by the places' names, else the folder's."""
        named = [parse_hook(name).layer for name in (*self.reads, *self.writes) if isinstance(name, str)]
        layers = sorted({layer for layer in named if layer is not None})
        if len(layers) > 1:
            raise WeightsError(
                f"{self.path.parent / CONFIG_NAME} names layers {layers}; Orrery reads those of one layer"
            )
        return layers[0] if layers else layer_in_path(self.path.parent)


def is_saelens(folder: Path) -> bool:
    """Whether `folder` holds this layout."""
    return bool(holders(folder, FILE_NAME))


def read_saelens(folder: Path, options: ReadOptions) -> Draft:
    """Read one transcoder a layer.

    Raises:
        InputError: a layer has several, the number of layers is not known, or nothing says where they read and write.
        WeightsError: a file is missing or damaged, or it is no transcoder, or one with a setting that is not known.
    """
    opened = [open_saelens(path) for path in holders(folder, FILE_NAME)]
    by_path = {file.path.parent: file for file in opened}
    chosen = choose_layers(((file.layer, path) for path, file in by_path.items()), options.l0, folder)
    return join_layers([_draft(by_path[path], layer, options) for layer, path in chosen.items()], options, folder)


def open_saelens(folder: Path) -> SaeLensFolder:
    """Read config and header.

    Raises:
        WeightsError: a file is missing or damaged, or the activations that it reads were normalised.
    """
    path, config = folder / FILE_NAME, read_json(folder / CONFIG_NAME)
    said = {**config, **(config.get("metadata") or {})}
    if config.get("normalize_activations") not in NO_NORMALISATION:
        raise WeightsError(
            f"{folder / CONFIG_NAME}: normalize_activations: {config['normalize_activations']!r} needs a factor that "
            "is not in the files; fold it into the weights when saving"
        )
    tensors = read_safetensors(path)
    scaling = tensors.pop("scaling_factor", None)
    if scaling is not None and bool((scaling != 1).any()):
        raise WeightsError(f"{path}: scaling_factor is not 1 everywhere; fold it into the weights when saving")
    return SaeLensFolder(
        path=path,
        tensors=take(tensors, path, REQUIRED, OPTIONAL),
        config=config,
        architecture=str(config.get("architecture", "standard")),
        reads=(said.get("hf_hook_name"), said.get("hook_name", said.get("hook_point"))),
        writes=(said.get("hf_hook_name_out"), said.get("hook_name_out", said.get("hook_point_out"))),
        model_name=said.get("model_name"),
    )


def activation_of(file: SaeLensFolder) -> Activation:
    """The nonlinearity.

    Raises:
        WeightsError: it is not known.
    """
    threshold = file.tensors.get("threshold")
    config = file.config
    name = config.get("activation_fn", config.get("activation_fn_str", "relu"))
    if threshold is not None and name == "relu":
        # relu comes first there, so a negative threshold lets nothing negative through.
        return Activation("jumprelu", threshold=threshold.clamp(min=0) if bool((threshold < 0).any()) else threshold)
    if name == "topk" or file.architecture == "topk":
        kwargs = config.get("activation_fn_kwargs") or {}
        return Activation("topk", k=config.get("k", kwargs.get("k")))
    if name != "relu":
        raise WeightsError(f"{file.path.parent / CONFIG_NAME}: activation {name!r} is not known")
    return Activation("relu")


def _draft(file: SaeLensFolder, layer: int, options: ReadOptions) -> LayerDraft:
    where = file.path.parent / CONFIG_NAME
    if not file.is_transcoder:
        raise WeightsError(
            f"{where}: {file.architecture} is a sparse autoencoder, which replaces no MLP; read it with "
            "load_autoencoder, to read features or to steer"
        )
    jumps, skips = "jumprelu" in file.architecture, "skip" in file.architecture
    for name, expected in (("threshold", jumps), ("W_skip", skips)):
        if expected and name not in file.tensors:
            raise WeightsError(f"{file.path}: a {file.architecture} needs a tensor {name!r}")
    subtracts = bool(file.config.get("apply_b_dec_to_input", file.architecture not in TRANSCODERS))
    return LayerDraft(
        layer=layer,
        make=partial(_make, file.tensors, activation_of(file), subtracts),
        b_dec=file.tensors["b_dec"],
        encoder_tap=choose_tap(file.reads, options.encoder_tap, where),
        decoder_site=choose_site(file.writes, options.decoder_site, where),
        path=file.path,
        model_name=file.model_name,
        notes=("b_dec, which is subtracted from the input, is folded into b_enc",) if subtracts else (),
    )


def _make(tensors: dict[str, Tensor], activation: Activation, subtracts: bool) -> TranscoderLayer:
    return TranscoderLayer(
        W_enc=tensors["W_enc"].T,
        b_enc=_without_input_bias(tensors) if subtracts else tensors["b_enc"],
        W_dec=(tensors["W_dec"],),
        activation=activation,
        W_skip=tensors.get("W_skip"),
    )


def _without_input_bias(tensors: dict[str, Tensor]) -> Float[Tensor, "d_sae"]:
    W_enc, b_dec = tensors["W_enc"], tensors["b_dec"]
    if W_enc.shape[0] != b_dec.shape[0]:
        raise WeightsError(f"b_dec of size {b_dec.shape[0]} cannot be subtracted from an input of {W_enc.shape[0]}")
    return without_shift(tensors["b_enc"], W_enc.T, b_dec)
