"""Results in Jupyter: the interactive page in a frame of the output, and plain text where there is no browser.

Nothing is imported by hand for this: the classes of results ask the entry points `orrery.display`, which name `html`
and `text` below (see `replacement_model.display`). The page lies inside the notebook, needs no server, and stays in
the saved file; its frame is a sandbox, whose script cannot reach the notebook. So its size is limited: a graph too
large for it is shown as far as it fits, and the page says what is left out.
"""

from html import escape
from typing import TYPE_CHECKING

from circuits.graph import Graph
from circuits.pruning import Circuit
from circuits.supernodes.grouped import GroupedCircuit
from replacement_model.errors import InputError
from viz.group_overview import group_summary
from viz.notebook_results import plain_text, result_html, result_text
from viz.overview import summary
from viz.viewer.coverage import Budget
from viz.viewer.page import page

if TYPE_CHECKING:
    from viz.viewer.evidence import FeatureTexts

__all__ = ["Shown", "html", "show", "text"]

HEIGHT = 640
MAX_BYTES = 1_000_000
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
        value: a graph, circuit or grouped circuit; the result of an intervention, a replay, a check or a study; or one
            with `to_dict`.
    """
    return show(value)._repr_html_() if isinstance(value, AnyGraph) else result_html(value)


def text(value: object) -> str:
    """The same as plain text: summaries, and of what is not known here its plain values."""
    if isinstance(value, GroupedCircuit):
        return plain_text(group_summary(value))
    return plain_text(summary(value)) if isinstance(value, Graph | Circuit) else result_text(value)


def framed(content: str, height: int, title: str) -> str:
    """A page in a frame that may run its own script and save files, and can reach nothing around it."""
    inner = content.replace("&", "&amp;").replace("'", "&#39;")
    return (
        f'<iframe srcdoc=\'{inner}\' sandbox="allow-scripts allow-downloads" loading="lazy" '
        f'title="{escape(title)}" style="width: 100%; height: {height}px; border: 1px solid #cccccc"></iframe>'
    )


def _whole(graph: AnyGraph) -> Graph:
    if isinstance(graph, Graph):
        return graph
    return graph.circuit.graph if isinstance(graph, GroupedCircuit) else graph.graph


def _title(graph: AnyGraph) -> str:
    metadata = _whole(graph).metadata
    return f"{metadata.prompt} ({metadata.transcoder_name})"
