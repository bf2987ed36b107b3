"""Progress on stderr: a spinner for steps of unknown length, a bar where the total is known."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from circuits.cli.console import stderr

__all__ = ["stages", "step", "steps"]


@contextmanager
def step(message: str) -> Iterator[None]:
    """Show `message` with a spinner while the block runs; nothing where stderr is no terminal."""
    with stderr().status(message):
        yield


@contextmanager
def steps(message: str) -> Iterator[Callable[[int, int], None]]:
    """A bar for the block, which reports by calling what it is given with (done, total)."""
    with stages() as report:
        yield lambda done, total: report(message, done, total)


@contextmanager
def stages() -> Iterator[Callable[[str, int, int], None]]:
    """A bar for every stage that the block reports, by calling what it is given with (stage, done, total).

    Nothing is shown where stderr is no terminal.
    """
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    console = stderr()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        tasks = {}

        def report(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = progress.add_task(stage, total=total)
            progress.update(tasks[stage], completed=done, total=total)

        yield report
