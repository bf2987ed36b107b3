"""Where the command line writes: results on stdout; progress, messages and logs on stderr."""

import logging
import os
import warnings

from rich.console import Console
from rich.logging import RichHandler

__all__ = ["quiet_libraries", "say", "say_error", "stderr", "stdout"]


def stdout() -> Console:
    """The console for results."""
    return Console(highlight=False)


def stderr() -> Console:
    """The console for everything that is not a result."""
    return Console(stderr=True, highlight=False)


def say(message: str) -> None:
    """A message for people, on stderr."""
    stderr().print(message, markup=False, soft_wrap=True)


def say_error(message: str) -> None:
    """One line on stderr that says what went wrong and what to do."""
    stderr().print(f"orrery: {' '.join(message.split())}", markup=False, soft_wrap=True, style="red")


def quiet_libraries() -> None:
    """Keep the notices of libraries off the terminal, and show the logs of this one on stderr.

    Set before transformers is imported, since it reads its level once.
    """
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    warnings.simplefilter("ignore")
    logging.basicConfig(
        level=logging.WARNING, format="%(message)s", handlers=[RichHandler(console=stderr(), show_path=False)]
    )
