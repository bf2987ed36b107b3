"""What of a circuit goes into a picture: the nodes and edges with the most influence, and how much they leave out."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import scipy.sparse as sp
from jaxtyping import Bool

from circuits.edge_influence import edge_influence
from circuits.pruning import Circuit

__all__ = ["DrawnEdge", "Excerpt", "excerpt", "excerpt_of"]

# A prompt of up to this many tokens is written out whole; of a longer one only the tokens that take part.
WHOLE_PROMPT = 16
MAX_EXTRA_TOKENS = 6
LEAST_SHARE = 0.05  # of the tokens' influence, for a token without nodes where there is little room
EDGES_PER_NODE = 2
FEWEST_EDGES = 12
REACH = 10
LEAST_INFLUENCE = 0.001  # of an edge between nodes that were chosen by hand


@dataclass(frozen=True, slots=True)
class DrawnEdge:
    """One edge of a picture, between nodes numbered as in `Layout`.

    Attributes:
        weight: direct effect of the source on the target.
        influence: what flows through the edge to the graph's targets, as a share of their summed weight.
        strength: square root of the influence over that of the strongest edge of the picture, 0 to 1.
    """

    source: int
    target: int
    weight: float
    influence: float
    strength: float


@dataclass(frozen=True, slots=True)
class Excerpt:
    """The part of a circuit that a picture shows, and its share of the whole.

    Attributes:
        nodes: drawn nodes in the order of `Layout`.
        edges: drawn edges, weakest first, so that strong ones are drawn over weak ones.
        n_circuit: features and errors in the circuit.
        n_drawn: features and errors in the picture.
        node_share: influence of the drawn features and errors over that of all in the circuit.
        n_circuit_edges: edges in the circuit.
        edge_share: influence through the drawn edges over that through all in the circuit.
        captions: small type below supernodes, by node.
        things: what is counted as drawn.
        note: what else the small print says.
    """

    nodes: tuple[int, ...]
    edges: tuple[DrawnEdge, ...]
    n_circuit: int
    n_drawn: int
    node_share: float
    n_circuit_edges: int
    edge_share: float
    captions: Mapping[int, str] = field(default_factory=dict)
    things: str = "features and errors"
    note: str = ""


def excerpt(
    circuit: Circuit,
    max_nodes: int,
    max_edges: int | None,
    flow: sp.csr_array | None = None,
    has_every_token: bool = True,
) -> Excerpt:
    """Choose what to draw: at most `max_nodes` features and errors and about `max_edges` edges, by influence
    (two for each inner node and target when None).

    Every drawn feature keeps its strongest edge upward and downward, also beyond `max_edges`: a node without edges
    would say nothing. Targets are always drawn, and the tokens of a short prompt if `has_every_token`. `flow` is the
    influence through the circuit's edges, where it is not that of `edge_influence`.
    """
    layout = circuit.graph.layout
    flow = edge_influence(circuit) if flow is None else flow
    influence = (flow / circuit.graph.target_weights.sum()).tocoo()
    sources, targets = influence.col.astype(np.int64), layout.row_nodes()[influence.row]
    near = _within_reach(circuit, max_nodes)
    ranked = np.flatnonzero(near[sources] & near[targets])
    ranked = ranked[np.argsort(-influence.data[ranked], kind="stable")]
    edges = [(int(sources[i]), int(targets[i]), int(i)) for i in ranked]
    inner = _chosen_inner(circuit, [(source, target) for source, target, _ in edges], max_nodes)
    shown = (
        inner | set(range(layout.target_nodes.start, layout.n_nodes)) | _chosen_tokens(circuit, inner, has_every_token)
    )
    max_edges = max_edges or max(FEWEST_EDGES, EDGES_PER_NODE * (len(inner) + layout.n_targets))
    kept = _chosen_edges(circuit, [edge for edge in edges if edge[0] in shown and edge[1] in shown], max_edges)
    return _drawn(circuit, influence, inner, shown, kept)


def excerpt_of(
    circuit: Circuit, nodes: Iterable[int], max_edges: int | None = None, has_columns: bool = True
) -> Excerpt:
    """Draw exactly some nodes and the edges between them.

    Args:
        circuit: whose `edges` are those to choose from.
        nodes: what to draw.
        max_edges: most edges; those that carry a thousandth of the influence on the targets when None.
        has_columns: draw the tokens that they stand over too, and the first target where none is among them.
    """
    layout = circuit.graph.layout
    shown = set(nodes)
    if has_columns and not any(node >= layout.n_cols for node in shown):
        shown.add(layout.target_nodes.start)
    if has_columns:
        shown |= {layout.token_node(circuit.graph.node_attributes(node)["pos"]) for node in shown}
    influence = (edge_influence(circuit) / circuit.graph.target_weights.sum()).tocoo()
    sources, targets = influence.col.astype(np.int64), layout.row_nodes()[influence.row]
    ranked = np.argsort(-influence.data, kind="stable")
    if max_edges is None:
        ranked = ranked[influence.data[ranked] >= LEAST_INFLUENCE]
    edges = [(int(sources[i]), int(targets[i]), int(i)) for i in ranked]
    kept = [edge for edge in edges if edge[0] in shown and edge[1] in shown][:max_edges]
    return _drawn(circuit, influence, {node for node in shown if node < layout.token_nodes.start}, shown, kept)


def _drawn(
    circuit: Circuit, influence: sp.coo_array, inner: set[int], shown: set[int], kept: list[tuple[int, int, int]]
) -> Excerpt:
    """Nodes and edges with what they hold; `influence` is that of all edges, of which `kept` gives the entries."""
    weights = circuit.edges.tocoo().data
    strongest = max((float(influence.data[entry]) for *_, entry in kept), default=0.0) or 1.0
    drawn = tuple(
        DrawnEdge(s, t, float(weights[i]), float(influence.data[i]), float((influence.data[i] / strongest) ** 0.5))
        for s, t, i in reversed(kept)
    )
    candidates = np.flatnonzero(circuit.node_mask[: circuit.graph.layout.token_nodes.start])
    return Excerpt(
        nodes=tuple(sorted(shown)),
        edges=drawn,
        n_circuit=len(candidates),
        n_drawn=len(inner),
        node_share=_share(circuit.node_influence[sorted(inner)].sum(), circuit.node_influence[candidates].sum()),
        n_circuit_edges=circuit.edges.nnz,
        edge_share=_share(sum(edge.influence for edge in drawn), influence.data.sum()),
    )


def _within_reach(circuit: Circuit, max_nodes: int) -> Bool[np.ndarray, "n_nodes"]:
    """Nodes that may be drawn at all: of a large circuit, only the leading ones are worth ranking one by one."""
    layout = circuit.graph.layout
    near = circuit.node_mask.copy()
    inner = np.flatnonzero(near[: layout.token_nodes.start])
    far = inner[np.argsort(-circuit.node_influence[inner], kind="stable")][REACH * max_nodes :]
    near[far] = False
    return near


def _share(part: float, whole: float) -> float:
    return float(part / whole) if whole > 0 else 1.0


def _chosen_inner(circuit: Circuit, edges: list[tuple[int, int]], max_nodes: int) -> set[int]:
    """Features and errors by influence, each with a chosen node above it; passes repeat until the places are taken."""
    layout = circuit.graph.layout
    above: dict[int, list[int]] = {}
    for source, target in edges:
        above.setdefault(source, []).append(target)
    candidates = np.flatnonzero(circuit.node_mask[: layout.token_nodes.start])
    waiting = [int(candidates[i]) for i in np.argsort(-circuit.node_influence[candidates], kind="stable")]
    chosen: set[int] = set()
    while len(chosen) < max_nodes:
        before = len(chosen)
        for node in waiting:
            reached = any(target in chosen or target >= layout.n_cols for target in above.get(node, ()))
            if len(chosen) < max_nodes and node not in chosen and reached:
                chosen.add(node)
        if len(chosen) == before:
            break
    return chosen


def _chosen_tokens(circuit: Circuit, inner: set[int], has_every_token: bool) -> set[int]:
    """All tokens of a short prompt; of a long one, those under a drawn node or an end of strong edges."""
    layout = circuit.graph.layout
    if has_every_token and layout.n_pos <= WHOLE_PROMPT:
        return set(range(layout.token_nodes.start, layout.token_nodes.stop))
    places = {circuit.graph.node_attributes(node)["pos"] for node in inner}
    places |= {target.pos for target in circuit.graph.targets}
    influence = circuit.node_influence[layout.token_nodes]
    least = 0.0 if has_every_token else LEAST_SHARE * float(influence.sum())
    places |= {int(pos) for pos in np.argsort(-influence, kind="stable")[:MAX_EXTRA_TOKENS] if influence[pos] > least}
    return {layout.token_node(pos) for pos in places}


def _chosen_edges(circuit: Circuit, edges: list[tuple[int, int, int]], max_edges: int) -> list[tuple[int, int, int]]:
    """The strongest edges, and for each inner node its strongest upward and downward; `edges` come strongest first."""
    first_inner_stop = circuit.graph.layout.token_nodes.start
    kept, has_up, has_down = [], set(), set()
    for rank, (source, target, entry) in enumerate(edges):
        only_way_up = source < first_inner_stop and source not in has_up
        only_way_down = target not in has_down
        if rank < max_edges or only_way_up or only_way_down:
            kept.append((source, target, entry))
            has_up.add(source)
            has_down.add(target)
    return kept
