"""Reading numpy's archives: memory-mapped where they are not compressed, and never unpickled."""

import os
import struct
import zipfile
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

from replacement_model.errors import WeightsError

__all__ = ["read_npz"]


def read_npz(path: Path) -> dict[str, Tensor]:
    """All arrays of a numpy archive; memory-mapped unless they are compressed.

    Raises:
        WeightsError: the file is missing, truncated, or holds anything but plain arrays.
    """
    if not path.is_file():
        raise WeightsError(f"{path} does not exist; check the folder, or download it again")
    try:
        with zipfile.ZipFile(path) as archive:
            return {info.filename.removesuffix(".npy"): _array(path, archive, info) for info in archive.infolist()}
    except (zipfile.BadZipFile, ValueError, OSError, EOFError, struct.error) as error:
        raise WeightsError(
            f"{path} cannot be read ({error}); it is damaged or incomplete, download it again"
        ) from error


def _array(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Tensor:
    if info.compress_type != zipfile.ZIP_STORED:
        with archive.open(info) as packed:
            return torch.from_numpy(np.lib.format.read_array(packed, allow_pickle=False))
    with path.open("rb") as file:
        file.seek(info.header_offset + 26)  # the lengths of the two fields that end an entry's header
        file.seek(sum(struct.unpack("<HH", file.read(4))), os.SEEK_CUR)
        return _mapped(path, file)


def _mapped(path: Path, file: BinaryIO) -> Tensor:
    """The array that begins at the file's position, its values left in the file."""
    version = np.lib.format.read_magic(file)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran_order, dtype = read_header(file)
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which are not read")
    # Copy-on-write, since torch has no tensors that cannot be written to; nothing writes to it.
    mapped = np.memmap(path, dtype, "c", file.tell(), shape, "F" if fortran_order else "C")
    return torch.from_numpy(mapped)
