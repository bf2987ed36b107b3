"""Supernodes as rows of tables."""

from typing import Any

from circuits.supernodes.grouped import GroupedCircuit

__all__ = ["BLOCK_COLUMNS", "BLOCK_EDGE_COLUMNS", "block_edges", "block_rows"]

BLOCK_COLUMNS = ("block", "kind", "label", "node_ids", "influence", "inner_weight", "inner_influence")
BLOCK_EDGE_COLUMNS = ("source", "target", "weight", "influence", "source_label", "target_label")


def block_rows(grouped: GroupedCircuit, names: list[str]) -> list[dict[str, Any]]:
    """Every supernode, and every node that is in none."""
    return [
        {
            "block": block,
            "kind": grouped.kind(block),
            "label": grouped.label(block),
            "node_ids": " ".join(names[node] for node in nodes),
            "influence": float(grouped.block_influence[block]),
            "inner_weight": float(grouped.inner[block]),
            "inner_influence": float(grouped.inner_influence[block]),
        }
        for block, nodes in enumerate(grouped.blocks)
    ]


def block_edges(grouped: GroupedCircuit) -> list[dict[str, Any]]:
    """Summed edges between blocks, by their numbers."""
    edges = grouped.edges.tocoo()
    labels = [grouped.label(block) for block in range(len(grouped.blocks))]
    ends = zip(edges.col.tolist(), edges.row.tolist(), edges.data.tolist(), strict=True)
    return [
        dict(zip(BLOCK_EDGE_COLUMNS, (source, target, weight, flow, labels[source], labels[target]), strict=True))
        for (source, target, weight), flow in zip(ends, grouped.edge_influence.data.tolist(), strict=True)
    ]
