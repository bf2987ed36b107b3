"""Functions of other packages, called only when a user names them."""

import importlib
from collections.abc import Callable
from importlib import metadata
from typing import Any

from replacement_model.errors import InputError

__all__ = ["LABELLERS", "PREDICTORS", "load_function"]

LABELLERS, PREDICTORS = "orrery.labellers", "orrery.predictors"


def load_function(name: str, group: str) -> Callable[..., Any]:
    """The function `module:function`, or an entry point of `group` that an installed package declares.

    Raises:
        InputError: there is none of this name.
    """
    module_name, colon, attribute = name.partition(":")
    if not colon:
        return _entry_point(name, group)
    try:
        found = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(
            f"cannot load {name} ({error}); give MODULE:FUNCTION of a module that Python finds, "
            "for example one in a folder of PYTHONPATH"
        ) from error
    return _callable(name, found)


def _entry_point(name: str, group: str) -> Callable[..., Any]:
    points = {point.name: point for point in metadata.entry_points(group=group)}
    if name not in points:
        known = ", ".join(sorted(points)) or "none are installed"
        raise InputError(f"no {group} named {name!r} ({known}); give one of them, or MODULE:FUNCTION")
    return _callable(name, points[name].load())


def _callable(name: str, found: Any) -> Callable[..., Any]:
    if not callable(found):
        raise InputError(f"{name} is a {type(found).__name__}, expected a function")
    return found
