"""Where weights come from: the pocket model, a local folder, or the Hugging Face hub."""

from dataclasses import dataclass
from pathlib import Path

from replacement_model.errors import InputError
from replacement_model.formats.layer_folders import starred_folders
from replacement_model.hashing import content_hashes
from replacement_model.hub import fetch_folder
from replacement_model.pocket import MODEL_DIR, TRANSCODER_DIRS
from replacement_model.repository import HubName

__all__ = ["Source", "is_local", "locate", "locate_model", "locate_transcoder", "weight_hashes"]

MODEL_FILES = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja")
TRANSCODER_FILES = ("*.json", "*.yaml", "*.safetensors", "*.npz")
CONFIG_FILES = ("*.json", "*.yaml")


@dataclass(frozen=True, slots=True)
class Source:
    """A folder with weights, and what it was asked for as.

    Attributes:
        name: what was asked for.
        folder: where it is; its last parts may hold `*`, for sets with a folder a layer.
        revision: the hub's commit, None for a local folder.
    """

    name: str
    folder: Path
    revision: str | None = None


def locate(name: str | Path | Source, patterns: tuple[str, ...]) -> Source:
    """The local folder for `name`: a path, or `owner/repository[//folder][@revision]` on the hub.

    Args:
        name: a path, a hub name, or a source that was located before.
        patterns: names of the files that are needed; only they are downloaded.

    Raises:
        InputError: there is no such folder, and the hub has no such repository, demands a login or is out of reach.
        WeightsError: the hub is out of reach, and the cache has only a part of the files.
    """
    if isinstance(name, Source):
        return name
    if not str(name):
        raise InputError("no name was given; name a folder or a repository, or try 'pocket'")
    if is_local(name):
        return Source(str(name), Path(name).resolve())
    where = HubName.parse(str(name))
    root = fetch_folder(where, patterns)
    return Source(str(name), (root / where.folder).resolve(), root.name)


def is_local(name: str | Path) -> bool:
    """Whether `name` is a folder here, or stands with `*` for some."""
    path = Path(name)
    return path.is_dir() or ("*" in str(path) and bool(starred_folders(path.absolute())))


def locate_model(name: str | Path | Source, patterns: tuple[str, ...] = MODEL_FILES) -> Source:
    """The model `name`: "pocket", a local folder, or `owner/name[@revision]` on the hub; see `locate`."""
    return Source("pocket", MODEL_DIR) if str(name) == "pocket" else locate(name, patterns)


def locate_transcoder(model_name: str, name: str | Path | Source | None) -> Source:
    """The transcoder `name` for a model: one of the pocket model's own, or as in `locate`.

    Raises:
        InputError: none is given for a model other than the pocket model; see `locate` for the rest.
    """
    if model_name == "pocket":
        key = "clt" if name is None else str(name)
        if key in TRANSCODER_DIRS:
            return Source(f"pocket/{key}", TRANSCODER_DIRS[key])
    if name is None:
        raise InputError(
            f"no transcoder given for {model_name!r}; name a folder or a repository that holds one trained on it"
        )
    return locate(name, TRANSCODER_FILES)


def weight_hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every safetensors file of a folder."""
    paths = sorted(folder.glob("*.safetensors"))
    return dict(zip([path.name for path in paths], content_hashes(paths), strict=True))
