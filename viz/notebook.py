"""Results in Jupyter: the interactive page in a frame of the output, and plain text where there is no browser.

Nothing is imported by hand for this: the classes of results ask the entry points `orrery.display`, which name `html`
and `text` below (see `replacement_model.display`). The page lies inside the notebook, needs no server, and stays in
the saved file; its frame is a sandbox, whose script cannot reach the notebook. So its size is limited: a graph too
large for it is shown as far as it fits, and the page says what is left out.
"""

import io
import json
from collections.abc import Callable
from html import escape
from typing import TYPE_CHECKING, Any

from rich.console import Console, RenderableType

from circuits.faithfulness.check import Checks
from circuits.graph import Graph
from circuits.pruning import Circuit
from circuits.supernodes.grouped import GroupedCircuit
from replacement_model.errors import InputError
from replacement_model.interventions import InterventionResult, result_table
from viz.faithfulness import check_summary
from viz.figures import figure_bytes, intervention_bars
from viz.figures.check import check_figure
from viz.group_overview import group_summary
from viz.overview import summary
from viz.viewer.coverage import Budget
from viz.viewer.page import page

if TYPE_CHECKING:
    from viz.viewer.evidence import FeatureTexts

__all__ = ["Shown", "html", "show", "text"]

HEIGHT = 640
MAX_BYTES = 1_000_000
MAX_TEXT = 4_000
COLUMNS = 100
AnyGraph = Graph | Circuit | GroupedCircuit


class Shown:
    """HTML that a notebook shows as it is, with text for where it cannot."""

    def __init__(self, page: str, alternative: str) -> None:
        self._page, self._alternative = page, alternative

    def __repr__(self) -> str:
        return self._alternative

    def _repr_html_(self) -> str:
        return self._page


def show(
    *graphs: AnyGraph,
    height: int = HEIGHT,
    max_bytes: int = MAX_BYTES,
    features: "FeatureTexts | None" = None,
) -> Shown:
    """Graphs in one frame: to compare several, to show evidence on features, or to choose the size.

    A graph or circuit at the end of a cell is shown without this.

    Args:
        graphs: a circuit; of a graph, everything that has an influence; with several, the page compares them.
        height: of the frame, in pixels.
        max_bytes: of the graphs in the page, about; the notebook's file grows by that and 150 kB.
        features: evidence on features, to read their examples in the page.

    Raises:
        InputError: no graph.

    Example:
        viz.show(clt_circuit, plt_circuit, height=800)
    """
    if not graphs:
        raise InputError("expected a graph to show, got none; give viz.show a graph, a circuit, or several")
    first, *others = graphs
    titles = [_title(graph) for graph in graphs] if others else ()
    content = page(first, *others, titles=titles, features=features, budget=Budget(max_bytes=max_bytes))
    frame = framed(content, height, f"Attribution graph: {_whole(first).metadata.prompt}")
    return Shown(frame, "\n".join(map(text, graphs)))


def html(value: object) -> str:
    """A result as HTML for a notebook's output.

    Args:
        value: a graph, circuit or grouped circuit, the result of an intervention or of a check, or one with `to_dict`.
    """
    if isinstance(value, AnyGraph):
        return show(value)._repr_html_()
    return f'<div>{_drawing(value)}<pre style="line-height: 1.25">{escape(text(value))}</pre></div>'


def text(value: object) -> str:
    """The same as plain text: summaries of graphs, interventions and checks, of anything else its plain values."""
    for kinds, draw in _TEXTS:
        if isinstance(value, kinds):
            return _plain(draw(value))
    to_dict = getattr(value, "to_dict", None)
    if to_dict is None:
        return repr(value)
    facts = json.dumps(to_dict(), indent=2, ensure_ascii=False, default=str)
    rest = f"\n… ({len(facts) - MAX_TEXT:,} more characters, see to_dict())" if len(facts) > MAX_TEXT else ""
    return f"{type(value).__name__}\n{facts[:MAX_TEXT]}{rest}"


_TEXTS: tuple[tuple[Any, Callable[[Any], RenderableType]], ...] = (
    (GroupedCircuit, group_summary),
    ((Graph, Circuit), summary),
    (InterventionResult, result_table),
    (Checks, check_summary),
)


def framed(content: str, height: int, title: str) -> str:
    """A page in a frame that may run its own script and save files, and can reach nothing around it."""
    inner = content.replace("&", "&amp;").replace("'", "&#39;")
    return (
        f'<iframe srcdoc=\'{inner}\' sandbox="allow-scripts allow-downloads" loading="lazy" '
        f'title="{escape(title)}" style="width: 100%; height: {height}px; border: 1px solid #cccccc"></iframe>'
    )


def _drawing(value: object) -> str:
    """The tokens whose probability changed most, or what a check found, drawn; nothing of anything else."""
    if isinstance(value, InterventionResult) and (value.raised or value.lowered):
        figure = intervention_bars(value)
    elif isinstance(value, Checks):
        figure = check_figure(value)
    else:
        return ""
    svg = figure_bytes(figure, "svg").decode()
    return svg[svg.index("<svg") :]


def _plain(content: RenderableType) -> str:
    console = Console(file=io.StringIO(), width=COLUMNS, record=True, color_system=None, force_jupyter=False)
    console.print(content)
    return "\n".join(line.rstrip() for line in console.export_text().splitlines())


def _whole(graph: AnyGraph) -> Graph:
    if isinstance(graph, Graph):
        return graph
    return graph.circuit.graph if isinstance(graph, GroupedCircuit) else graph.graph


def _title(graph: AnyGraph) -> str:
    metadata = _whole(graph).metadata
    return f"{metadata.prompt} ({metadata.transcoder_name})"
