"""The rules for the nodes of a graph file."""

import re
from typing import Any

from circuits.graph_json.kinds import (
    EMBEDDING,
    ERROR,
    FEATURE,
    LOGIT,
    PROBABILITY,
    cantor_layer_index,
    is_int,
    is_number,
    layer_number,
)
from viz.exchange.violation import Findings, Missing, pointer

__all__ = ["check_nodes"]

FEATURE_TYPES = (FEATURE, ERROR, EMBEDDING, LOGIT)
NODE_KEYS = ("node_id", "feature", "layer", "ctx_idx", "feature_type", "jsNodeId", "clerp")
TEXTS = {"node_id": "node-id-text", "jsNodeId": "js-node-id-text"}
CIRCUIT_TRACER_ERROR = re.compile(r"0_(\d{1,9})_(\d{1,9})")
QK_PARTS = ("pair_wise_contributors", "top_q_marginal_contributors", "top_k_marginal_contributors")
Node = dict[str, Any]


def check_nodes(nodes: list[Any], n_pos: int, has_cantor_ids: bool, found: Findings) -> None:
    """Each node alone, then all together.

    Args:
        n_pos: number of prompt tokens.
        has_cantor_ids: whether the file says that `feature` is a Cantor pair.
    """
    for i, node in enumerate(nodes):
        if found.require(isinstance(node, dict), "node-object", pointer("nodes", i), "an object", node):
            _check_node(node, i, n_pos, has_cantor_ids, found)
    objects = [(i, node) for i, node in enumerate(nodes) if isinstance(node, dict)]
    for key, rule in (("node_id", "node-id-unique"), ("jsNodeId", "js-node-id-unique")):
        _check_unique(objects, key, rule, found)
    _check_layers(objects, found)


def _check_node(node: Node, i: int, n_pos: int, has_cantor_ids: bool, found: Findings) -> None:
    def need(holds: bool, rule: str, key: str, expected: str) -> None:
        found.require(holds, rule, pointer("nodes", i, key), expected, node[key])

    missing = [key for key in NODE_KEYS if key not in node]
    for key in missing:
        found.add("node-required", pointer("nodes", i), f"the key {key!r}", Missing())
    if missing:
        return
    for key, rule in TEXTS.items():
        need(isinstance(node[key], str) and node[key] != "", rule, key, "a text")
    need(isinstance(node["clerp"], str), "clerp-text", "clerp", "a text")
    need(node["feature"] is None or is_int(node["feature"]), "feature-integer", "feature", "an integer or null")
    inside = is_int(node["ctx_idx"]) and 0 <= node["ctx_idx"] < n_pos
    need(inside, "ctx-idx", "ctx_idx", f"a position in prompt_tokens (0 to {n_pos - 1})")
    kind, layer = node["feature_type"], layer_number(node["layer"])
    need(kind in FEATURE_TYPES, "feature-type", "feature_type", f"one of {', '.join(FEATURE_TYPES)}")
    if kind == EMBEDDING or node["layer"] == "E":
        need((kind == EMBEDDING) == (node["layer"] == "E"), "embedding-layer", "layer", f"no such layer of {kind!r}")
    else:
        need(layer is not None, "layer-form", "layer", "a number from 0, or E")
    _check_optional(node, i, found)
    if kind == LOGIT:
        _check_logit(node, i, found)
    if kind == FEATURE and has_cantor_ids and layer is not None:
        fits = is_int(node["feature"]) and _fits(node["feature"], layer)
        need(fits, "cantor-feature", "feature", f"the Cantor pair of layer {layer} and an index")
    _check_form(node, i, layer, found)


