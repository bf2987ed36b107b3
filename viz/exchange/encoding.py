"""JSON as it is written to files, and as it is read from files that nobody has checked."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from replacement_model.errors import GraphFileError, InputError

__all__ = ["MAX_READ", "JsonFile", "encoded", "read_json_file"]

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


def encoded(value: Any) -> bytes:
    """JSON as it is written to files: UTF-8, compact, equal bytes for equal values.

    Lone surrogates, which no UTF-8 file can hold, are written as JSON escapes.
    """
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return re.sub("[\ud800-\udfff]", lambda found: f"\\u{ord(found[0]):04x}", text).encode() + b"\n"


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
