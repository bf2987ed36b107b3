"""What one trace found, for the terminal and for programs: answers, scores, strongest features, strongest paths."""

from typing import Any

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from circuits.graph import Graph
from circuits.node_names import node_name
from circuits.paths import strongest_features, strongest_paths
from circuits.pruning import Circuit
from viz.kept import as_circuit
from viz.text import visible, visible_token
from viz.unknown import known, origin_note, shown

__all__ = ["summary", "summary_dict"]


def summary_dict(graph: Graph | Circuit, *, n_features: int = 12, n_paths: int = 5) -> dict[str, Any]:
    """What `summary` shows, as plain values that JSON can hold.

    Args:
        graph: a circuit; of a graph, everything that has an influence.
        n_features: how many of the strongest features, grouped by position.
        n_paths: how many of the strongest paths from a token to the target with the largest weight.

    Returns:
        prompt, model, transcoder, tokens, targets, scores, thresholds, books_residual, rounding_share (of a
        half-precision host), fvu (per layer, None where there is no transcoder), counts, features (by position,
        strongest first) and paths (strongest first); read_from and origin, what to know of a graph that was read from
        graph JSON, else None. What such a file does not say is None.
    """
    circuit = as_circuit(graph)
    whole = circuit.graph
    return {
        "prompt": whole.metadata.prompt,
        "model": whole.metadata.model_name,
        "transcoder": whole.metadata.transcoder_name,
        "tokens": list(whole.tokens),
        "targets": [
            {"kind": target.kind, "label": target.label, "pos": target.pos, "weight": float(target.weight)}
            for target in whole.targets
        ],
        "scores": {
            "replacement": known(circuit.replacement_score),
            "completeness": known(circuit.completeness_score),
            "circuit_replacement": circuit.circuit_replacement_score,
            "circuit_completeness": circuit.circuit_completeness_score,
        },
        "thresholds": {"node": known(circuit.node_threshold), "edge": known(circuit.edge_threshold)},
        "books_residual": known(whole.books.residual),
        "rounding_share": known(whole.rounding_share),
        "read_from": whole.read_from,
        "origin": origin_note(whole),
        "fvu": [float(value) if np.isfinite(value) else None for value in whole.fvu],
        "counts": _counts(circuit),
        "features": _features(circuit, n_features),
        "paths": _paths(circuit, n_paths),
    }


def summary(graph: Graph | Circuit, *, n_features: int = 12, n_paths: int = 5) -> RenderableType:
    """One screen about a circuit, to be printed by a `rich.console.Console`.

    Args:
        graph: a circuit; of a graph, everything that has an influence.
        n_features: how many of the strongest features, grouped by position.
        n_paths: how many of the strongest paths from a token to the target with the largest weight.

    Example:
        rich.console.Console().print(viz.summary(circuit))
    """
    facts = summary_dict(graph, n_features=n_features, n_paths=n_paths)
    parts: list[RenderableType] = [Text(visible(facts["prompt"]), style="bold"), _target_line(facts["targets"]), Text()]
    parts += [*_trust(facts), Text()]
    if facts["features"]:
        parts += [_feature_table(facts), Text()]
    if facts["paths"]:
        parts.append(_path_table(facts))
    return Group(*parts)


def _counts(circuit: Circuit) -> dict[str, int]:
    layout = circuit.graph.layout
    return {
        "features": int(circuit.node_mask[layout.feature_nodes].sum()),
        "errors": int(circuit.node_mask[layout.error_nodes].sum()),
        "edges": int(circuit.edges.nnz),
        "graph_features": layout.n_features,
        "graph_edges": int(circuit.graph.adjacency.nnz),
    }


def _features(circuit: Circuit, count: int) -> list[dict[str, Any]]:
    graph = circuit.graph
    rows = []
    for rank, feature in enumerate(strongest_features(circuit, count), 1):
        label = graph.feature_labels[feature.node]
        rows.append(
            {
                "rank": rank,
                "node_id": node_name(graph, feature.node),
                "layer": feature.layer,
                "pos": feature.pos,
                "feature_idx": feature.feature_idx,
                "activation": known(graph.feature_acts[feature.node]),
                "influence": feature.influence,
                "label": None if label is None else label.text,
                "f1": None if label is None else label.f1,
            }
        )
    return sorted(rows, key=lambda row: (row["pos"], row["rank"]))


