"""`orrery info`: what lies at a path."""

import json
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from circuits.cli.console import stdout
from circuits.cli.facts import facts_about
from circuits.cli.options import DebugOption, JsonOption
from circuits.cli.progress import step

__all__ = ["info"]


def info(
    path: Annotated[
        str, typer.Argument(metavar="PATH", help="A graph file, the folder of a transcoder or a model, or pocket.")
    ],
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Say what a file or folder is: a graph or circuit, a transcoder, or a model.

    A transcoder's weights are read and checked. A model's config is checked against the host adapters, without its
    weights: if this succeeds, its architecture can be traced.

    For example:

        orrery info out/dallas.safetensors

        orrery info pocket --json
    """
    with step(f"Reading {path}"):
        facts = facts_about(path)
    if as_json:
        typer.echo(json.dumps(facts))
    else:
        stdout().print(_table(facts))


def _table(facts: dict[str, Any]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        if value not in (None, {}, []):
            table.add_row(name, _table(value) if isinstance(value, dict) else _text(value))
    return table


def _text(value: Any) -> Text:
    if isinstance(value, bool):
        return Text("yes" if value else "no")
    if isinstance(value, list):
        return Text(", ".join("none" if item is None else str(item) for item in value))
    return Text(f"{value:,}" if isinstance(value, int) else f"{value:.2g}" if isinstance(value, float) else str(value))
