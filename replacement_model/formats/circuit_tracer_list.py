"""The `transcoders` list of a circuit-tracer config: files elsewhere, on the hub or beside it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from torch import Tensor

from replacement_model.errors import WeightsError
from replacement_model.hub import fetch_file

__all__ = ["ListedFile", "listed_files"]


@dataclass(frozen=True, slots=True)
class ListedFile:
    """One layer's file.

    Attributes:
        of_june_2025: listed as it was then, when decoders were stored (d, F).
    """

    path: Path
    layer: int
    of_june_2025: bool = False

    def is_transposed(self, tensors: dict[str, Tensor]) -> bool:
        """Whether W_dec is stored (d, F): by its shape, and where that fits both ways, by how the file was listed."""
        as_encoder, across = tensors["W_enc"].shape, tensors["W_enc"].shape[::-1]
        fits = tensors["W_dec"].shape
        return fits == across and (self.of_june_2025 or fits != as_encoder)


def listed_files(config: dict[str, Any], folder: Path) -> list[ListedFile]:
    """The files that a config lists, fetched from the hub where they are there; empty if it lists none.

    Published lists repeat their last entry now and then; repetitions are dropped.

    Args:
        config: the content of config.yaml.
        folder: where it lies; relative paths start there.

    Raises:
        InputError: a file is neither in the hub's cache nor in reach.
        WeightsError: the list is of no known form.
    """
    entries = config.get("transcoders")
    if entries is None:
        return []
    if not isinstance(entries, list) or not entries:
        raise WeightsError(f"config.yaml: transcoders must be a list of files, it is {entries!r}")
    while len(entries) > 1 and entries[-1] == entries[-2]:
        entries = entries[:-1]
    found = [_entry(entry, index, folder) for index, entry in enumerate(entries)]
    layers, paths = [file.layer for file in found], [file.path for file in found]
    if len(set(layers)) < len(layers) or len(set(paths)) < len(paths):
        raise WeightsError("config.yaml: transcoders lists a layer or a file twice; correct the list")
    return found


def _entry(entry: Any, index: int, folder: Path) -> ListedFile:
    if isinstance(entry, str):
        return ListedFile(_resolve(entry, folder), index)
    if isinstance(entry, dict) and isinstance(entry.get("filepath"), str) and isinstance(entry.get("layer"), int):
        return ListedFile(_resolve(entry["filepath"], folder), entry["layer"], of_june_2025=True)
    raise WeightsError(
        f"config.yaml: an entry of transcoders must be a path or have a layer and a filepath, it is {entry!r}"
    )


def _resolve(address: str, folder: Path) -> Path:
    if not address.startswith("hf://"):
        return folder / address
    parts = urlsplit(address)
    name, _, path = parts.path.strip("/").partition("/")
    if not (parts.netloc and name and path):
        raise WeightsError(f"config.yaml: {address!r} is not of the form hf://owner/repository/path")
    revision = parse_qs(parts.query).get("revision", [None])[0]
    return fetch_file(f"{parts.netloc}/{name}", path, revision)
