"""Writing the files of an export together: a reader never sees half of one, and an error leaves none of them."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from replacement_model.formats.files import atomic_path

__all__ = ["write_files"]


def write_files(contents: Mapping[Path, bytes]) -> None:
    """Write all files, or none if one of them cannot be written; folders are made as needed.

    The files are moved into place from the last to the first.

    Raises:
        InputError: a folder or file cannot be written.
    """
    with ExitStack() as stack:
        for path, data in contents.items():
            stack.enter_context(atomic_path(path)).write_bytes(data)
