"""`orrery export`: a graph as a picture, or as a file for other programs."""

import json
from pathlib import Path
from typing import Annotated

import typer

from circuits.cli.inputs import open_circuit
from circuits.cli.options import (
    DebugOption,
    GraphArgument,
    JsonOption,
    OtherEdgeThresholdOption,
    OtherNodeThresholdOption,
)
from circuits.cli.output import FORMATS, check_output, plan_files
from circuits.cli.progress import step
from circuits.cli.writing import write_all, write_site
from replacement_model.errors import InputError

__all__ = ["export"]


def export(
    graph: GraphArgument,
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="FORMATS", help=f"One or more of {', '.join(FORMATS)}, separated by commas."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="A file whose ending names the format, or a folder; else beside GRAPH."),
    ] = None,
    site: Annotated[
        Path | None,
        typer.Option("--site", metavar="FOLDER", help="Add the graph to a folder that other programs' pages serve."),
    ] = None,
    features: Annotated[
        Path | None,
        typer.Option("--features", metavar="FOLDER", help="Evidence of `orrery features collect`, for --site."),
    ] = None,
    node_threshold: OtherNodeThresholdOption = None,
    edge_threshold: OtherEdgeThresholdOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Write a graph or circuit in another format.

    A circuit is written as it was pruned, unless a threshold is given; a graph is pruned at 0.8 and 0.98.
    SVG, PDF and PNG need Graphviz.

    For example:

        orrery export out/dallas.safetensors -o dallas.pdf

        orrery export out/dallas.safetensors --to json,graphml,csv -o tables/

        orrery export out/dallas.safetensors --site site --features evidence
    """
    if to is None and output is None and site is None:
        raise InputError(f"say what to write: --to with one of {', '.join(FORMATS)}, or --output with such an ending")
    if features is not None and site is None:
        raise InputError("--features are for the files of --site; add --site FOLDER")
    only_site = to is None and output is None
    files = () if only_site else plan_files(graph.parent if output is None else output, to, graph.stem)
    if any(file.path.resolve() == graph.resolve() for file in files):
        raise InputError(f"{graph} would be written over itself; choose another --output")
    check_output(files)
    with step("Reading the graph"):
        circuit = open_circuit(graph, node_threshold, edge_threshold)
    written = write_all(circuit, files)
    if site is not None:
        written += write_site(circuit, site, features)
    if as_json:
        typer.echo(json.dumps({"files": written}))
