"""Evidence on what features mean: where in a text they are active, what they raise, which others resemble them.

Importing this package costs nothing: the functions are loaded on first use.
"""

from importlib import import_module
from typing import Any

__all__ = ["CollectOptions", "EvidenceFolder", "FeatureEvidence", "GemmaScopeExamples", "collect", "open_text"]

_MODULES = {
    "CollectOptions": "collection",
    "EvidenceFolder": "folder",
    "FeatureEvidence": "record",
    "GemmaScopeExamples": "gemma_scope",
    "collect": "collection",
    "open_text": "texts",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
