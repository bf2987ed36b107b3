"""Figures for papers as the command line names them: which, how wide, in which files, with which captions."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from circuits.cli.console import say
from circuits.cli.output import FORMATS, OutputFile, check_output, format_of, parse_formats, plan_files
from replacement_model.errors import InputError

if TYPE_CHECKING:
    from circuits import Circuit, Graph, GroupedCircuit
    from viz.figures import Caption, GraphFigure
    from viz.figures.style import PaperFigure

__all__ = [
    "KINDS",
    "PANEL",
    "FigureSettings",
    "FontOption",
    "WidthOption",
    "draw_figures",
    "parse_kinds",
    "parse_look",
    "plan_figures",
    "plan_plot",
    "plot_contents",
]

GRAPHS = ("graph", "supernodes", "pinned")
PLOTS = ("heatmap", "curve")
KINDS = (*GRAPHS, *PLOTS)
GRAPH_FORMATS = ("svg", "pdf", "png", "tikz", "dot")
PLOT_FORMATS = ("svg", "pdf", "png")
WIDTHS = {"column": 3.25, "text": 6.75}  # as in viz.figures, which help would have to wait for
FONTS = ("sans", "serif")
PANEL = "Figures"  # of the help
NARROWEST, WIDEST = 1.5, 40.0


@dataclass(frozen=True, slots=True)
class FigureSettings:
    """What the options of figures say; None and empty where they do not.

    Attributes:
        look: width in inches, and font.
        nodes: ids of those to draw.
    """

    look: Mapping[str, Any]
    max_nodes: int | None = None
    nodes: tuple[str, ...] = ()
    supernodes: Path | None = None
    title: str | None = None
    annotations: Path | None = None


WidthOption = Annotated[
    str | None,
    typer.Option(
        "--width", metavar="WIDTH", rich_help_panel=PANEL, help="column (3.25 in; else this), text (6.75), or inches."
    ),
]
FontOption = Annotated[
    str | None,
    typer.Option("--font", metavar="FONT", rich_help_panel=PANEL, help="sans (Helvetica; else this) or serif (Times)."),
]


def parse_look(width: str | None, font: str | None) -> dict[str, Any]:
    """`width` in inches and `font`, with their defaults.

    Raises:
        InputError: a width or font that figures do not have.
    """
    try:
        inches = WIDTHS[width or "column"] if width is None or width in WIDTHS else float(width.removesuffix("in"))
    except ValueError:
        inches = 0.0
    if not NARROWEST <= inches <= WIDEST:
        raise InputError(f"--width must be column, text or inches from {NARROWEST:g} to {WIDEST:g}, it is {width!r}")
    if font is not None and font not in FONTS:
        raise InputError(f"--font must be {' or '.join(FONTS)}, it is {font!r}")
    return {"width": inches, "font": font or FONTS[0]}


def parse_kinds(text: str) -> tuple[str, ...]:
    """Figures from a comma-separated list.

    Raises:
        InputError: one of them is unknown.
    """
    names = tuple(dict.fromkeys(name.strip().lower() for name in text.split(",") if name.strip()))
    unknown = [name for name in names if name not in KINDS]
    if unknown or not names:
        raise InputError(f"unknown figure {', '.join(unknown) or text!r}; choose from {', '.join(KINDS)}")
    return names


def plan_figures(
    graph: Path, kinds: tuple[str, ...], formats: str | None, output: Path | None
) -> dict[str, tuple[OutputFile, ...]]:
    """The files of every figure; PDF where no format is named.

    Raises:
        InputError: a format that a figure does not have, several figures in one file, or files that cannot be written.
        MissingDependencyError: a graph is to be drawn without Graphviz.
    """
    place = graph.parent if output is None else output
    is_file = not place.is_dir() and format_of(place) is not None
    if is_file and len(kinds) > 1:
        raise InputError(f"--output {place} is one file, --figure asks for {len(kinds)}; name a folder")
    named = None if is_file else formats or "pdf"
    plans = {}
    for kind in kinds:
        allowed = GRAPH_FORMATS if kind in GRAPHS else PLOT_FORMATS
        chosen = (format_of(place),) if is_file else parse_formats(named or "")
        wrong = [name for name in chosen if name not in allowed]
        if wrong:
            raise InputError(f"--figure {kind} is written as {', '.join(allowed)}, not as {', '.join(map(str, wrong))}")
        plans[kind] = plan_files(place, formats if is_file else named, f"{graph.stem}-{kind}", kind in GRAPHS)
    check_output(file for files in plans.values() for file in files)
    return plans


def plan_plot(path: Path) -> OutputFile:
    """The file of one plot, by its ending.

    Raises:
        InputError: another ending, or a file that cannot be written.
    """
    name = format_of(path)
    if name not in PLOT_FORMATS:
        endings = ", ".join(FORMATS[name] for name in PLOT_FORMATS)
        raise InputError(f"--figure {path} must be a file that ends in {endings}")
    files = plan_files(path, name, path.stem, has_graphs=False)
    check_output(files)
    return files[0]


def draw_figures(
    graph: Path, circuit: "Circuit", plans: dict[str, tuple[OutputFile, ...]], settings: FigureSettings
) -> dict[Path, bytes]:
    """All files of all figures with their contents, captions included.

    Raises:
        InputError: pins or supernodes that are missing or not of this graph.
    """
    from viz.viewer.annotations import annotations_of, load_annotations

    notes = annotations_of(graph) if settings.annotations is None else load_annotations(settings.annotations)
    contents: dict[Path, bytes] = {}
    for kind, files in plans.items():
        if kind in PLOTS:
            plot, caption = _plot(kind, circuit, settings)
            contents |= plot_contents(plot, caption, files)
        else:
            figure, caption = _graph(kind, circuit, notes, settings)
            contents |= _graph_contents(figure, caption, files)
    return contents


def _plot(kind: str, circuit: "Circuit", settings: FigureSettings) -> "tuple[PaperFigure, Caption]":
    from viz import figures

    if kind == "heatmap":
        caption = figures.heat_map_caption(circuit, settings.look["width"])
        return figures.heat_map(circuit, **settings.look), caption
    return figures.influence_curve(circuit, **settings.look), figures.curve_caption(circuit)


def plot_contents(plot: "PaperFigure", caption: "Caption", files: tuple[OutputFile, ...]) -> dict[Path, bytes]:
    """A plot's files and their captions."""
    from viz.figures import figure_bytes

    size = f"{plot.get_figwidth():.2f} by {plot.get_figheight():.2f} in, {plot.font}"
    drawn = {file.path: figure_bytes(plot, file.format) for file in files}
    return drawn | _captions(caption.with_settings({"figure": size}), files)


