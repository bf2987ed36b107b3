"""Our own transcoder format: `transcoder.json` (what it is) beside `transcoder.safetensors` (its tensors).

Tensors are named `layers.{layer}.{W_enc|b_enc|W_dec|W_skip|threshold}` and `b_dec`, in the orientation of
`replacement_model.transcoder`; a layer without tensors keeps its MLP.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from replacement_model.activation import Activation
from replacement_model.errors import WeightsError
from replacement_model.formats.files import read_json, read_safetensors, sha256, write_json, write_safetensors
from replacement_model.transcoder import DecoderSite, EncoderTap, Transcoder, TranscoderLayer

__all__ = ["is_orrery", "load_orrery", "save_transcoder"]

SCHEMA_VERSION = 1
CONFIG_NAME, TENSORS_NAME = "transcoder.json", "transcoder.safetensors"


def is_orrery(folder: Path) -> bool:
    """Whether `folder` holds our format."""
    return (folder / CONFIG_NAME).is_file()


def save_transcoder(transcoder: Transcoder, folder: str | Path) -> None:
    """Write `transcoder` into `folder`, which is made if need be; equal transcoders give equal bytes."""
    folder = Path(folder)
    tensors: dict[str, Tensor] = {"b_dec": transcoder.b_dec}
    activations: list[dict[str, Any] | None] = []
    for index, layer in enumerate(transcoder.layers):
        activations.append(None if layer is None else {"kind": layer.activation.kind, "k": layer.activation.k})
        named = {} if layer is None else _stored(layer)
        tensors |= {f"layers.{index}.{name}": tensor for name, tensor in named.items()}
    config = {
        "schema_version": SCHEMA_VERSION,
        "name": transcoder.name,
        "cross_layer": transcoder.cross_layer,
        "encoder_tap": transcoder.encoder_tap.value,
        "decoder_site": transcoder.decoder_site.value,
        "activations": activations,
    }
    write_safetensors(folder / TENSORS_NAME, tensors)
    write_json(folder / CONFIG_NAME, config)


def load_orrery(folder: Path) -> Transcoder:
    """Read what `save_transcoder` wrote.

    Raises:
        WeightsError: a file is missing or damaged, or the two files contradict each other.
    """
    config, tensors = read_json(folder / CONFIG_NAME), read_safetensors(folder / TENSORS_NAME)
    if config.get("schema_version") != SCHEMA_VERSION:
        version = config.get("schema_version")
        raise WeightsError(
            f"{folder} has transcoder schema {version}, this version reads {SCHEMA_VERSION}; update orrery"
        )
    cross_layer = config.get("cross_layer")
    if not isinstance(cross_layer, bool):
        raise WeightsError(f"{folder / CONFIG_NAME}: cross_layer must be true or false, it is {cross_layer!r}")
    try:
        layers = tuple(_layer(tensors, index, spec) for index, spec in enumerate(config["activations"]))
        _check_all_used(tensors, layers, folder)
        return Transcoder(
            layers=layers,
            b_dec=tensors["b_dec"],
            cross_layer=cross_layer,
            encoder_tap=EncoderTap(config["encoder_tap"]),
            decoder_site=DecoderSite(config["decoder_site"]),
            name=str(config["name"]),
            hashes=tuple((name, sha256(folder / name)) for name in (CONFIG_NAME, TENSORS_NAME)),
        )
    except KeyError as error:
        raise WeightsError(f"{folder}: {error} is missing; the files are incomplete, write them again") from error
    except ValueError as error:
        raise WeightsError(f"{folder / CONFIG_NAME}: {error}") from error
    except TypeError as error:
        raise WeightsError(f"{folder / CONFIG_NAME} is not laid out as expected ({error}); write it again") from error


def _check_all_used(tensors: dict[str, Tensor], layers: tuple[TranscoderLayer | None, ...], folder: Path) -> None:
    used = {f"layers.{index}.{name}" for index, layer in enumerate(layers) if layer for name in _stored(layer)}
    unused = sorted(tensors.keys() - used - {"b_dec"})
    if unused:
        raise WeightsError(
            f"{folder / TENSORS_NAME}: {unused[0]} fits nowhere in {CONFIG_NAME}; write both files again"
        )


def _stored(layer: TranscoderLayer) -> dict[str, Tensor]:
    """A layer's tensors under the names of the file, its decoders as one."""
    named = {name: tensor for name, tensor in layer.tensors().items() if not name.startswith("W_dec")}
    return named | {"W_dec": torch.stack(layer.W_dec, dim=1)}


def _layer(tensors: dict[str, Tensor], index: int, spec: dict[str, Any] | None) -> TranscoderLayer | None:
    if spec is None:
        return None
    prefix = f"layers.{index}."
    return TranscoderLayer(
        W_enc=tensors[prefix + "W_enc"],
        b_enc=tensors[prefix + "b_enc"],
        W_dec=tensors[prefix + "W_dec"].unbind(1),
        activation=Activation(spec["kind"], threshold=tensors.get(prefix + "threshold"), k=spec["k"]),
        W_skip=tensors.get(prefix + "W_skip"),
    )
