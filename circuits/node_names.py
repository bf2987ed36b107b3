"""Names of nodes in files: unique, the same in every format, independent of the order of nodes."""

from circuits.graph import Graph

__all__ = ["node_name", "node_names"]


def node_names(graph: Graph) -> list[str]:
    """The name of every node, in the order of `Layout`.

    A feature is `{layer}_{feature_idx}_{pos}`, an error `{layer}_error_mlp_{pos}`, a token `E_{token_id}_{pos}`, a
    logit `{n_layers + 1}_{token_id}_{pos}`, any other target `{n_layers + 1}_target{k}_{pos}`.
    """
    return [node_name(graph, node) for node in range(graph.layout.n_nodes)]


def node_name(graph: Graph, node: int) -> str:
    """The name of one node (see `node_names`)."""
    layout = graph.layout
    kind = layout.kind(node)
    if kind == "feature":
        layer, pos, idx = (int(value) for value in graph.features[node])
        return f"{layer}_{idx}_{pos}"
    if kind == "error":
        layer, pos = layout.error_layer_pos(node)
        return f"{layer}_error_mlp_{pos}"
    if kind == "token":
        pos = layout.token_pos(node)
        return f"E_{int(graph.token_ids[pos])}_{pos}"
    k = layout.target_index(node)
    target = graph.targets[k]
    is_first = all(
        (t.kind, t.token_ids, t.pos) != (target.kind, target.token_ids, target.pos) for t in graph.targets[:k]
    )
    is_plain_logit = target.kind == "logit" and len(target.token_ids) == 1 and is_first
    middle = str(target.token_ids[0]) if is_plain_logit else f"target{k}"
    return f"{graph.n_layers + 1}_{middle}_{target.pos}"
