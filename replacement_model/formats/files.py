"""Reading and writing weight files: strict on the way in, atomic on the way out, never a pickle."""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from replacement_model.errors import InputError, WeightsError

__all__ = ["atomic_path", "read_json", "read_safetensors", "sha256", "write_json", "write_safetensors"]


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a file, memory-mapped: nothing is read but the header.

    Raises:
        WeightsError: the file is missing or truncated.
    """
    if not path.is_file():
        raise WeightsError(f"{path} does not exist; check the folder, or download it again")
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"{path} cannot be read ({error}); it is damaged or incomplete, download it again"
        ) from error


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        WeightsError: the file is missing, or is not a JSON object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} cannot be read as JSON ({error})") from error
    if not isinstance(value, dict):
        raise WeightsError(f"{path} must hold a JSON object, it holds a {type(value).__name__}")
    return value


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path in the same folder, moved to `path` when the block succeeds and removed when it fails.

    Raises:
        InputError: the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix)
    except OSError as error:
        raise InputError(f"cannot write {path} ({error.strerror}); choose another output folder") from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        raise InputError(f"cannot write {path} ({error.strerror}); choose another output folder") from error
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write `value` as JSON with sorted keys, all or nothing."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def write_safetensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write `tensors`, all or nothing."""
    with atomic_path(path) as temporary:
        save_file(_apart(tensors), temporary)


def _apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors, contiguous and each with memory of its own, as safetensors demands."""
    owners: set[int] = set()
    found = {}
    for name, tensor in tensors.items():
        storage = tensor.untyped_storage().data_ptr()
        copied = tensor.clone(memory_format=torch.contiguous_format) if storage in owners else tensor.contiguous()
        owners.add(storage)
        found[name] = copied
    return found
