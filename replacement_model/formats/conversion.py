"""Writing what was read in another layout: whole or not at all, one layer in memory at a time."""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from replacement_model.errors import InputError
from replacement_model.formats.circuit_tracer_writer import write_circuit_tracer
from replacement_model.formats.draft import Draft
from replacement_model.formats.orrery import write_orrery

__all__ = ["WRITERS", "convert"]

WRITERS = {"orrery": write_orrery, "circuit-tracer": write_circuit_tracer}


def convert(draft: Draft, destination: str | Path, to: str = "orrery", beside: Sequence[Path] = ()) -> tuple[Path, ...]:
    """Write a transcoder into a new folder; tensors that need no change are equal bit by bit.

    Args:
        draft: what `read_draft` gave.
        destination: a folder that does not exist yet, or is empty.
        to: a layout, one of `WRITERS`.
        beside: files that are copied along, such as labels.

    Returns:
        The files that were written.

    Raises:
        InputError: the layout is not known or cannot hold all of it, or the destination cannot be written.
        WeightsError: a weight file is damaged.

    Example:
        >>> from replacement_model.formats import read_draft
        >>> from replacement_model.pocket import TRANSCODER_DIRS
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     paths = convert(read_draft(TRANSCODER_DIRS["plt"]), Path(folder) / "new", to="circuit-tracer")
        >>> paths[0].name
        'config.yaml'
    """
    if to not in WRITERS:
        raise InputError(f"unknown layout {to!r}; choose one of {', '.join(WRITERS)}")
    destination = Path(destination)
    if destination.exists() and not (destination.is_dir() and not any(destination.iterdir())):
        raise InputError(f"{destination} exists and is not an empty folder; choose another destination")
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        _check_space(draft, destination.parent)
        work = Path(tempfile.mkdtemp(dir=destination.parent, prefix=f".{destination.name}."))
        try:
            WRITERS[to](draft, work)
            for path in beside:
                shutil.copyfile(path, work / path.name)
            work.chmod(0o755)
            if destination.is_dir():
                destination.rmdir()
            work.rename(destination)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    except OSError as error:
        raise InputError(f"cannot write {destination} ({error.strerror}); choose another destination") from error
    return tuple(sorted(destination.iterdir()))


def _check_space(draft: Draft, folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if draft.n_bytes > free:
        raise InputError(
            f"{draft.name} takes about {draft.n_bytes / 2**30:.1f} GiB, {folder} has {free / 2**30:.1f} GiB free; "
            "choose another destination"
        )