def _paths(circuit: Circuit, count: int) -> list[dict[str, Any]]:
    graph = circuit.graph
    rows = []
    for path in strongest_paths(circuit, count=count):
        nodes = [graph.node_attributes(node) for node in path.nodes]
        steps = [
            {"node_id": node_name(graph, number), **{key: node[key] for key in ("kind", "label", "layer", "pos")}}
            for number, node in zip(path.nodes, nodes, strict=True)
        ]
        rows.append({"share": path.share, "sign": path.sign, "nodes": steps})
    return rows


def _target_line(targets: list[dict[str, Any]]) -> Text:
    line = Text("→ ")
    for i, target in enumerate(targets):
        is_logit = target["kind"] == "logit"
        label = visible_token(target["label"]) if is_logit else visible(target["label"])
        line.append("   " if i else "")
        line.append(label, style="bold green" if i == 0 else "")
        line.append(f" {target['weight']:.3f}" if is_logit else f" ({target['kind']})", style="dim")
    return line


def _trust(facts: dict[str, Any]) -> list[Text]:
    """How far the graph can be believed: what it explains, and whether its books close."""
    scores, counts = facts["scores"], facts["counts"]
    fvu = [value for value in facts["fvu"] if value is not None]
    layers = " ".join("–" if value is None else f"{value:.3f}" for value in facts["fvu"])
    return [
        Text(
            f"replacement {shown(scores['replacement'], '.3f')} (circuit {scores['circuit_replacement']:.3f})   "
            f"completeness {shown(scores['completeness'], '.3f')} (circuit {scores['circuit_completeness']:.3f})"
        ),
        Text(
            (
                f"books close to {facts['books_residual']:.1e}   "
                if facts["origin"] is None
                else "books not in the file   "
            )
            + (f"the host rounded away up to {facts['rounding_share']:.1%}   " if facts["rounding_share"] else "")
            + (f"FVU per layer {layers}" if fvu else "FVU not measured")
        ),
        Text(
            f"circuit: {counts['features']} of {counts['graph_features']} features, {counts['errors']} errors, "
            f"{counts['edges']} of {counts['graph_edges']} edges "
            f"(thresholds {shown(facts['thresholds']['node'], 'g')}, {shown(facts['thresholds']['edge'], 'g')})"
        ),
        *([Text(visible(facts["origin"]), style="yellow")] if facts["origin"] else []),
    ]


def _feature_table(facts: dict[str, Any]) -> Table:
    table = Table(title="Strongest features by position", title_justify="left", box=None, pad_edge=False)
    table.add_column("token", style="cyan")
    table.add_column("feature", justify="right")
    table.add_column("label", ratio=1)
    for name in ("influence", "activation", "F1"):
        table.add_column(name, justify="right")
    before = None
    for row in facts["features"]:
        token = Text(f"{row['pos']} {visible_token(facts['tokens'][row['pos']])}" if row["pos"] != before else "")
        before = row["pos"]
        label = Text("no label", style="dim") if row["label"] is None else Text(visible(row["label"]))
        f1 = "" if row["f1"] is None else f"{row['f1']:.2f}"
        name = f"L{row['layer']} #{row['feature_idx']}"
        table.add_row(token, name, label, f"{row['influence']:.1%}", shown(row["activation"], ".2f"), f1)
    return table


def _path_table(facts: dict[str, Any]) -> Table:
    table = Table(title="Strongest paths", title_justify="left", box=None, pad_edge=False, show_header=False)
    table.add_column("share", justify="right")
    table.add_column("path", ratio=1)
    for path in facts["paths"]:
        style = "blue" if path["sign"] > 0 else "red"
        steps = " → ".join(_step(node) for node in path["nodes"])
        table.add_row(Text(f"{'+' if path['sign'] > 0 else '−'}{path['share']:.1%}", style=style), Text(steps))
    return table


def _step(node: dict[str, Any]) -> str:
    """A token or target by its text, a feature with its layer."""
    text = visible_token(node["label"])
    has_layer = node["kind"] != "feature" or text.startswith(f"L{node['layer']} ")
    return text if has_layer else f"{text} (L{node['layer']})"
