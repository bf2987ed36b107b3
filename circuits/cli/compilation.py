"""The notice that the first run after an install takes longer."""

import os
from pathlib import Path

import circuits
from circuits.cli.console import say

__all__ = ["announce_compilation"]


def announce_compilation() -> None:
    """Say that the kernels are about to be compiled, unless Numba finds them on disk."""
    kept_elsewhere = os.environ.get("NUMBA_CACHE_DIR")
    folder = Path(kept_elsewhere) if kept_elsewhere else Path(circuits.__path__[0]) / "__pycache__"
    if not any(folder.rglob("kernels.*.nbi")):
        say("First run after an install: compiling the kernels, some seconds, once.")
