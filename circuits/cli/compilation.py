"""The notice that the first run after an install takes longer."""

from pathlib import Path

from circuits.cli.console import say

__all__ = ["announce_compilation"]


def announce_compilation() -> None:
    """Say that the kernels are about to be compiled, unless Numba finds them on disk."""
    import numba

    import circuits

    kernels = Path(circuits.__path__[0])
    folder = Path(numba.config.CACHE_DIR) if numba.config.CACHE_DIR else kernels / "__pycache__"
    if not any(folder.rglob("kernels.*.nbi")):
        say("First run after an install: compiling the kernels, some seconds, once.")
