"""One folder of EleutherAI's trainers: a coder's tensors under one set of names, and what its configs say of them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from replacement_model.activation import Activation
from replacement_model.errors import InputError, WeightsError
from replacement_model.formats.draft import ReadOptions
from replacement_model.formats.files import read_json, read_safetensors
from replacement_model.formats.hooks import choose_site, choose_tap
from replacement_model.transcoder import DecoderSite, EncoderTap

__all__ = ["FILE_NAME", "CoderFolder", "numbered", "open_folder"]

FILE_NAME, CONFIG_NAME, RUN_CONFIG_NAME = "sae.safetensors", "cfg.json", "config.json"
# Settings under which the trainer computes what a transcoder cannot express, and the value that does no harm.
REFUSED = {
    "normalize_io": False,
    "coalesce_topk": "none",
    "per_source_tied": False,
    "secondary_target_tied": False,
    "divide_cross_layer": False,
    "post_encoder_scale": False,
}
BATCH_NOTE = "batchtopk: the k largest per position on average over the prompt, without the trainer's limit of 4k each"
GUESS_NOTE = "cfg.json does not say `transcode`: taken as transcoders, whose input is read as it is"


@dataclass(frozen=True, slots=True, eq=False)
class CoderFolder:
    """One coder.

    Attributes:
        path: of its tensors.
        tensors: by their names in the file.
        crosses_layers: it writes to several layers.
        notes: what no file states.
    """

    path: Path
    tensors: dict[str, Tensor]
    activation: Activation
    encoder_tap: EncoderTap
    decoder_site: DecoderSite
    crosses_layers: bool
    notes: tuple[str, ...]


def open_folder(folder: Path, options: ReadOptions) -> CoderFolder:
    """Read configs and headers of one hookpoint.

    Raises:
        InputError: nothing says that this is a transcoder.
        WeightsError: a file is missing or damaged, it is an autoencoder, or its settings cannot be expressed.
    """
    path, config = folder / FILE_NAME, read_json(folder / CONFIG_NAME)
    for key, harmless in REFUSED.items():
        if config.get(key, harmless) != harmless:
            raise WeightsError(f"{folder / CONFIG_NAME}: {key}: {config[key]!r} cannot be expressed here")
    tensors = _without_post_encoder(read_safetensors(path), path)
    crosses_layers = any(name.startswith(("W_decs.", "b_decs.")) for name in tensors)
    hookpoint = folder.name
    tap = choose_tap([_read_hookpoint(folder) or hookpoint], options.encoder_tap, folder)
    site = choose_site([hookpoint], options.decoder_site, folder)
    said = options.encoder_tap is not None and options.decoder_site is not None
    certain = _transcodes(folder, config) or crosses_layers
    if not certain and "W_skip" not in tensors and not said:
        raise InputError(
            f"{folder / CONFIG_NAME} does not say whether this is a transcoder or an autoencoder; if it is a "
            f"transcoder, say where it reads and writes (--encoder-tap {tap.value} --decoder-site {site.value})"
        )
    _check_width(folder, config, tensors)
    activation = Activation(str(config.get("activation", "topk")), k=config.get("k"))
    notes = ((BATCH_NOTE,) if activation.kind == "batchtopk" else ()) + (() if certain else (GUESS_NOTE,))
    return CoderFolder(path, tensors, activation, tap, site, crosses_layers, notes)


def _transcodes(folder: Path, config: dict[str, Any]) -> bool:
    """Whether the config says that it is a transcoder; it may say nothing.

    An autoencoder subtracts b_dec from its input, and nothing in its tensors tells it from a transcoder.
    """
    if config.get("transcode") is False:
        raise WeightsError(f"{folder} holds an autoencoder (transcode: false), which replaces no MLP")
    return bool(config.get("transcode"))


def _read_hookpoint(folder: Path) -> str | None:
    """Where the coder reads, if the run's config says that it is not the hookpoint's own input."""
    path = folder.parent / RUN_CONFIG_NAME
    run = read_json(path) if path.is_file() else {}
    pairs = zip(run.get("hookpoints") or (), run.get("hookpoints_in") or (), strict=False)
    return next((str(read) for written, read in pairs if written == folder.name), None)


def numbered(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """A cross-layer coder's tensors; the first of each kind has a second name, and files keep one of the two."""
    aliases = {"W_dec": "W_decs.0", "b_dec": "b_decs.0", "W_skip": "W_skips.0"}
    renamed = {aliases[name]: tensor for name, tensor in tensors.items() if name in aliases}
    return renamed | {name: tensor for name, tensor in tensors.items() if name not in aliases}


def _without_post_encoder(tensors: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The other tensors; biases that are added to active features must be zero, since they differ by target."""
    for name, tensor in tensors.items():
        if name.partition(".")[0] in ("post_enc", "post_encs") and bool(tensor.any()):
            raise WeightsError(f"{path}: {name} is added to active features for one target, which cannot be expressed")
    return {name: tensor for name, tensor in tensors.items() if not name.startswith("post_enc")}


def _check_width(folder: Path, config: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    declared = config.get("num_latents") or config.get("expansion_factor", 0) * config.get("d_in", 0)
    weight = tensors.get("encoder.weight")
    if weight is not None and declared and declared != len(weight):
        raise WeightsError(f"{folder / CONFIG_NAME} says {declared} features, the tensors have {len(weight)}")
