"""A transcoder on the hub without its weights: configs, and weight files that are headers followed by a hole.

Such a folder is read like any other, so what is in it is known exactly, in any layout, from a few kilobytes; every
value is zero.
"""

import json
import shutil
import struct
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import HfApi

from replacement_model.errors import InputError
from replacement_model.hub import HUB_ERRORS, fetch_file, list_files, refusal
from replacement_model.repository import HubName, needed_files

__all__ = ["headers_of"]


@contextmanager
def headers_of(where: HubName, patterns: Sequence[str]) -> Iterator[Path]:
    """A temporary folder like `where`, with the headers alone of its weight files.

    Raises:
        InputError: there is no such repository or folder, it is gated or out of reach, or has weights of another kind.
    """
    try:
        needed = needed_files(list_files(where), where, patterns)
    except HUB_ERRORS as error:
        raise refusal(where, error) from error
    with tempfile.TemporaryDirectory(prefix="orrery-headers-") as folder:
        for path in needed:
            copy = Path(folder) / path
            copy.parent.mkdir(parents=True, exist_ok=True)
            if path.endswith(".npz"):
                raise InputError(f"{where}: {path} has no header to read alone; download it first")
            if path.endswith(".safetensors"):
                _write_header(where, path, copy)
            else:
                shutil.copyfile(fetch_file(where.repository, path, where.revision), copy)
        yield Path(folder) / where.folder


def _write_header(where: HubName, path: str, copy: Path) -> None:
    try:
        found = HfApi().parse_safetensors_file_metadata(where.repository, path, revision=where.revision)
    except HUB_ERRORS as error:
        raise refusal(where, error) from error
    tensors = {
        name: {"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": tensor.data_offsets}
        for name, tensor in found.tensors.items()
    }
    header = json.dumps(tensors).encode()
    end = max((tensor.data_offsets[1] for tensor in found.tensors.values()), default=0)
    with copy.open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.truncate(8 + len(header) + end)
