"""Transcoder files, one module a layout, told apart by what a folder contains."""

from pathlib import Path

from replacement_model.errors import WeightsError
from replacement_model.formats.circuit_tracer import is_circuit_tracer, load_circuit_tracer
from replacement_model.formats.orrery import is_orrery, load_orrery, save_transcoder
from replacement_model.transcoder import Transcoder

__all__ = ["load_transcoder", "save_transcoder"]

READERS = ((is_orrery, load_orrery), (is_circuit_tracer, load_circuit_tracer))


def load_transcoder(folder: str | Path) -> Transcoder:
    """Read a transcoder from a local folder, in any layout that is known.

    Raises:
        WeightsError: no such folder, no known layout, or damaged files.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise WeightsError(f"transcoder folder {folder} does not exist; check the path")
    for recognises, load in READERS:
        if recognises(folder):
            return load(folder)
    names = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
    raise WeightsError(f"{folder} holds no known transcoder layout (transcoder.json or config.yaml), but: {names}")
