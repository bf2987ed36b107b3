"""A memory budget in bytes, not a batch size to guess: what a trace holds, and how large its batches may be."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields

from torch import Tensor

from replacement_model import InputError

__all__ = ["MemoryNeeds", "MemoryPlan", "keeps_patterns", "parse_bytes", "plan_memory", "tensor_bytes"]

BINARY_UNITS = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
UNITS = BINARY_UNITS | {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
# Enough for a layer's matrices to be read from memory once for many targets; larger batches reach no better speed.
MAX_BATCH_SIZE = 128
# Smaller batches are noticeably slower; rather than that, rows wait in a file.
GOOD_BATCH_SIZE = 32
# What the allocator keeps of freed blocks (glibc: below 32 MiB), and everything small.
RESERVE = 40 * UNITS["MiB"]
# Reading patterns and decoder rows again costs little, so they are held only where they are small.
PATTERNS_SHARE = 8
DECODER_ROWS_SHARE = 64


@dataclass(frozen=True, slots=True)
class MemoryNeeds:
    """What a trace holds beside the model, in bytes.

    Attributes:
        held: from the capture to the end, whatever the plan.
        store: the graph's rows while they are produced.
        result: the sparse rectangle that is made of them at the end, when the sweep's buffers are gone.
        decoder_rows: decoder rows of all active features at all the layers that they write to.
        buffers: the sweep's buffers, by the size of its batches.
    """

    held: int
    store: int
    result: int
    decoder_rows: int
    buffers: Callable[[int], int]


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """How a trace stays within its budget.

    Attributes:
        batch_size: targets swept at once.
        cache_rows: whether all decoder rows are held, or gathered anew for every batch.
        rows_in_file: whether the graph's rows lie in a temporary file while they are produced.
    """

    batch_size: int
    cache_rows: bool
    rows_in_file: bool


def parse_bytes(text: str | int) -> int:
    """Bytes from a number or a text such as "4GiB" or "512 MB".

    Raises:
        InputError: the text is no size, or the size is not positive.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?i?B)?\s*", str(text))
    if match is None or (match[2] or "B") not in UNITS or float(match[1]) <= 0:
        raise InputError(f"a memory budget is a positive size such as 4GiB or 512MB, got {text!r}")
    return int(float(match[1]) * UNITS[match[2] or "B"])


def keeps_patterns(budget: int, n_patterns: int, n_pos: int, itemsize: int) -> bool:
    """Whether the attention patterns of all layers are a small part of the budget."""
    return n_patterns * n_pos**2 * itemsize <= budget // PATTERNS_SHARE


def tensor_bytes(*records: object) -> int:
    """Bytes of the tensors that are fields of dataclasses; memory that several share is counted once."""
    values = [getattr(record, field.name) for record in records for field in fields(record)]  # type: ignore[arg-type]
    storages = [tensor.untyped_storage() for tensor in _tensors(values)]
    # By identity and not by address: tensors without memory, on the meta device, are counted too.
    return sum({storage._cdata: storage.nbytes() for storage in storages}.values())


def _tensors(value: object) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple, dict)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _tensors(part)


def plan_memory(budget: int, needs: MemoryNeeds) -> MemoryPlan:
    """Divide `budget` bytes between the graph's rows, the decoder rows and the sweep's buffers.

    The rows go to a file if they would leave too little for batches of a good size.

    Raises:
        InputError: not even one target at a time fits.
    """
    left = budget - RESERVE - needs.held
    least = max(needs.buffers(1), needs.result)
    if left < least:
        needed, given = (RESERVE + needs.held + least) / UNITS["MiB"], budget / UNITS["MiB"]
        raise InputError(
            f"this graph needs at least {needed:.0f} MiB, the memory budget is {given:.0f} MiB; "
            "shorten the prompt, lower max_feature_nodes, or raise the budget"
        )
    cache_rows = needs.decoder_rows <= budget // DECODER_ROWS_SHARE and needs.decoder_rows + least <= left
    left -= needs.decoder_rows if cache_rows else 0
    rows_in_file = needs.store + max(needs.buffers(GOOD_BATCH_SIZE), needs.result) > left
    left -= 0 if rows_in_file else needs.store
    sizes = range(MAX_BATCH_SIZE, 0, -1)
    batch_size = next(size for size in sizes if needs.buffers(size) <= left)
    return MemoryPlan(batch_size, cache_rows, rows_in_file)