def _graph(kind: str, circuit: "Circuit", notes: Any, settings: FigureSettings) -> "tuple[GraphFigure, Caption]":
    from circuits import group, load_grouping
    from viz import figures

    circuit = replace(circuit, graph=notes.labelled(circuit.graph))
    look: dict[str, Any] = {**settings.look, "title": settings.title}
    if kind == "pinned":
        chosen = _pinned(circuit.graph, notes, settings)
        figure = figures.pinned_figure(circuit, list(chosen.values()), places=_places(chosen, notes, settings), **look)
    else:
        shown: Circuit | GroupedCircuit = circuit
        if kind == "supernodes":
            graph = circuit.graph
            found = notes.grouping(graph) if settings.supernodes is None else load_grouping(settings.supernodes, graph)
            if not len(found.groups):
                raise InputError(
                    "--figure supernodes found no supernodes; give --supernodes FILE, as `orrery group GRAPH -o FILE` "
                    "writes it, or make some with `orrery view`"
                )
            shown = group(circuit, found)
        if settings.max_nodes is not None:
            look["max_nodes"] = settings.max_nodes
        figure = figures.graph_figure(shown, **look)
    if not figure.is_readable:
        say(
            f"the smallest type of this figure is {figure.smallest_type:.1f} pt, which can hardly be read in print; "
            "draw it wider (--width text), or with fewer nodes (--max-nodes, --node-threshold)"
        )
    return figure, figures.graph_caption(figure, kind)


def _places(chosen: Mapping[str, int], notes: Any, settings: FigureSettings) -> dict[int, tuple[float, float]]:
    """Where pinned nodes were put in the page; nodes that are named in the call are drawn in columns."""
    return {} if settings.nodes else {chosen[name]: at for name, at in notes.positions.items() if name in chosen}


def _pinned(graph: "Graph", notes: Any, settings: FigureSettings) -> dict[str, int]:
    """Nodes to draw by their ids."""
    from circuits.node_names import node_names

    wanted = settings.nodes or notes.pinned
    if not wanted:
        raise InputError(
            "--figure pinned found no nodes; name them with --nodes, as in --nodes 1_1006_8,2_1440_8, "
            "or pin some with `orrery view`"
        )
    number = {name: node for node, name in enumerate(node_names(graph))}
    unknown = [name for name in wanted if name not in number]
    if unknown and settings.nodes:
        raise InputError(
            f"the graph has no node {unknown[0]!r}; ids are those of its JSON and tables, such as {next(iter(number))}"
        )
    if unknown:
        say(f"{len(unknown)} pinned nodes are not in this graph and left out, such as {unknown[0]}")
    return {name: number[name] for name in wanted if name in number}


def _graph_contents(figure: "GraphFigure", caption: "Caption", files: tuple[OutputFile, ...]) -> dict[Path, bytes]:
    from viz.figures import tikz

    drawn = {file.path: tikz(figure).encode() if file.format == "tikz" else figure.drawn(file.format) for file in files}
    return drawn | _captions(caption, files)


def _captions(caption: "Caption", files: tuple[OutputFile, ...]) -> dict[Path, bytes]:
    """One text beside the figure, and one for LaTeX where the figure is for LaTeX."""
    found: dict[Path, bytes] = {}
    for file in files:
        found[file.path.with_suffix(".caption.txt")] = caption.plain().encode()
        if file.format in ("pdf", "tikz"):
            found[file.path.with_suffix(".caption.tex")] = caption.latex().encode()
    return found
