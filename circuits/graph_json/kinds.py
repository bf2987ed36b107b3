"""What values of a parsed file are, where nothing is known about them, and the words of the format."""

import math
import re
from typing import Any, TypeGuard

__all__ = [
    "EMBEDDING",
    "ERROR",
    "FEATURE",
    "LOGIT",
    "PROBABILITY",
    "cantor_layer_index",
    "is_int",
    "is_number",
    "is_text_list",
    "layer_number",
]

FEATURE, ERROR, EMBEDDING, LOGIT = "cross layer transcoder", "mlp reconstruction error", "embedding", "logit"
PROBABILITY = re.compile(r"\(p=(\d(?:\.\d+)?)\)")

MAX_DIGITS = 9


def is_int(value: Any) -> TypeGuard[int]:
    """Whether it is an integer, which a boolean is not."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: Any) -> TypeGuard[float]:
    """Whether it is a number that a double can hold."""
    if isinstance(value, float):
        return math.isfinite(value)
    return is_int(value) and value.bit_length() < 1024


def is_text_list(value: Any) -> TypeGuard[list[str]]:
    """Whether it is a list of texts."""
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def layer_number(layer: Any) -> int | None:
    """The layer's number, None for `E` and for what is no layer."""
    if isinstance(layer, str) and layer.isascii() and layer.isdigit() and len(layer) <= MAX_DIGITS:
        return int(layer)
    return layer if is_int(layer) and 0 <= layer < 10**MAX_DIGITS else None


def cantor_layer_index(pair: int) -> tuple[int, int]:
    """The layer and index that a Cantor pair stands for.

    >>> cantor_layer_index(7)
    (2, 1)
    """
    total = (math.isqrt(8 * pair + 1) - 1) // 2
    index = pair - total * (total + 1) // 2
    return total - index, index
