import ctypes
import mmap
import os
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from replacement_model.mapped import prefetch_rows

PAGE = mmap.PAGESIZE


def resident(tensor: torch.Tensor) -> bool:
    """Whether the page on which the tensor begins is in memory."""
    answer = (ctypes.c_ubyte * 1)()
    address = ctypes.c_void_p(tensor.data_ptr() // PAGE * PAGE)
    assert ctypes.CDLL(None).mincore(address, ctypes.c_size_t(PAGE), answer) == 0
    return bool(answer[0] & 1)


def test_the_rows_asked_for_are_read_and_no_others(tmp_path: Path) -> None:
    path, width = tmp_path / "x.safetensors", 2 * PAGE // 4
    written = torch.arange(1000.0)[:, None, None].expand(1000, 3, width).contiguous()
    save_file({"W_dec": written}, path)
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    W_dec = load_file(path)["W_dec"]
    if resident(W_dec[500, 1]):
        pytest.skip("runs where a file's pages can be dropped from memory (no tmpfs)")
    prefetch_rows(W_dec.unbind(1), torch.tensor([500, 20, 500]))
    deadline = time.monotonic() + 5
    while not resident(W_dec[500, 1]) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert resident(W_dec[500, 1])
    assert not resident(W_dec[900, 1])
    assert torch.equal(W_dec[20], written[20])


def test_memory_that_is_no_file_is_left_alone() -> None:
    matrices = torch.randn(3, 5, 4).unbind(0)
    before = [matrix.clone() for matrix in matrices]
    prefetch_rows(matrices, torch.tensor([0, 4]))
    prefetch_rows(matrices, torch.tensor([], dtype=torch.int64))
    prefetch_rows([], torch.tensor([1]))
    assert all(torch.equal(matrix, values) for matrix, values in zip(matrices, before, strict=True))
