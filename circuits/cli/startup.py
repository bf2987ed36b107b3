"""Starting and leaving sooner: what a process that imports torch and transformers would do for nothing."""

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

__all__ = ["collector_paused", "leave"]


@contextmanager
def collector_paused() -> Iterator[None]:
    """No garbage collection while modules and weights are loaded: millions of objects appear, none of them garbage.

    It would search them again and again, for about a sixth of the time that loading takes. Afterwards they are set
    aside for good, so that later collections do not search them either.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def leave(code: int) -> NoReturn:
    """End the process at once, once all output is written.

    The interpreter would take thousands of modules apart first, for half a second or more. A reader that has closed
    the pipe makes this exit code 1.
    """
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        code = code or 1
    os._exit(code)
