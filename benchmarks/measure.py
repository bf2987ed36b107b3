"""Time and memory of one call, inside the process that makes it."""

import ctypes
import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from benchmarks.anonymous import AnonymousPeak

__all__ = ["Measured", "measure"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Measured:
    """Wall-clock seconds of a call, and the bytes by which its peak anonymous memory exceeded that just before."""

    seconds: float
    extra_bytes: int


def measure(call: Callable[[], T]) -> tuple[T, Measured]:
    """Runs `call` once, after handing freed pages back to the system so that they do not hide what it needs.

    Pages of mapped files are not counted: the system takes them away when it needs them.
    """
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    with AnonymousPeak() as peak:
        start = time.perf_counter()
        result = call()
        seconds = time.perf_counter() - start
    return result, Measured(seconds, peak.extra_bytes)
