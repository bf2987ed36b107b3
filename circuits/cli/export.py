"""`orrery export`: a graph as a picture, or as a file for other programs."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from circuits.cli.figures import (
    KINDS,
    PANEL,
    FigureSettings,
    FontOption,
    WidthOption,
    draw_figures,
    parse_kinds,
    parse_look,
    plan_figures,
)
from circuits.cli.inputs import open_circuit
from circuits.cli.options import (
    DebugOption,
    GraphArgument,
    JsonOption,
    OtherEdgeThresholdOption,
    OtherNodeThresholdOption,
)
from circuits.cli.output import FORMATS, OutputFile, check_output, format_of, plan_files
from circuits.cli.progress import step
from circuits.cli.writing import Additions, announce, write_all, write_site
from replacement_model.errors import InputError

if TYPE_CHECKING:
    from circuits import Circuit, GroupedCircuit

__all__ = ["export"]

Thresholds = tuple[float | None, float | None]


@dataclass(frozen=True, slots=True)
class Extras:
    """What else goes into the files that are no figures."""

    site: Path | None
    features: Path | None
    supernodes: Path | None
    annotations: Path | None


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
        typer.Option(
            "--features", metavar="FOLDER", help="Evidence of `orrery features collect`, for html and --site."
        ),
    ] = None,
    annotations: Annotated[
        Path | None,
        typer.Option(
            "--annotations", metavar="FILE", help="Of `orrery view`; else those beside GRAPH, if there are any."
        ),
    ] = None,
    figure: Annotated[
        str | None,
        typer.Option(
            "--figure",
            metavar="KINDS",
            rich_help_panel=PANEL,
            help=f"A figure for a paper, with its caption: one or more of {', '.join(KINDS)}.",
        ),
    ] = None,
    width: WidthOption = None,
    font: FontOption = None,
    max_nodes: Annotated[
        int | None,
        typer.Option("--max-nodes", min=1, rich_help_panel=PANEL, help="Most features and errors to draw; else 40."),
    ] = None,
    nodes: Annotated[
        str | None,
        typer.Option(
            "--nodes",
            metavar="IDS",
            rich_help_panel=PANEL,
            help='Of pinned: "1_1006_8,2_1440_8"; else those of the page.',
        ),
    ] = None,
    supernodes: Annotated[
        Path | None,
        typer.Option(
            "--supernodes", metavar="FILE", help="Group the circuit by these: supernodes.json, or graph JSON."
        ),
    ] = None,
    title: Annotated[
        str | None,
        typer.Option("--title", rich_help_panel=PANEL, help='Text above a graph, "" for none; else the prompt.'),
    ] = None,
    node_threshold: OtherNodeThresholdOption = None,
    edge_threshold: OtherEdgeThresholdOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Write a graph or circuit in another format, or as figures for a paper.

    A circuit is written as it was pruned, unless a threshold is given; a graph is pruned at 0.8 and 0.98.
    SVG, PDF and PNG of graphs need Graphviz. Without --figure they are laid out for a screen.

    Figures are PDF unless --to or --output says otherwise. Each has a caption file with every setting beside it. Pins,
    supernodes and labels are those of GRAPH's annotations, which `orrery view` writes: html has them all, json the pins
    and supernodes, every format the labels. HTML is the page of `orrery view` as one file that needs no network.

    For example:

        orrery export out/dallas.safetensors -o dallas.pdf

        orrery export out/dallas.safetensors --to json,graphml,csv -o tables/

        orrery export out/dallas.safetensors --figure graph,heatmap,curve --width column --font serif -o figures/

        orrery export out/dallas.safetensors --to html --features evidence

        orrery export out/dallas.safetensors --figure graph -o dallas.tex

        orrery export out/dallas.safetensors --site site --features evidence
    """
    if to is None and output is None and figure is None and site is None:
        raise InputError(
            f"say what to write: --to with one of {', '.join(FORMATS)}, --output with such an ending, or --figure"
        )
    if annotations is not None and not annotations.is_file():
        advice = "`orrery view` writes them beside each graph"
        raise InputError(f"expected annotations at {annotations}, found no file; {advice}")
    options = {"--width": width, "--font": font, "--max-nodes": max_nodes, "--nodes": nodes, "--title": title}
    given = [name for name, value in options.items() if value is not None]
    if figure is None and _is_tikz(to, output):
        figure = "graph"
    if figure is None and given:
        raise InputError(f"{given[0]} is of figures; add --figure with one of {', '.join(KINDS)}")
    thresholds = (node_threshold, edge_threshold)
    if figure is None:
        written = _write_files(graph, to, output, thresholds, Extras(site, features, supernodes, annotations))
    elif features is not None:
        raise InputError("--features are for html and the files of --site, not for --figure; leave them out")
    elif site is not None:
        raise InputError("--site takes files for other programs' pages, --figure draws for papers; call export twice")
    else:
        kinds = parse_kinds(figure)
        for name, value, kind in (("--nodes", nodes, "pinned"), ("--supernodes", supernodes, "supernodes")):
            if value is not None and kind not in kinds:
                raise InputError(f"{name} is of --figure {kind}, the figures asked for are {', '.join(kinds)}")
        ids = tuple(part.strip() for part in (nodes or "").split(",") if part.strip())
        settings = FigureSettings(parse_look(width, font), max_nodes, ids, supernodes, title, annotations)
        written = _write_figures(graph, plan_figures(graph, kinds, to, output), settings, thresholds)
    if as_json:
        typer.echo(json.dumps({"files": written}))


def _is_tikz(to: str | None, output: Path | None) -> bool:
    """Whether TikZ alone is asked for, which is always a figure."""
    if output is not None and not output.is_dir() and format_of(output) is not None:
        return format_of(output) == "tikz"
    return to is not None and to.strip().lower() == "tikz"


def _write_files(
    graph: Path, to: str | None, output: Path | None, thresholds: Thresholds, extras: Extras
) -> tuple[str, ...]:
    only_site = to is None and output is None
    files = () if only_site else plan_files(graph.parent if output is None else output, to, graph.stem)
    if any(file.path.resolve() == graph.resolve() for file in files):
        raise InputError(f"{graph} would be written over itself; choose another --output")
    if extras.features is not None and extras.site is None and all(file.format != "html" for file in files):
        raise InputError("--features are for html and the files of --site; add --to html, or --site FOLDER")
    check_output(files)
    with step("Reading the graph"):
        from circuits import group, load_grouping
        from viz.viewer.annotations import annotations_of, load_annotations

        circuit = open_circuit(graph, *thresholds)
        notes = annotations_of(graph) if extras.annotations is None else load_annotations(extras.annotations)
        shown: Circuit | GroupedCircuit = circuit
        if extras.supernodes is not None:
            shown = group(circuit, load_grouping(extras.supernodes, circuit.graph))
    written = write_all(shown, files, Additions(notes, extras.features))
    return written if extras.site is None else written + write_site(circuit, extras.site, extras.features)


def _write_figures(
    graph: Path, plans: dict[str, tuple[OutputFile, ...]], settings: FigureSettings, thresholds: Thresholds
) -> tuple[str, ...]:
    with step("Reading the graph"):
        circuit = open_circuit(graph, *thresholds)
    with step("Drawing"):
        from viz.files import write_files

        contents = draw_figures(graph, circuit, plans, settings)
        write_files(contents)
    return tuple(announce(path) for path in contents)
