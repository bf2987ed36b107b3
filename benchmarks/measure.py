"""Time and memory of one call, inside the process that makes it."""

import ctypes
import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

__all__ = ["Measured", "measure"]

STATUS = Path("/proc/self/status")
CLEAR_REFS = Path("/proc/self/clear_refs")
RESET_PEAK = "5"  # proc(5): resets VmHWM to the resident memory of now

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Measured:
    """Wall-clock seconds of a call, and the bytes by which its peak resident memory exceeded that just before."""

    seconds: float
    extra_bytes: int


def measure(call: Callable[[], T]) -> tuple[T, Measured]:
    """Runs `call` once, after handing freed pages back to the system so that they do not hide what it needs."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    CLEAR_REFS.write_text(RESET_PEAK)
    before = _status_bytes("VmRSS")
    start = time.perf_counter()
    result = call()
    seconds = time.perf_counter() - start
    return result, Measured(seconds, _status_bytes("VmHWM") - before)


def _status_bytes(field: str) -> int:
    for line in STATUS.read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"expected {field} in {STATUS}; the benchmark needs Linux")
