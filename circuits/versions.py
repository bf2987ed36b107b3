"""Versions of what computes, for the headers of graphs and the folders of studies."""

import hashlib
import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

__all__ = ["code_hash", "recorded_versions"]

RECORDED_PACKAGES = ("orrery-circuits", "torch", "transformers", "numpy", "numba", "safetensors")
COMPUTING = ("replacement_model", "circuits")
NOT_COMPUTING = "circuits/cli"


@cache
def recorded_versions(packages: tuple[str, ...] = RECORDED_PACKAGES) -> dict[str, str]:
    """Of Python and of packages; read from the disk once, as that takes as long as a small trace."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


@cache
def code_hash() -> str:
    """SHA-256 of the modules of this project that compute: between releases the version says too little."""
    root, digest = Path(__file__).parents[1], hashlib.sha256()
    for path in sorted(path for package in COMPUTING for path in (root / package).rglob("*.py")):
        name = path.relative_to(root).as_posix()
        if not name.startswith(NOT_COMPUTING):
            digest.update(f"{name}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()
