"""Where weights come from: the pocket model, a local folder, or the Hugging Face hub."""

import re
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from replacement_model.errors import InputError
from replacement_model.formats.files import sha256

__all__ = ["Source", "locate", "weight_hashes"]

MODEL_FILES = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja")
TRANSCODER_FILES = ("*.json", "*.yaml", "*.safetensors")
BLOB = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Source:
    """A folder with weights, and what it was asked for as."""

    name: str
    folder: Path
    revision: str | None = None


def locate(name: str | Path, patterns: tuple[str, ...]) -> Source:
    """The local folder for `name`: a path, or `owner/repository[//folder][@revision]` on the hub.

    Raises:
        InputError: there is no such folder, and the hub has no such repository or cannot be reached.
    """
    if not str(name):
        raise InputError("no name was given; name a folder or a repository, or try 'pocket'")
    if Path(name).is_dir():
        return Source(str(name), Path(name).resolve())
    text = str(name)
    address, _, revision = text.partition("@")
    repository, _, subfolder = address.partition("//")
    wanted = [f"{subfolder}/{pattern}" for pattern in patterns] if subfolder else list(patterns)
    try:
        root = Path(snapshot_download(repository, revision=revision or None, allow_patterns=wanted))
    except (HFValidationError, LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"{text!r} is neither a local folder nor a repository in reach ({reason}); check the name, or try 'pocket'"
        ) from error
    folder = (root / subfolder).resolve()
    if not folder.is_dir() or not folder.is_relative_to(root.resolve()):
        raise InputError(f"{repository} has no folder {subfolder!r} at revision {revision or 'main'}; check the name")
    return Source(text, folder, root.name)


def weight_hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every safetensors file of a folder; a hub cache's links carry it in their target's name."""
    found = {}
    for path in sorted(folder.glob("*.safetensors")):
        blob = path.resolve().name
        found[path.name] = blob if BLOB.fullmatch(blob) else sha256(path)
    return found
