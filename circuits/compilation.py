"""How the numeric kernels are compiled: once per machine, kept on disk where that is possible."""

import inspect
import logging
from collections.abc import Callable
from typing import Any

import numba

__all__ = ["compiled"]

logger = logging.getLogger(__name__)


def compiled(function: Callable[..., Any], *, reassociate: bool = False) -> Callable[..., Any]:
    """Compile `function` on its first call, and keep the machine code for the next process.

    Numba refuses to decorate at all when it finds no writable place for its cache (a read-only install, no home
    directory); then the function is compiled anew in every process, which is slow but right.

    Args:
        function: plain Python that Numba understands.
        reassociate: let sums be added up in another order, so that they run at the width of a vector instead of the
            latency of one addition. The order is fixed when compiling: every run on one machine gives the same bits.
    """
    # Import hooks that check shapes wrap every function of a module; numba needs the function itself.
    function = inspect.unwrap(function)
    options: dict[str, Any] = {"nogil": True, "fastmath": {"reassoc"} if reassociate else False}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError as error:
        advice = "set NUMBA_CACHE_DIR to a writable folder"
        logger.info("%s is compiled in every process (%s); %s", function.__name__, error, advice)
        return numba.njit(**options)(function)