def _check_optional(node: Node, i: int, found: Findings) -> None:
    for key, rule in (("influence", "influence-range"), ("token_prob", "token-prob-range")):
        value = node.get(key)
        fits = value is None or (is_number(value) and 0 <= value <= 1)
        found.require(fits, rule, pointer("nodes", i, key), "a number from 0 to 1", value)
    activation = node.get("activation")
    fits = activation is None or is_number(activation)
    found.require(fits, "activation-finite", pointer("nodes", i, "activation"), "a finite number or null", activation)
    flag = node.get("is_target_logit", False)
    found.require(isinstance(flag, bool), "is-target-logit", pointer("nodes", i, "is_target_logit"), "a boolean", flag)
    tracing = node.get("qk_tracing_results")
    if tracing is not None:
        fits = isinstance(tracing, dict) and all(_is_rows(tracing.get(key, []), key) for key in QK_PARTS)
        where = pointer("nodes", i, "qk_tracing_results")
        found.require(
            fits, "qk-tracing-results", where, f"an object with lists of rows: {', '.join(QK_PARTS)}", tracing
        )


def _check_logit(node: Node, i: int, found: Findings) -> None:
    clerp = node["clerp"]
    fits = not clerp or not isinstance(clerp, str) or PROBABILITY.search(clerp) is not None
    found.require(fits, "logit-clerp", pointer("nodes", i, "clerp"), "a text with '(p=0.123)', or none", clerp)
    if node.get("token_prob") is None:
        found.add("token-prob-on-logits", pointer("nodes", i), "token_prob on a logit", Missing())


def _check_form(node: Node, i: int, layer: int | None, found: Findings) -> None:
    """The form of jsNodeId, for features and logits."""
    if node["feature_type"] not in (FEATURE, LOGIT) or layer is None or not isinstance(node["jsNodeId"], str):
        return
    parts = node["jsNodeId"].split("_")
    fits = len(parts) == 3 and parts[0] == str(layer) and parts[2] == str(node["ctx_idx"])
    expected = f"{layer}_…_{node['ctx_idx']}"
    found.require(fits, "js-node-id-form", pointer("nodes", i, "jsNodeId"), expected, node["jsNodeId"])


def _check_unique(objects: list[tuple[int, Node]], key: str, rule: str, found: Findings) -> None:
    first: dict[str, int] = {}
    nodes = dict(objects)
    for i, node in objects:
        name = node.get(key)
        if isinstance(name, str) and first.setdefault(name, i) != i:
            note = _collision(name, node, nodes[first[name]]) if key == "node_id" else ""
            found.add(
                rule, pointer("nodes", i, key), f"another {key} than {pointer('nodes', first[name])} has", name, note
            )


def _collision(name: str, *nodes: Node) -> str:
    kinds = [node.get("feature_type") for node in nodes]
    if ERROR in kinds and FEATURE in kinds and CIRCUIT_TRACER_ERROR.fullmatch(name):
        return (
            "circuit-tracer names errors 0_{layer}_{pos}, as it names features of layer 0; its links cannot tell which "
            "is meant, and `orrery export` writes {layer}_error_mlp_{pos}"
        )
    return ""


def _check_layers(objects: list[tuple[int, Node]], found: Findings) -> None:
    rows = [(i, layer_number(node.get("layer")), node.get("feature_type") == LOGIT) for i, node in objects]
    inner = max((layer for _, layer, is_logit in rows if layer is not None and not is_logit), default=-1)
    largest = max((layer for _, layer, _ in rows if layer is not None), default=0)
    found.require(largest > 0, "largest-layer", "/nodes", "a largest layer above 0", largest)
    for i, layer, is_logit in rows:
        if is_logit and layer is not None and layer <= inner:
            found.add("logit-above", pointer("nodes", i, "layer"), f"a logit above layer {inner}", layer)


def _fits(feature: int, layer: int) -> bool:
    return 0 <= feature < 2**62 and cantor_layer_index(feature)[0] == layer


def _is_rows(rows: Any, key: str) -> bool:
    """Rows that end in a number; pairs are a query, a key and the number."""
    if not (isinstance(rows, list) and all(isinstance(row, list) and row and is_number(row[-1]) for row in rows)):
        return False
    return key != "pair_wise_contributors" or all(len(row) == 3 for row in rows)
