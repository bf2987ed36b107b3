"""The pocket model: a tiny Gemma 3 trained on true, templated facts, with transcoders, small enough to ship.

Its world is known, so every feature can be scored against the concepts of the corpus and every circuit has a ground
truth. Importing this package costs nothing: the functions are loaded on first use.
"""

from importlib import import_module
from pathlib import Path
from typing import Any

__all__ = ["MODEL_DIR", "TRANSCODER_DIRS", "WEIGHTS_DIR", "evaluate", "rebuild"]

WEIGHTS_DIR = Path(__file__).parent / "weights"
MODEL_DIR = WEIGHTS_DIR / "model"
TRANSCODER_DIRS = {"clt": WEIGHTS_DIR / "clt", "plt": WEIGHTS_DIR / "plt"}

_LAZY = {"evaluate": "replacement_model.pocket.evaluation", "rebuild": "replacement_model.pocket.build"}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)
