"""A circuit whose supernodes are drawn as one box each: what `viz.graphviz` needs in place of the plain circuit.

A supernode's features are merged; its tokens, errors and targets, if it has any, are drawn by themselves. The box
stands at the position of the most influential feature, on that layer of its features with which the most influence
flows upward. Edges that still run down or sideways are not drawn, nor are those within a supernode: the small print
says how much they carry.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp
from jaxtyping import Int

from circuits.graph import Graph
from circuits.layout import Layout
from circuits.pruning import Circuit
from circuits.supernodes.grouped import GroupedCircuit, group
from circuits.supernodes.grouping import Group, Grouping
from replacement_model.labels import FeatureLabel
from viz.captions import node_story
from viz.excerpt import Excerpt, excerpt

__all__ = ["Merged", "merge"]

SWEEPS = 4


@dataclass(frozen=True, slots=True)
class Merged:
    """For drawing only: a circuit with one feature node for each supernode.

    Attributes:
        circuit: blocks as nodes; a supernode's layer, position and index are those of its place in the picture.
        influence: of its edges.
        captions: what stands below a supernode's label, by node.
        stories: what a feature or supernode says when it is pointed at, by node.
        note: which edges are not drawn, and what they carry.
    """

    circuit: Circuit
    influence: sp.csr_array
    captions: Mapping[int, str]
    stories: Mapping[int, str]
    note: str

    def excerpt(self, max_nodes: int, max_edges: int | None, has_every_token: bool = True) -> Excerpt:
        """What of it is drawn."""
        part = excerpt(self.circuit, max_nodes, max_edges, self.influence, has_every_token)
        return replace(part, captions=self.captions, note=self.note, things="supernodes, features and errors")


def merge(grouped: GroupedCircuit) -> Merged:
    """Draw each supernode as one node."""
    n_features = grouped.circuit.graph.layout.n_features
    inner = [(one.label, tuple(node for node in one.nodes if node < n_features)) for one in grouped.grouping]
    grouped = group(grouped.circuit, Grouping(tuple(Group(label, nodes) for label, nodes in inner if nodes)))
    places = _places(grouped)
    order = np.lexsort(places.T[::-1])  # blocks of features, as `Layout` wants them
    node_of = _node_of(grouped, order)
    circuit = _circuit(grouped, places[order], order, node_of)
    flow, upward = _upward(grouped, circuit, node_of)
    edges = _rectangle(grouped.edges.tocoo(), circuit.graph.layout, node_of, upward)
    influence = _rectangle(flow, circuit.graph.layout, node_of, upward)
    supernodes = {int(node_of[k]): k for k in range(grouped.n_groups)}
    stories = {int(node_of[k]): node_story(grouped.circuit, grouped.blocks[k][0]) for k in order.tolist()}
    return Merged(
        circuit=replace(circuit, edges=edges),
        influence=influence,
        captions={node: _caption(grouped, block) for node, block in supernodes.items()},
        stories=stories | {node: _story(grouped, block) for node, block in supernodes.items()},
        note=_note(grouped, flow, upward),
    )


def _leader(grouped: GroupedCircuit, block: int) -> int:
    return max(grouped.blocks[block], key=lambda node: float(grouped.circuit.node_influence[node]))


def _places(grouped: GroupedCircuit) -> Int[np.ndarray, "n_drawn 3"]:
    """(layer, pos, feature_idx) at which each block of features is drawn; they are the first blocks."""
    graph = grouped.circuit.graph
    drawn = [k for k, nodes in enumerate(grouped.blocks) if nodes[0] < graph.layout.n_features]
    places = graph.features[[_leader(grouped, block) for block in drawn]].copy().reshape(-1, 3)
    choices = [np.unique(graph.features[list(grouped.blocks[block]), 0]).tolist() for block in drawn]
    flow = grouped.edge_influence.toarray()[np.ix_(drawn, drawn)]  # [target, source]
    for _ in range(SWEEPS):
        for block, layers in enumerate(choices):
            gain = {
                layer: flow[places[:, 0] > layer, block].sum() + flow[block, places[:, 0] < layer].sum()
                for layer in layers
            }
            here = int(places[block, 0])
            best = max(layers, key=lambda layer: (gain[layer], layer == here))
            places[block, 0] = best if gain[best] > gain[here] else here
    return places


def _node_of(grouped: GroupedCircuit, order: Int[np.ndarray, "n_drawn"]) -> Int[np.ndarray, "n_blocks"]:
    """The node of every block in the merged graph."""
    nodes = np.empty(len(grouped.blocks), dtype=np.int64)
    nodes[order] = np.arange(len(order))
    shift = grouped.circuit.graph.layout.n_features - len(order)
    for block in range(len(order), len(grouped.blocks)):
        nodes[block] = grouped.blocks[block][0] - shift
    return nodes


def _circuit(
    grouped: GroupedCircuit,
    places: Int[np.ndarray, "n_drawn 3"],
    order: Int[np.ndarray, "n_drawn"],
    node_of: Int[np.ndarray, "n_blocks"],
) -> Circuit:
    """Nodes without edges."""
    whole, graph = grouped.circuit, grouped.circuit.graph
    layout = Layout(len(places), graph.n_layers, len(graph.tokens), len(graph.targets))
    mask, influence = np.zeros(layout.n_nodes, dtype=bool), np.zeros(layout.n_nodes)
    mask[node_of] = True
    influence[node_of] = grouped.block_influence
    labels = tuple(
        FeatureLabel(grouped.label(block))
        if block < grouped.n_groups
        else graph.feature_labels[grouped.blocks[block][0]]
        for block in order.tolist()
    )
    acts = np.array([float(graph.feature_acts[_leader(grouped, block)]) for block in order.tolist()])
    nothing = sp.csr_array((layout.n_rows, layout.n_cols))
    merged = Graph(
        metadata=graph.metadata,
        tokens=graph.tokens,
        token_ids=graph.token_ids,
        n_layers=graph.n_layers,
        n_ignored_pos=graph.n_ignored_pos,
        features=places,
        feature_acts=acts,
        targets=graph.targets,
        adjacency=nothing,
        books=graph.books,
        fvu=graph.fvu,
        feature_labels=labels,
    )
    cumulative = np.zeros(layout.n_nodes)  # no picture shows it
    return replace(
        whole,
        graph=merged,
        node_mask=mask,
        edges=nothing,
        node_influence=influence,
        cumulative_influence=cumulative,
    )


def _upward(
    grouped: GroupedCircuit, circuit: Circuit, node_of: Int[np.ndarray, "n_blocks"]
) -> tuple[sp.coo_array, np.ndarray]:
    """The influence of all edges between blocks, and which of them are drawn from a lower to a higher layer."""
    flow = grouped.edge_influence.tocoo()
    layers = np.array([circuit.graph.node_attributes(node)["layer"] for node in node_of.tolist()])
    return flow, layers[flow.row] > layers[flow.col]


def _rectangle(
    edges: sp.coo_array, layout: Layout, node_of: Int[np.ndarray, "n_blocks"], chosen: np.ndarray
) -> sp.csr_array:
    """Chosen edges between blocks as a graph's rectangle."""
    targets, sources = node_of[edges.row[chosen]], node_of[edges.col[chosen]]
    rows = np.where(targets < layout.n_features, targets, targets - layout.n_cols + layout.n_features)
    return sp.csr_array((edges.data[chosen], (rows, sources)), shape=(layout.n_rows, layout.n_cols))


