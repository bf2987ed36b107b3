"""The page as one file: script, style and graphs inside, nothing from elsewhere.

The page is built from `viz/viewer/web` (see its README) into `viz/viewer/dist/page.html`. Its policy, in the head,
allows the script and the style with these hashes and nothing else. What Python adds is data in a script element that
no browser executes, and in which no text can end the element.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib.resources import files
from typing import Any

from circuits.graph import Graph
from circuits.pruning import Circuit
from circuits.supernodes.grouped import GroupedCircuit
from replacement_model.errors import InputError
from viz.viewer.annotations import Annotations
from viz.viewer.coverage import Budget
from viz.viewer.evidence import FeatureTexts
from viz.viewer.inert import inert, size_in_page
from viz.viewer.payload import payload

__all__ = ["MAX_FILE_BYTES", "filled", "page", "page_policy", "page_template"]

MARKER = '<script type="application/json" id="orrery-data">null</script>'
POLICY = re.compile(r'(<meta http-equiv="Content-Security-Policy" content=")([^"]*)(">)')
MAX_FILE_BYTES = 5_000_000
EVIDENCE_BYTES = 700_000  # kept free for evidence, where there is some; it may take all that the graphs leave
MARGIN = 1_000  # around the data
BUDGET = Budget()
MAX_TRIES = 5


def page(
    graph: Graph | Circuit | GroupedCircuit,
    *others: Graph | Circuit | GroupedCircuit,
    titles: Sequence[str] = (),
    slugs: Sequence[str] = (),
    annotations: Sequence[Annotations | None] = (),
    features: FeatureTexts | None = None,
    budget: Budget | None = None,
) -> str:
    """Graphs as one HTML page that needs no network, no server, and no other file.

    Args:
        graph: a circuit; of a graph, everything that has an influence.
        others: further graphs, to compare with it.
        titles, slugs: one for each; by default their prompts, and `graph-1`, ...
        annotations: one for each, or None; by default the supernodes of grouped circuits.
        features: evidence on features, of which what fits goes into the page.
        budget: how much of the graphs, all together; by default the page has at most 5 MB.

    Returns:
        The page, to be written as UTF-8.

    Raises:
        InputError: not as many titles, slugs or annotations as graphs.

    Example:
        Path("dallas.html").write_text(viz.page(circuit), encoding="utf-8")
    """
    graphs = (graph, *others)
    names = _one_each("slugs", slugs, [f"graph-{k + 1}" for k in range(len(graphs))])
    texts = _one_each("titles", titles, [None] * len(graphs))
    added = _one_each("annotations", annotations, [None] * len(graphs))
    room = (MAX_FILE_BYTES - MARGIN - len(page_template().encode())) // len(graphs)
    values = []
    for one, slug, title, its in zip(graphs, names, texts, added, strict=True):
        make = partial(_graph_data, one, slug, title, its, features)
        value = _fitted(make, room - (EVIDENCE_BYTES if features else 0)) if budget is None else make(budget)
        left = room - size_in_page(value) if budget is None else EVIDENCE_BYTES
        values.append(value if features is None else _with_evidence(value, features, left))
    return filled(values[0] if len(values) == 1 else {"graphs": values}, connects=False)


def filled(data: Mapping[str, Any], *, connects: bool) -> str:
    """The page with data in it.

    Args:
        data: for JSON.
        connects: whether it may ask the server that it comes from; a file may ask nobody.
    """
    text = page_template()
    if not connects:
        text = POLICY.sub(
            lambda found: found[1] + found[2].replace("connect-src 'self'", "connect-src 'none'") + found[3], text
        )
    return text.replace(MARKER, MARKER.replace("null", inert(data)))


def page_policy() -> str:
    """The Content-Security-Policy in the page's head."""
    found = POLICY.search(page_template())
    if found is None:
        raise InputError("the viewer's page has no Content-Security-Policy; build it again with `make viewer`")
    return found[2]


def page_template() -> str:
    """The built page without data.

    Raises:
        InputError: it was not built, or has no place for data.
    """
    place = files("viz.viewer").joinpath("dist", "page.html")
    if not place.is_file():
        raise InputError(f"the viewer's page is not at {place}; build it with `make viewer`")
    text = place.read_text(encoding="utf-8")
    if text.count(MARKER) != 1:
        raise InputError(f"expected one place for data in {place}, found {text.count(MARKER)}; run `make viewer` again")
    return text


def _graph_data(
    graph: Graph | Circuit | GroupedCircuit,
    slug: str,
    title: str | None,
    annotations: Annotations | None,
    features: FeatureTexts | None,
    budget: Budget,
) -> dict[str, Any]:
    value = payload(graph, slug=slug, title=title, budget=budget)
    if annotations is not None:
        value["annotations"] = annotations.to_dict()
    if features is not None:
        value["nodes"] = features.labelled(value["nodes"])
    return value


def _fitted(make: Callable[[Budget], dict[str, Any]], room: int) -> dict[str, Any]:
    """As much of a graph as the room allows; what labels and tokens take is only known once it is made."""
    budget = replace(BUDGET, max_bytes=room)
    value = make(budget)
    for _ in range(MAX_TRIES):
        size = size_in_page(value)
        if size <= room:
            break
        budget = replace(budget, max_bytes=int(0.98 * budget.max_bytes * room / size))
        value = make(budget)
    return value


def _with_evidence(value: dict[str, Any], features: FeatureTexts, max_bytes: int) -> dict[str, Any]:
    """Evidence on the most influential features, as much as fits."""
    nodes = [node for node in value["nodes"] if node["kind"] == "feature"]
    nodes.sort(key=lambda node: node["rank"])
    found = features.of((f"{node['layer']}/{node['feature_idx']}" for node in nodes), max_bytes)
    known = value["features"]
    return {**value, "features": known | {key: known.get(key, {}) | facts for key, facts in found.items()}}


def _one_each(name: str, given: Sequence[Any], default: list[Any]) -> list[Any]:
    if given and len(given) != len(default):
        raise InputError(f"expected {name} for {len(default)} graphs, got {len(given)}")
    return list(given) or default
