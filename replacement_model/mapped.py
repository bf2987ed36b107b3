"""Asking the system to read parts of a memory-mapped tensor ahead, all at once instead of one page fault at a time."""

import ctypes
import mmap
from collections.abc import Sequence
from functools import cache

import torch
from jaxtyping import Float, Int
from torch import Tensor

__all__ = ["prefetch_rows"]


def prefetch_rows(matrices: Sequence[Float[Tensor, "n_rows _"]], row: Int[Tensor, "n"]) -> None:
    """Begin to read these rows of all matrices from their files, and return at once.

    Rows that adjoin in memory, as those of one feature's decoders do in most layouts, are one request. Memory that is
    no mapped file, a device other than the CPU and systems without `madvise` are left alone.
    """
    on_cpu = [matrix for matrix in matrices if matrix.device.type == "cpu" and matrix.numel()]
    if not on_cpu or not len(row) or not hasattr(mmap, "MADV_WILLNEED"):
        return
    rows = row.unique().cpu()
    first = torch.cat([_addresses(matrix, rows) for matrix in on_cpu])
    last = torch.cat([_addresses(matrix, rows) + matrix.shape[1] * matrix.element_size() for matrix in on_cpu])
    page = mmap.PAGESIZE
    order = torch.argsort(first)
    first, last = first[order] // page * page, last[order]
    new = torch.ones(len(first), dtype=torch.bool)
    new[1:] = first[1:] > last[:-1]
    starts = new.nonzero().squeeze(1)
    stops = torch.cat([starts[1:], torch.tensor([len(first)])]) - 1
    for start, stop in zip(first[starts].tolist(), last[stops].tolist(), strict=True):
        _libc().madvise(ctypes.c_void_p(start), ctypes.c_size_t(stop - start), mmap.MADV_WILLNEED)


def _addresses(matrix: Float[Tensor, "n_rows _"], rows: Int[Tensor, "n"]) -> Int[Tensor, "n"]:
    return matrix.data_ptr() + rows * (matrix.stride(0) * matrix.element_size())


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)