def _caption(grouped: GroupedCircuit, block: int) -> str:
    """How many features, and on which layers."""
    layers = grouped.circuit.graph.features[list(grouped.blocks[block]), 0]
    low, high = int(layers.min()), int(layers.max())
    where = f"layer {low}" if low == high else f"layers {low}–{high}"
    return f"{len(layers)} features, {where}"


def _story(grouped: GroupedCircuit, block: int) -> str:
    graph = grouped.circuit.graph
    members = [f"L{layer} #{idx} at {pos}" for layer, pos, idx in grouped.grouping.groups[block].features(graph)]
    share = grouped.block_influence[block] / graph.target_weights.sum()
    parts = [grouped.label(block), f"supernode of {', '.join(members)}", f"{share:.1%} of the influence, summed"]
    return " · ".join([*parts, f"edges within it {grouped.inner[block]:+.3g}"])


def _note(grouped: GroupedCircuit, flow: sp.coo_array, upward: np.ndarray) -> str:
    total = float(flow.data.sum() + grouped.inner_influence.sum())
    parts = [
        f"Edges within supernodes carry {grouped.inner_influence.sum() / total if total else 0:.0%} of the influence"
    ]
    if not upward.all():
        parts.append(
            f"{int((~upward).sum())} between supernodes of the same layers {flow.data[~upward].sum() / total:.0%}"
        )
    return f"{'; '.join(parts)}; they are not drawn."
