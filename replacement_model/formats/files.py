"""Reading and writing weight files: strict and memory-mapped on the way in, atomic on the way out, never a pickle."""

import json
import math
import os
import struct
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
import yaml
from safetensors import SafetensorError, safe_open
from torch import Tensor

from replacement_model.errors import InputError, WeightsError

__all__ = [
    "Stacked",
    "atomic_path",
    "read_json",
    "read_safetensors",
    "read_yaml",
    "tensor_shapes",
    "write_json",
    "write_safetensors",
]

PART_BYTES = 2**26  # what is copied at once on the way to a file
# In the library's order, in which tensors lie in a file from last to first, so that all are aligned.
DTYPES = {
    torch.float8_e5m2: "F8_E5M2",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int32: "I32",
    torch.float32: "F32",
    torch.float64: "F64",
    torch.int64: "I64",
}


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a file, as views of the memory-mapped file: nothing but its header is read here.

    Raises:
        WeightsError: the file is missing, truncated, or no safetensors file.
    """
    with _opened(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 # no mapping


def tensor_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The tensors that a safetensors file holds, from its header.

    Raises:
        WeightsError: as for `read_safetensors`.
    """
    with _opened(path) as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    if not path.is_file():
        raise WeightsError(f"{path} does not exist; check the folder, or download it again")
    try:
        with safe_open(path, "pt") as file:
            yield file
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


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML mapping.

    Raises:
        WeightsError: the file is missing, or is not a YAML mapping.
    """
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise WeightsError(f"{path} cannot be read as YAML ({reason}); download it again") from error
    if not isinstance(config, dict):
        raise WeightsError(f"{path} must hold a mapping of settings")
    return config


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


@dataclass(frozen=True, slots=True, eq=False)
class Stacked:
    """Matrices of one shape, (n, d) each, that are written as one array (n, len(columns), d)."""

    columns: Sequence[Tensor]

    @property
    def dtype(self) -> torch.dtype:
        return self.columns[0].dtype

    @property
    def shape(self) -> tuple[int, ...]:
        n, *rest = self.columns[0].shape
        return (n, len(self.columns), *rest)

    def __getitem__(self, rows: slice) -> Tensor:
        return torch.stack([column[rows] for column in self.columns], dim=1)


def write_safetensors(path: Path, tensors: Mapping[str, Tensor | Stacked]) -> None:
    """Write `tensors`, all or nothing, in parts of at most some tens of MiB: what is mapped is never in memory whole.

    The bytes are those that the safetensors library writes.
    """
    rank = {dtype: index for index, dtype in enumerate(DTYPES)}
    names = sorted(tensors, key=lambda name: (-rank[tensors[name].dtype], name))
    header: dict[str, Any] = {}
    end = 0
    for name in names:
        dtype, shape = tensors[name].dtype, list(tensors[name].shape)
        begin, end = end, end + dtype.itemsize * math.prod(shape)
        header[name] = {"dtype": DTYPES[dtype], "shape": shape, "data_offsets": [begin, end]}
    encoded = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    encoded += b" " * (-len(encoded) % 8)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(struct.pack("<Q", len(encoded)) + encoded)
        for name in names:
            _write_parts(file, tensors[name])


def _write_parts(file: BinaryIO, tensor: Tensor | Stacked) -> None:
    if len(tensor.shape) == 0 or 0 in tensor.shape:
        tensor = tensor.reshape(-1) if isinstance(tensor, Tensor) else torch.empty(0)
    row_bytes = tensor.dtype.itemsize * math.prod(tensor.shape[1:])
    step = max(1, PART_BYTES // max(1, row_bytes))
    for first in range(0, tensor.shape[0], step):
        part = tensor[first : first + step].detach().cpu().contiguous()
        file.write(part.view(torch.uint8).numpy().data)
