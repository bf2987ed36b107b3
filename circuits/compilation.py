"""How the numeric kernels are compiled: once per machine, kept on disk where that is possible."""

import inspect
import logging
from collections.abc import Callable
from typing import Any

import numba

__all__ = ["compiled"]

logger = logging.getLogger(__name__)

# Sums may be reassociated, or they run at the latency of one addition instead of the width of a vector. The order is
# fixed when the function is compiled, so every run on one machine gives the same bits.
OPTIONS: dict[str, Any] = {"nogil": True, "fastmath": {"reassoc"}}


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile `function` on its first call, and keep the machine code for the next process.

    Numba refuses to decorate at all when it finds no writable place for its cache (a read-only install, no home
    directory); then the function is compiled anew in every process, which is slow but right.
    """
    # Import hooks that check shapes wrap every function of a module; numba needs the function itself.
    function = inspect.unwrap(function)
    try:
        return numba.njit(cache=True, **OPTIONS)(function)
    except RuntimeError as error:
        advice = "set NUMBA_CACHE_DIR to a writable folder"
        logger.info("%s is compiled in every process (%s); %s", function.__name__, error, advice)
        return numba.njit(**OPTIONS)(function)
