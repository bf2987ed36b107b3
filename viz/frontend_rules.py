"""The rules that a graph file must obey for the existing front-ends to show it; most of them stand in no schema.

They were read in the code of Anthropic's attribution-graphs-frontend, Neuronpedia and circuit-tracer.
"""

import json
import math
import re
from collections.abc import Iterator
from typing import Any

__all__ = ["encoded", "validate_graph_json"]

FEATURE_TYPES = ("cross layer transcoder", "mlp reconstruction error", "embedding", "logit")
NODE_KEYS = ("node_id", "feature", "layer", "ctx_idx", "feature_type", "jsNodeId", "clerp")
LINK_KEYS = ("source", "target", "weight")
NAME = re.compile(r"[A-Za-z0-9_.-]+")
PROBABILITY = re.compile(r"\(p=\d(\.\d+)?\)")
MIN_BYTES, MAX_BYTES = 1_000, 100_000_000


def encoded(value: Any) -> bytes:
    """JSON as it is written to files: UTF-8, compact, equal bytes for equal values.

    Lone surrogates, which no UTF-8 file can hold, are written as JSON escapes.
    """
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return re.sub("[\ud800-\udfff]", lambda found: f"\\u{ord(found[0]):04x}", text).encode() + b"\n"


def validate_graph_json(value: Any) -> list[str]:
    """Check a graph file against the front-ends' rules.

    Args:
        value: what `json.load` returned.

    Returns:
        The broken rules, one sentence each with the place; empty when the file is fine.

    Example:
        >>> validate_graph_json({"metadata": {}, "qParams": {}, "nodes": []})
        ["top level: expected key 'links'"]
    """
    if not isinstance(value, dict):
        return [f"top level: expected an object, got {type(value).__name__}"]
    wanted = {"metadata": dict, "qParams": dict, "nodes": list, "links": list}
    broken = [f"top level: expected key {key!r}" for key in wanted if key not in value]
    broken += [
        f"{key}: expected {kind.__name__}"
        for key, kind in wanted.items()
        if not isinstance(value.get(key, kind()), kind)
    ]
    if broken:
        return broken
    broken += _metadata_rules(value["metadata"])
    tokens = value["metadata"].get("prompt_tokens")
    nodes = [node for node in value["nodes"] if isinstance(node, dict)]
    broken += [f"nodes: expected objects, got {len(value['nodes']) - len(nodes)} others"] * (
        len(nodes) < len(value["nodes"])
    )
    for i, node in enumerate(nodes):
        has_cantor_ids = value["metadata"].get("schema_version") == 1
        broken += [
            f"nodes[{i}]: {rule}"
            for rule in _node_rules(node, len(tokens) if isinstance(tokens, list) else 0, has_cantor_ids)
        ]
    broken += _graph_rules(nodes)
    broken += _link_rules(value["links"], {str(node.get("node_id")) for node in nodes})
    broken += _qparams_rules(value["qParams"])
    size = len(encoded(value))
    if not MIN_BYTES <= size <= MAX_BYTES:
        broken.append(f"file: expected {MIN_BYTES} to {MAX_BYTES} bytes, got {size}")
    return broken


def _metadata_rules(metadata: dict[str, Any]) -> Iterator[str]:
    for key in ("slug", "scan"):
        name = metadata.get(key)
        if not (isinstance(name, str) and NAME.fullmatch(name) and name.strip(".")):
            yield f"metadata.{key}: expected letters, digits, '_', '.' and '-', got {name!r}"
    if not isinstance(metadata.get("prompt"), str):
        yield f"metadata.prompt: expected a string, got {metadata.get('prompt')!r}"
    tokens = metadata.get("prompt_tokens")
    if not (isinstance(tokens, list) and tokens and all(isinstance(token, str) for token in tokens)):
        yield "metadata.prompt_tokens: expected a list of strings"
    if "node_threshold" in metadata and not _is_number(metadata["node_threshold"]):
        yield f"metadata.node_threshold: expected a number, got {metadata['node_threshold']!r}"


