"""`orrery validate`: files checked against every rule of the programs that read them."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from circuits.cli.console import say_error, stdout
from circuits.cli.options import DebugOption, JsonOption
from circuits.cli.progress import step
from replacement_model.errors import GraphFileError, InputError

if TYPE_CHECKING:
    from viz.exchange.checked import Checked

__all__ = ["validate"]


def validate(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="Graph JSON, a graph of our own, files around it, or a folder."),
    ],
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Check graph files against every rule of the programs that read them.

    Knows graph JSON, graph-metadata.json, feature files, supernodes.json, folders of all these, what `orrery features
    collect` wrote, and our own .safetensors graphs. An error stops some program; a warning is what only one of them
    needs. Each line has the rule, the place (a JSON pointer), what was expected, what came, and what to do;
    docs/exchange.md lists the rules.

    Exit codes: 0 no error; 1 at least one error; 2 a file that cannot be read.

    For example:

        orrery validate out/dallas.json

        orrery validate site/
    """
    with step("Checking"):
        from viz.exchange.validation import validate as check

        checked: list[Checked] = []
        unreadable: list[str] = []
        for path in files:
            try:
                checked += check(path)
            except (InputError, GraphFileError) as error:
                unreadable.append(str(error))
    if as_json:
        typer.echo(json.dumps({"files": [_facts(one) for one in checked], "unreadable": unreadable}))
    else:
        for one in checked:
            _show(one)
    for message in unreadable:
        say_error(message)
    if unreadable or any(one.n_errors for one in checked):
        raise typer.Exit(2 if unreadable else 1)


def _show(one: "Checked") -> None:
    for violation in one.violations:
        stdout().print(f"{one.path}: {violation.level}: {violation}", markup=False, soft_wrap=True)
    counts = f"{one.n_errors} errors, {one.n_warnings} warnings" if one.violations else "no violation"
    stdout().print(f"{one.path}: {one.kind}: {counts}", markup=False, soft_wrap=True)


def _facts(one: "Checked") -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "path": str(one.path),
        "kind": one.kind,
        "errors": one.n_errors,
        "warnings": one.n_warnings,
        "violations": [asdict(violation) for violation in one.violations],
    }
