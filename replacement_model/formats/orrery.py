"""Our own transcoder format: `transcoder.json` (what it is) beside `transcoder.safetensors` (its tensors).

Tensors are named `layers.{layer}.{W_enc|b_enc|W_dec|W_skip|threshold}` and `b_dec`, in the orientation of
`replacement_model.transcoder`, with the decoders of a layer as one (d_transcoder, n_out, d_model); a layer without
tensors keeps its MLP. A large one has its layers in `transcoder_layer_{layer}.safetensors`, which the config lists.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from replacement_model.activation import Activation
from replacement_model.errors import WeightsError
from replacement_model.formats.draft import Draft, ReadOptions
from replacement_model.formats.files import (
    Stacked,
    read_json,
    read_safetensors,
    write_json,
    write_safetensors,
)
from replacement_model.transcoder import DecoderSite, EncoderTap, Transcoder, TranscoderLayer

__all__ = ["is_orrery", "read_orrery", "save_transcoder", "write_orrery"]

SCHEMA_VERSION = 1
CONFIG_NAME, TENSORS_NAME = "transcoder.json", "transcoder.safetensors"
ONE_FILE_BELOW = 2**30  # bytes; above, each layer has a file of its own


def is_orrery(folder: Path) -> bool:
    """Whether `folder` holds our format."""
    return (folder / CONFIG_NAME).is_file()


def save_transcoder(transcoder: Transcoder, folder: str | Path) -> None:
    """Write `transcoder` into `folder`, which is made if need be; equal transcoders give equal bytes."""
    write_orrery(Draft.of(transcoder), Path(folder))


def write_orrery(draft: Draft, folder: Path) -> None:
    """Write a transcoder, one layer in memory at a time if it is large.

    Raises:
        InputError: the folder cannot be written.
        WeightsError: a layer does not have the shapes it should.
    """
    split = draft.n_bytes >= ONE_FILE_BELOW
    tensors: dict[str, Tensor | Stacked] = {"b_dec": draft.b_dec}
    activations: list[dict[str, Any] | None] = []
    names = [TENSORS_NAME]
    for index in range(draft.n_layers):
        layer = draft.make_layer(index)
        activations.append(None if layer is None else {"kind": layer.activation.kind, "k": layer.activation.k})
        named = {} if layer is None else {f"layers.{index}.{name}": tensor for name, tensor in _stored(layer).items()}
        if split and named:
            names.append(f"transcoder_layer_{index}.safetensors")
            write_safetensors(folder / names[-1], named)
        else:
            tensors |= named
    write_safetensors(folder / TENSORS_NAME, tensors)
    write_json(folder / CONFIG_NAME, _config(draft, activations, names))


def _config(draft: Draft, activations: list[dict[str, Any] | None], files: list[str]) -> dict[str, Any]:
    config = {
        "schema_version": SCHEMA_VERSION,
        "name": draft.name,
        "cross_layer": draft.cross_layer,
        "encoder_tap": draft.encoder_tap.value,
        "decoder_site": draft.decoder_site.value,
        "activations": activations,
    }
    optional = {
        "files": files if len(files) > 1 else None,
        "model_name": draft.model_name,
        "notes": list(draft.notes) or None,
        "prefix": list(draft.prefix) or None,
    }
    return config | {key: value for key, value in optional.items() if value is not None}


def _stored(layer: TranscoderLayer) -> dict[str, Tensor | Stacked]:
    """A layer's tensors under the names of the file, its decoders as one."""
    named = {name: tensor for name, tensor in layer.tensors().items() if not name.startswith("W_dec")}
    return named | {"W_dec": Stacked(layer.W_dec)}


def read_orrery(folder: Path, options: ReadOptions) -> Draft:
    """Read what `save_transcoder` wrote.

    Raises:
        WeightsError: a file is missing or damaged, or they contradict each other.
    """
    config = read_json(folder / CONFIG_NAME)
    if config.get("schema_version") != SCHEMA_VERSION:
        version = config.get("schema_version")
        raise WeightsError(
            f"{folder} has transcoder schema {version}, this version reads {SCHEMA_VERSION}; update orrery"
        )
    cross_layer = config.get("cross_layer")
    if not isinstance(cross_layer, bool):
        raise WeightsError(f"{folder / CONFIG_NAME}: cross_layer must be true or false, it is {cross_layer!r}")
    names, tensors = _tensors(config, folder)
    try:
        activations = [_activation(tensors, index, spec) for index, spec in enumerate(config["activations"])]
        layers = tuple(
            None if activation is None else _make(tensors, index, activation)
            for index, activation in enumerate(activations)
        )
        _check_all_used(tensors, layers, folder)
        return Draft(
            layers=tuple(None if layer is None else partial(replace, layer) for layer in layers),
            b_dec=tensors["b_dec"],
            cross_layer=cross_layer,
            encoder_tap=options.encoder_tap or EncoderTap(config["encoder_tap"]),
            decoder_site=options.decoder_site or DecoderSite(config["decoder_site"]),
            name=str(config["name"]),
            files=tuple((name, folder / name) for name in (CONFIG_NAME, *names)),
            model_name=config.get("model_name"),
            notes=tuple(config.get("notes", ())),
            prefix=tuple(config.get("prefix", ())),
        )
    except KeyError as error:
        raise WeightsError(f"{folder}: {error} is missing; the files are incomplete, write them again") from error
    except ValueError as error:
        raise WeightsError(f"{folder / CONFIG_NAME}: {error}") from error
    except TypeError as error:
        raise WeightsError(f"{folder / CONFIG_NAME} is not laid out as expected ({error}); write it again") from error


def _tensors(config: dict[str, Any], folder: Path) -> tuple[list[str], dict[str, Tensor]]:
    names = config.get("files", [TENSORS_NAME])
    if not isinstance(names, list) or not all(isinstance(name, str) and Path(name).name == name for name in names):
        raise WeightsError(f"{folder / CONFIG_NAME}: files must be a list of names in this folder, it is {names!r}")
    tensors: dict[str, Tensor] = {}
    for name in names:
        tensors |= read_safetensors(folder / name)
    return names, tensors


def _check_all_used(tensors: dict[str, Tensor], layers: tuple[TranscoderLayer | None, ...], folder: Path) -> None:
    used = {f"layers.{index}.{name}" for index, layer in enumerate(layers) if layer for name in _stored(layer)}
    unused = sorted(tensors.keys() - used - {"b_dec"})
    if unused:
        raise WeightsError(
            f"{folder / TENSORS_NAME}: {unused[0]} fits nowhere in {CONFIG_NAME}; write both files again"
        )


def _activation(tensors: dict[str, Tensor], index: int, spec: dict[str, Any] | None) -> Activation | None:
    if spec is None:
        return None
    return Activation(spec["kind"], threshold=tensors.get(f"layers.{index}.threshold"), k=spec["k"])


def _make(tensors: dict[str, Tensor], index: int, activation: Activation) -> TranscoderLayer:
    prefix = f"layers.{index}."
    return TranscoderLayer(
        W_enc=tensors[prefix + "W_enc"],
        b_enc=tensors[prefix + "b_enc"],
        W_dec=tensors[prefix + "W_dec"].unbind(1),
        activation=activation,
        W_skip=tensors.get(prefix + "W_skip"),
    )
