"""Supernodes on one screen: members, what each carries, how they act on each other, and how sure they are."""

from typing import Any

import numpy as np
from rich.console import Group as Parts
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from circuits.node_names import node_names
from circuits.supernodes.automatic import FoundGroups
from circuits.supernodes.grouped import GroupedCircuit
from viz.text import visible, visible_token

__all__ = ["group_summary", "group_summary_dict"]

N_EDGES = 12


def group_summary_dict(
    grouped: GroupedCircuit, found: FoundGroups | None = None, *, n_edges: int | None = None
) -> dict[str, Any]:
    """What `group_summary` shows, as plain values that JSON can hold; all edges when `n_edges` is None.

    Returns:
        prompt, tokens, supernodes (label, node_ids, features as [layer, pos, feature_idx], influence as a share of the
        targets' weight, inner and inner_influence of edges within), blocks (kind, label, node_ids of everything),
        edges between blocks (numbers of blocks, weight, influence), inner_share (of all influence through edges, what
        stays within supernodes), and found (n_groups, silhouette, weights, n_contexts, stability; None by hand).
    """
    graph, names = grouped.circuit.graph, node_names(grouped.circuit.graph)
    total = float(graph.target_weights.sum())
    ids = [[names[node] for node in nodes] for nodes in grouped.blocks]
    edges, flow = grouped.edges.tocoo(), grouped.edge_influence.data / total
    order = np.argsort(-flow, kind="stable")[:n_edges]
    through = float(grouped.edge_influence.sum() + grouped.inner_influence.sum())
    return {
        "prompt": graph.metadata.prompt,
        "tokens": list(graph.tokens),
        "supernodes": [
            {
                "label": one.label,
                "node_ids": ids[k],
                "features": [list(feature) for feature in one.features(graph)],
                "influence": float(grouped.block_influence[k]) / total,
                "inner": float(grouped.inner[k]),
                "inner_influence": float(grouped.inner_influence[k]) / total,
            }
            for k, one in enumerate(grouped.grouping)
        ],
        "blocks": [{"kind": grouped.kind(k), "label": grouped.label(k), "node_ids": ids[k]} for k in range(len(ids))],
        "edges": [
            {
                "source": int(edges.col[i]),
                "target": int(edges.row[i]),
                "weight": float(edges.data[i]),
                "influence": float(flow[i]),
            }
            for i in order.tolist()
        ],
        "inner_share": float(grouped.inner_influence.sum()) / through if through > 0 else 0.0,
        "found": None if found is None else found_dict(found),
    }


def found_dict(found: FoundGroups) -> dict[str, Any]:
    """How supernodes were found, and how sure they are."""
    stability = found.stability
    return {
        "n_features": len(found.nodes),
        "n_groups": found.clusters.n_groups,
        "silhouette": found.clusters.silhouette,
        "weights": dict(found.weights),
        "n_contexts": found.n_contexts,
        "stability": {
            "mean": stability.mean,
            "without": dict(stability.without),
            "node_threshold": {f"{value:g}": score for value, score in stability.threshold.items()},
        },
    }


def group_summary(grouped: GroupedCircuit, found: FoundGroups | None = None) -> RenderableType:
    """One screen about the supernodes of a circuit, to be printed by a `rich.console.Console`.

    Example:
        rich.console.Console().print(viz.group_summary(group(circuit, found.grouping), found))
    """
    facts = group_summary_dict(grouped, found, n_edges=N_EDGES)
    parts: list[RenderableType] = [Text(visible(facts["prompt"]), style="bold"), Text()]
    if facts["found"] is not None:
        parts += [*_how(facts["found"]), Text()]
    parts += [_supernodes(facts, grouped), Text(), _edges(facts)]
    parts.append(Text(f"Within supernodes: {facts['inner_share']:.1%} of the influence through edges.", style="dim"))
    return Parts(*parts)


def _how(found: dict[str, Any]) -> list[Text]:
    weights = ", ".join(f"{name} {weight:g}" for name, weight in found["weights"].items())
    contexts = f" over {found['n_contexts']} contexts" if found["n_contexts"] else ""
    quality = "not defined" if found["silhouette"] is None else f"{found['silhouette']:.2f}"
    stability = found["stability"]
    without = ", ".join(f"{name} {score:.2f}" for name, score in stability["without"].items())
    other = ", ".join(f"{value} {score:.2f}" for value, score in stability["node_threshold"].items())
    return [
        Text(f"{found['n_features']} features in {found['n_groups']} groups   mean silhouette {quality}"),
        Text(f"compared by {weights}{contexts}"),
        Text(f"stability {stability['mean']:.2f} (adjusted Rand)   without {without}   node threshold {other}"),
    ]


def _supernodes(facts: dict[str, Any], grouped: GroupedCircuit) -> Table:
    table = Table(title="Supernodes", title_justify="left", box=None, pad_edge=False)
    table.add_column("", justify="right")
    table.add_column("label", ratio=2)
    table.add_column("features", ratio=3)
    for name in ("influence", "within"):
        table.add_column(name, justify="right")
    for k, row in enumerate(facts["supernodes"]):
        members = ", ".join(f"L{layer} #{idx} {_at(facts, pos)}" for layer, pos, idx in row["features"])
        others = len(row["node_ids"]) - len(row["features"])
        members += f" and {others} other nodes" if others else ""
        values = (f"{row['influence']:.1%}", f"{row['inner']:+.2f}")
        table.add_row(str(k), Text(visible(row["label"]) or "(no label)"), Text(members), *values)
    return table


def _at(facts: dict[str, Any], pos: int) -> str:
    return f"on {visible_token(facts['tokens'][pos])}"


def _edges(facts: dict[str, Any]) -> Table:
    table = Table(title="Strongest edges", title_justify="left", box=None, pad_edge=False, show_header=False)
    table.add_column("influence", justify="right")
    table.add_column("weight", justify="right")
    table.add_column("edge", ratio=1)
    for edge in facts["edges"]:
        source, target = (_named(facts["blocks"][edge[end]]) for end in ("source", "target"))
        style = "blue" if edge["weight"] >= 0 else "red"
        table.add_row(
            f"{edge['influence']:.1%}", Text(f"{edge['weight']:+.2f}", style=style), Text(f"{source} → {target}")
        )
    return table


def _named(block: dict[str, Any]) -> str:
    text = visible_token(block["label"])
    return f"[{text}]" if block["kind"] == "supernode" else text