def _node_rules(node: dict[str, Any], n_pos: int, has_cantor_ids: bool) -> Iterator[str]:
    missing = [key for key in NODE_KEYS if key not in node]
    if missing:
        yield f"expected keys {', '.join(missing)}"
        return
    for key in ("node_id", "jsNodeId", "clerp"):
        if not isinstance(node[key], str):
            yield f"expected a string as {key}, got {node[key]!r}"
    if not (node["feature"] is None or _is_int(node["feature"])):
        yield f"expected an integer or null as feature, got {node['feature']!r}"
    if not (_is_int(node["ctx_idx"]) and 0 <= node["ctx_idx"] < n_pos):
        yield f"expected ctx_idx inside prompt_tokens (0 to {n_pos - 1}), got {node['ctx_idx']!r}"
    kind = node["feature_type"]
    if kind not in FEATURE_TYPES:
        yield f"expected feature_type among {', '.join(FEATURE_TYPES)}, got {kind!r}"
    if (kind == "embedding") != (node["layer"] == "E"):
        yield f"expected layer 'E' for embeddings and only for them, got {node['layer']!r} for {kind!r}"
    if node["layer"] != "E" and _layer(node) is None:
        yield f"expected an integer or 'E' as layer, got {node['layer']!r}"
    for key in ("influence", "token_prob"):
        if node.get(key) is not None and not (_is_number(node[key]) and 0 <= node[key] <= 1):
            yield f"expected {key} between 0 and 1, got {node[key]!r}"
    if node.get("activation") is not None and not _is_number(node["activation"]):
        yield f"expected a finite activation, got {node['activation']!r}"
    yield from _logit_rules(node) if kind == "logit" else ()
    if kind == "cross layer transcoder" and has_cantor_ids and not _is_cantor(node["feature"], _layer(node)):
        yield f"expected as feature the Cantor pair of layer {node['layer']} and an index, got {node['feature']!r}"


def _logit_rules(node: dict[str, Any]) -> Iterator[str]:
    if node["clerp"] and not PROBABILITY.search(str(node["clerp"])):
        yield f"expected '(p=0.123)' in a logit's clerp, got {node['clerp']!r}"
    if node.get("token_prob") is None:
        yield "expected token_prob on a logit"


def _graph_rules(nodes: list[dict[str, Any]]) -> Iterator[str]:
    for key in ("node_id", "jsNodeId"):
        first: dict[str, int] = {}
        for i, node in enumerate(nodes):
            name = node.get(key)
            if isinstance(name, str) and first.setdefault(name, i) != i:
                yield f"nodes[{i}]: expected a {key} of its own, got {name!r}, which nodes[{first[name]}] has"
    layers = [(_layer(node), node.get("feature_type") == "logit") for node in nodes]
    inner = max((layer for layer, is_logit in layers if layer is not None and not is_logit), default=-1)
    if max((layer for layer, _ in layers if layer is not None), default=0) <= 0:
        yield "nodes: expected a largest layer above 0"
    if any(is_logit and layer is not None and layer <= inner for layer, is_logit in layers):
        yield f"nodes: expected logits above layer {inner}"


def _link_rules(links: list[Any], names: set[str]) -> Iterator[str]:
    for i, link in enumerate(links):
        if not isinstance(link, dict) or any(key not in link for key in LINK_KEYS):
            yield f"links[{i}]: expected an object with {', '.join(LINK_KEYS)}"
            continue
        for end in ("source", "target"):
            if not (isinstance(link[end], str) and link[end] in names):
                yield f"links[{i}]: expected a node as {end}, got {link[end]!r}"
        if not _is_number(link["weight"]):
            yield f"links[{i}]: expected a finite weight, got {link['weight']!r}"


def _qparams_rules(params: dict[str, Any]) -> Iterator[str]:
    pinned = params.get("pinnedIds", [])
    if not (isinstance(pinned, list) and all(isinstance(name, str) for name in pinned)):
        yield "qParams.pinnedIds: expected a list of node ids"
    groups = params.get("supernodes", [])
    is_list = isinstance(groups, list) and all(isinstance(group, list) and group for group in groups)
    if not (is_list and all(isinstance(name, str) for group in groups for name in group)):
        yield "qParams.supernodes: expected lists of a label and node ids"
    for key in ("linkType", "clickedId", "sg_pos"):
        if not isinstance(params.get(key, ""), str):
            yield f"qParams.{key}: expected a string, got {params[key]!r}"


def _layer(node: dict[str, Any]) -> int | None:
    layer = node.get("layer")
    if isinstance(layer, str) and layer.isascii() and layer.isdigit():
        return int(layer)
    return layer if _is_int(layer) else None


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_cantor(feature: Any, layer: int | None) -> bool:
    """Whether an integer is the Cantor pair of `layer` and some index."""
    if not _is_int(feature) or feature < 0 or layer is None:
        return False
    total = (math.isqrt(8 * feature + 1) - 1) // 2
    return total - (feature - total * (total + 1) // 2) == layer
