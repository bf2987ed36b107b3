"""A circuit whose supernodes count as single nodes: a graph again, with edges, influence, pruning and networkx.

Blocks are what is left when supernodes are merged: first the supernodes in their order, then every other kept node in
the order of `Layout`. The edge from block a to block b is the sum of the signed weights of all kept edges from members
of a to members of b. Edges within a block are its `inner` effect: they are no edge of the grouped graph, and they are
reported. So nothing is lost: what flows into the members of b is its row of `edges` plus `inner[b]`.

Members may lie on several layers, so two supernodes can act on each other; the grouped graph may have cycles.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import lazy_loader
import numpy as np
import scipy.sparse as sp
from jaxtyping import Bool, Float, Int
from scipy.sparse.csgraph import breadth_first_order

from circuits.edge_influence import edge_influence
from circuits.edge_selection import share_threshold
from circuits.influence import node_influence
from circuits.pruning import Circuit
from circuits.scores import completeness_score, replacement_score
from circuits.supernodes.grouping import Grouping
from replacement_model.display import Displayed
from replacement_model.errors import InputError

if TYPE_CHECKING:
    import networkx as nx
else:
    nx = lazy_loader.load("networkx")

__all__ = ["GroupedCircuit", "group", "prune_groups"]


@dataclass(frozen=True, slots=True)
class GroupedCircuit(Displayed):
    """A circuit with supernodes.

    Attributes:
        circuit: what was grouped.
        grouping: its supernodes, of kept nodes only.
        block: the block of every node, -1 where it is not kept.
        blocks: the nodes of every block.
        edges: `[target block, source block]`, sums of signed member edges; an edge may be 0 if its members cancel.
        edge_influence: the same places; the influence through the member edges, summed.
        inner: sum of the signed edges within a block.
        inner_influence: the influence through the edges within a block.
        block_influence: summed influence of the members on the targets; 0 for a target.
    """

    circuit: Circuit
    grouping: Grouping
    block: Int[np.ndarray, "n_nodes"]
    blocks: tuple[tuple[int, ...], ...]
    edges: sp.csr_array
    edge_influence: sp.csr_array
    inner: Float[np.ndarray, "n_blocks"]
    inner_influence: Float[np.ndarray, "n_blocks"]
    block_influence: Float[np.ndarray, "n_blocks"]

    @property
    def n_groups(self) -> int:
        return len(self.grouping)

    def label(self, block: int) -> str:
        """A supernode's label, or the node's own."""
        if block < self.n_groups:
            return self.grouping.groups[block].label
        return str(self.circuit.graph.node_attributes(self.blocks[block][0])["label"])

    def kind(self, block: int) -> str:
        """`supernode`, or what `Layout.kind` says of the node."""
        return "supernode" if block < self.n_groups else self.circuit.graph.layout.kind(self.blocks[block][0])

    def to_networkx(self) -> "nx.DiGraph":
        """Blocks by their numbers with kind, label, nodes, influence, inner; edges with weight and influence."""
        network: "nx.DiGraph" = nx.DiGraph()
        for block, nodes in enumerate(self.blocks):
            values = {"influence": float(self.block_influence[block]), "inner": float(self.inner[block])}
            network.add_node(block, kind=self.kind(block), label=self.label(block), nodes=nodes, **values)
        coo, flow = self.edges.tocoo(), self.edge_influence.data.tolist()
        ends = zip(coo.col.tolist(), coo.row.tolist(), coo.data.tolist(), flow, strict=True)
        for source, target, weight, influence in ends:
            network.add_edge(source, target, weight=weight, influence=influence)
        return network


def group(circuit: Circuit, grouping: Grouping) -> GroupedCircuit:
    """Merge the nodes of each supernode; nodes that the circuit does not keep are left out of them.

    Args:
        circuit: what `prune` returned.
        grouping: supernodes of its graph, of any kind of node.

    Raises:
        InputError: a supernode has a node that the graph does not have.

    Example:
        grouped = group(circuit, find_groups(circuit, model, texts).grouping)
        grouped.edges[target_block, source_block], grouped.inner
    """
    layout = circuit.graph.layout
    outside = [node for one in grouping for node in one.nodes if not 0 <= node < layout.n_nodes]
    if outside:
        raise InputError(f"expected nodes from 0 to {layout.n_nodes - 1}, got {outside[0]}; is it of another graph?")
    grouping = grouping.within(circuit.node_mask)
    nodes = np.flatnonzero(circuit.node_mask)
    member = grouping.membership(nodes)
    alone = member < 0
    member[alone] = len(grouping) + np.arange(int(alone.sum()))
    block = np.full(layout.n_nodes, -1)
    block[nodes] = member
    blocks = (*(one.nodes for one in grouping), *((node,) for node in nodes[alone].tolist()))
    weights, inner = _merged(circuit, circuit.edges, block, len(blocks))
    flow, inner_flow = _merged(circuit, edge_influence(circuit), block, len(blocks))
    influence = np.bincount(member, circuit.node_influence[nodes], len(blocks)).astype(np.float64)
    return GroupedCircuit(circuit, grouping, block, blocks, weights, flow, inner, inner_flow, influence)


def prune_groups(grouped: GroupedCircuit, node_threshold: float = 0.8, edge_threshold: float = 0.98) -> GroupedCircuit:
    """Keep the supernodes and single nodes that carry most of the influence, each as a whole.

    As `prune` does with nodes, but by blocks: the blocks with the largest summed influence stay until they hold
    `node_threshold` of what all blocks hold (tokens and targets always stay); of the edges between them those with the
    largest summed influence, until they hold `edge_threshold` of it; and of these, what lies on a way from a token or
    an error to a target. Edges within a block stay with it. Member edges keep their weights and their influence.

    Args:
        grouped: what `group` returned.
        node_threshold, edge_threshold: shares to keep, 0 to 1.

    Returns:
        The grouped circuit of a smaller circuit.

    Raises:
        InputError: a threshold outside 0..1.
    """
    for name, value in (("node_threshold", node_threshold), ("edge_threshold", edge_threshold)):
        if not 0 <= value <= 1:
            raise InputError(f"expected {name} between 0 and 1, got {value}; it is the share of the influence to keep")
    always = np.array([grouped.kind(block) in ("token", "target") for block in range(len(grouped.blocks))])
    kept = always | (grouped.block_influence >= _cut(grouped.block_influence, node_threshold))
    flow = grouped.edge_influence.tocoo()
    between = kept[flow.row] & kept[flow.col]
    strong = between & (flow.data >= _cut(flow.data[between], edge_threshold))
    rows, cols = flow.row[strong], flow.col[strong]
    kept = always | (kept & _on_a_way(grouped, rows, cols))
    used = kept[rows] & kept[cols]
    allowed = sp.csr_array((np.ones(int(used.sum())), (rows[used], cols[used])), shape=flow.shape)
    return group(_cut_down(grouped, kept, allowed), grouped.grouping)


def _merged(
    circuit: Circuit, edges: sp.csr_array, block: Int[np.ndarray, "n_nodes"], n_blocks: int
) -> tuple[sp.csr_array, Float[np.ndarray, "n_blocks"]]:
    """Sums of member edges between blocks, and within each."""
    coo = edges.tocoo()
    targets, sources = block[circuit.graph.layout.row_nodes()[coo.row]], block[coo.col]
    data, within = coo.data.astype(np.float64), targets == sources
    inner = np.bincount(targets[within], data[within], n_blocks).astype(np.float64)  # whole numbers if there are none
    places = targets[~within], sources[~within]
    merged = sp.csr_array((data[~within], places), shape=(n_blocks, n_blocks))
    merged.sum_duplicates()
    return merged, inner


def _cut(influence: Float[np.ndarray, "n"], share: float) -> float:
    return share_threshold(influence, share * float(influence.sum())) if share < 1 else 0.0


def _on_a_way(
    grouped: GroupedCircuit, targets: Int[np.ndarray, "k"], sources: Int[np.ndarray, "k"]
) -> Bool[np.ndarray, "n_blocks"]:
    """Blocks between a token or an error and a target, along edges from `sources` to `targets`."""
    layout, n = grouped.circuit.graph.layout, len(grouped.blocks)
    roots = [
        k for k, nodes in enumerate(grouped.blocks) if any(layout.n_features <= one < layout.n_cols for one in nodes)
    ]
    ends = [k for k, nodes in enumerate(grouped.blocks) if any(one >= layout.n_cols for one in nodes)]
    return _reached(sources, targets, roots, n) & _reached(targets, sources, ends, n)


def _reached(start: Int[np.ndarray, "k"], end: Int[np.ndarray, "k"], roots: list[int], n: int) -> Bool[np.ndarray, "n"]:
    """Which of n nodes can be reached from any of `roots` along edges from `start` to `end`."""
    rows = np.concatenate([start, np.full(len(roots), n)])
    cols = np.concatenate([end, np.array(roots, dtype=np.int64)])
    network = sp.csr_array((np.ones(len(rows)), (rows, cols)), shape=(n + 1, n + 1))
    reached = np.zeros(n + 1, dtype=bool)
    reached[breadth_first_order(network, n, return_predecessors=False)] = True
    return reached[:n]


def _cut_down(grouped: GroupedCircuit, kept: Bool[np.ndarray, "n_blocks"], allowed: sp.csr_array) -> Circuit:
    """The circuit with the nodes of kept blocks, and the edges within them and along allowed edges between them."""
    circuit, layout = grouped.circuit, grouped.circuit.graph.layout
    mask = circuit.node_mask & kept[grouped.block]
    coo = circuit.edges.tocoo()
    targets, sources = grouped.block[layout.row_nodes()[coo.row]], grouped.block[coo.col]
    stays = kept[targets] & ((targets == sources) | (np.asarray(allowed[targets, sources]).ravel() > 0))
    edges = sp.csr_array((coo.data[stays], (coo.row[stays], coo.col[stays])), shape=coo.shape)
    edges = sp.csr_array((edges.data, edges.indices.astype(np.int32), edges.indptr), shape=edges.shape)
    influence, weights = node_influence(edges, circuit.graph.target_weights), circuit.graph.target_weights
    return replace(
        circuit,
        node_mask=mask,
        edges=edges,
        circuit_replacement_score=replacement_score(layout, influence),
        circuit_completeness_score=completeness_score(layout, influence, weights),
    )
