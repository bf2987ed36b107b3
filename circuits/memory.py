"""A memory budget in bytes, not a batch size to guess: what a trace holds, and how large its batches may be."""

import re
from dataclasses import dataclass

from replacement_model import InputError

__all__ = ["MemoryPlan", "parse_bytes", "plan_memory"]

BINARY_UNITS = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
UNITS = BINARY_UNITS | {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
# Enough for a layer's matrices to be read from memory once for many targets; larger batches reach no better speed.
MAX_BATCH_SIZE = 128


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """How a trace stays within its budget.

    Attributes:
        batch_size: targets swept at once.
        cache_rows: whether all decoder rows are held, or gathered anew for every batch.
    """

    batch_size: int
    cache_rows: bool


def parse_bytes(text: str | int) -> int:
    """Bytes from a number or a text such as "4GiB" or "512 MB".

    Raises:
        InputError: the text is no size, or the size is not positive.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?i?B)?\s*", str(text))
    if match is None or (match[2] or "B") not in UNITS or float(match[1]) <= 0:
        raise InputError(f"a memory budget is a positive size such as 4GiB or 512MB, got {text!r}")
    return int(float(match[1]) * UNITS[match[2] or "B"])


def plan_memory(budget: int, store_bytes: int, row_bytes: int, target_bytes: int) -> MemoryPlan:
    """Divide `budget` bytes between the graph's rows, the decoder rows and the sweep's buffers.

    Args:
        budget: bytes that attribution may use beside the model.
        store_bytes: the graph's rows while they are produced, and the sparse copy made of them.
        row_bytes: decoder rows of all active features at all the layers that they write to.
        target_bytes: the sweep's buffers for each target of a batch.

    Raises:
        InputError: not even one target at a time fits.
    """
    left = budget - store_bytes
    if left < target_bytes:
        needed = (store_bytes + target_bytes) / UNITS["MiB"]
        raise InputError(
            f"this graph needs at least {needed:.0f} MiB, the memory budget is {budget / UNITS['MiB']:.0f} MiB; "
            "lower max_feature_nodes, or raise the budget"
        )
    cache_rows = left >= row_bytes + target_bytes
    spare = left - row_bytes if cache_rows else left
    return MemoryPlan(batch_size=max(1, min(MAX_BATCH_SIZE, spare // target_bytes)), cache_rows=cache_rows)
