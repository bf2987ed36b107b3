"""The `orrery` program: its commands, and the one place where errors become messages and exit codes."""

import sys
import traceback
from importlib import metadata
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from circuits.cli.check import check
from circuits.cli.console import quiet_libraries, say_error
from circuits.cli.convert import convert
from circuits.cli.export import export
from circuits.cli.features import features
from circuits.cli.group import group
from circuits.cli.info import info
from circuits.cli.intervene import intervene
from circuits.cli.options import debugging
from circuits.cli.pocket import pocket
from circuits.cli.prune import prune
from circuits.cli.replay import replay
from circuits.cli.startup import leave
from circuits.cli.study import study
from circuits.cli.trace import trace
from circuits.cli.validate import validate
from circuits.cli.view import view
from replacement_model.errors import OrreryError

__all__ = ["app", "main"]

HELP = """
Attribution graphs of language models: which features, on which tokens, made the model say this.

Start with the model that is shipped, offline:

    orrery trace "the capital of the state containing Dallas is"

Exit codes: 0 done; 1 a check that failed, a bug, or a closed pipe; 2 something to change in the call or the files;
130 interrupted.
"""


class _Program(TyperGroup):
    """Turns the errors that are raised on purpose into one line on stderr and exit code 2."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except OrreryError as error:
            if debugging(ctx):
                traceback.print_exc(file=sys.stderr)
            say_error(str(error))
            raise typer.Exit(2) from error


app = typer.Typer(
    cls=_Program,
    help=HELP,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (trace, prune, export, view, group, intervene, check, replay, info, convert, validate):
    app.command(name=command.__name__)(command)
app.add_typer(features, name="features")
app.add_typer(study, name="study")
app.add_typer(pocket, name="pocket")


def _show_version(value: bool) -> bool:
    if value:
        typer.echo(f"orrery {metadata.version('orrery-circuits')}")
        raise typer.Exit
    return value


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    quiet_libraries()


def main() -> NoReturn:
    """Run the command line with the arguments of this process, and end it."""
    try:
        app(prog_name="orrery")
    except SystemExit as stop:
        leave(stop.code if isinstance(stop.code, int) else int(stop.code is not None))
    leave(0)
