"""`orrery prune`: a graph again, with other thresholds."""

import json
from pathlib import Path
from typing import Annotated

import typer

from circuits.cli.console import stdout
from circuits.cli.inputs import EDGE_THRESHOLD, NODE_THRESHOLD
from circuits.cli.options import DebugOption, EdgeThresholdOption, GraphArgument, JsonOption, NodeThresholdOption
from circuits.cli.output import OutputFile, check_output
from circuits.cli.progress import step
from circuits.cli.writing import write_all

__all__ = ["prune"]


def prune(
    graph: GraphArgument,
    node_threshold: NodeThresholdOption = NODE_THRESHOLD,
    edge_threshold: EdgeThresholdOption = EDGE_THRESHOLD,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write the circuit to this .safetensors file.")
    ] = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Prune a graph with other thresholds, and show what is left.

    The unpruned graph stays in every file, so a circuit can be pruned again, also more loosely.

    For example:

        orrery prune out/dallas.safetensors --node-threshold 0.6

        orrery prune out/dallas.safetensors --node-threshold 0.95 -o out/dallas-95.safetensors
    """
    files = () if output is None else (OutputFile("graph", output),)
    check_output(files)
    with step("Pruning"):
        import viz
        from circuits import load_graph
        from circuits import prune as prune_graph

        circuit = prune_graph(load_graph(graph), node_threshold=node_threshold, edge_threshold=edge_threshold)
    if as_json:
        typer.echo(json.dumps(viz.summary_dict(circuit) | {"files": write_all(circuit, files)}))
        return
    stdout().print(viz.summary(circuit))
    write_all(circuit, files)
