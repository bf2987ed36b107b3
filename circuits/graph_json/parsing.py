"""JSON from files that nobody has checked."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from replacement_model.errors import GraphFileError, InputError

__all__ = ["MAX_READ", "JsonFile", "is_json", "read_json_file"]

MAX_READ = 500_000_000


@dataclass(frozen=True, slots=True)
class JsonFile:
    """What a file holds.

    Attributes:
        constants: the words `NaN`, `Infinity` and `-Infinity` in it, which are no JSON; strict parsers refuse the file.
    """

    value: Any
    n_bytes: int
    constants: tuple[str, ...]


def read_json_file(path: Path) -> JsonFile:
    """Parse a file that may hold anything.

    Raises:
        InputError: there is no such file, or it is larger than 500 MB.
        GraphFileError: it is not JSON.
    """
    constants: set[str] = set()

    def constant(word: str) -> float:
        constants.add(word)
        return float(word)

    try:
        size = path.stat().st_size
        if size > MAX_READ:
            raise InputError(f"expected {path} of at most {MAX_READ:,} bytes, got {size:,}; prune the graph more")
        value = json.loads(path.read_bytes(), parse_constant=constant)
    except OSError as error:
        raise InputError(f"cannot read {path} ({error.strerror}); check the path") from error
    except (ValueError, RecursionError) as error:
        raise GraphFileError(
            f"{path} is not JSON ({' '.join(str(error).split())}); it is damaged or of another kind, write it again"
        ) from error
    return JsonFile(value, size, tuple(sorted(constants)))


def is_json(path: Path) -> bool:
    """Whether a file is meant to be JSON: by its name, or by how it begins. Other files, safetensors too, are not."""
    if path.suffix.lower() == ".json":
        return True
    try:
        with path.open("rb") as file:
            start = file.read(64)
    except OSError:
        return False
    # A safetensors file begins with the length of its header, whose upper bytes are zero.
    return start.lstrip().startswith(b"{") and b"\0" not in start
