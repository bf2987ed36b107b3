"""The rules for a graph file: metadata, links and qParams here, nodes in `viz.exchange.node_rules`."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from circuits.graph_json.kinds import is_int, is_number, is_text_list
from viz.exchange.node_rules import check_nodes
from viz.exchange.violation import Findings, Missing, pointer

__all__ = ["MAX_BYTES", "MIN_BYTES", "check_graph", "check_identity", "check_supernode_rows"]

NAME = re.compile(r"[A-Za-z0-9_.-]+")
MIN_BYTES, MAX_BYTES = 1_000, 100_000_000
TOP = {"metadata": dict, "qParams": dict, "nodes": list, "links": list}
LINK_KEYS = ("source", "target", "weight")
Check = Callable[[Any], bool]


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


EXPECTED: dict[Check, str] = {_is_text: "a text", is_int: "an integer", is_number: "a number"}
INFO: dict[str, Check] = {"description": _is_text, "creator_name": _is_text, "create_time_ms": is_number}
GENERATOR: dict[str, Check] = {"name": _is_text, "version": _is_text, "url": _is_text}
DETAILS: dict[str, Check] = {"feature_json_base_url": _is_text, "neuronpedia_source_set": _is_text}
GENERATION: dict[str, Check] = {
    "max_n_logits": is_int,
    "desired_logit_prob": is_number,
    "batch_size": is_int,
    "max_feature_nodes": is_int,
}
PRUNING: dict[str, Check] = {"node_threshold": is_number, "edge_threshold": is_number}


def check_graph(value: Mapping[str, Any], n_bytes: int, found: Findings) -> None:
    """Every rule for a graph file.

    Args:
        value: its top-level object.
        n_bytes: the size of the file.
    """
    for key, kind in TOP.items():
        if found.require(key in value, "top-required", "", f"the key {key!r}", Missing()):
            found.require(isinstance(value[key], kind), "top-types", pointer(key), f"a {kind.__name__}", value[key])
    only = value.get("qk_only_nodes", [])
    found.require(isinstance(only, list), "qk-only-nodes", "/qk_only_nodes", "a list", only)
    metadata, params, nodes, links = (
        value[key] if isinstance(value.get(key), kind) else kind() for key, kind in TOP.items()
    )
    if isinstance(value.get("metadata"), dict):
        _check_metadata(metadata, found)
    tokens = metadata.get("prompt_tokens")
    n_pos = len(tokens) if isinstance(tokens, list) else 0
    if isinstance(value.get("nodes"), list):
        check_nodes(nodes, n_pos, metadata.get("schema_version") == 1, found)
    ids = {node["node_id"] for node in nodes if isinstance(node, dict) and isinstance(node.get("node_id"), str)}
    _check_links(links, ids, found)
    _check_params(params, ids, found)
    expected = f"{MIN_BYTES:,} to {MAX_BYTES:,} bytes"
    found.require(MIN_BYTES <= n_bytes <= MAX_BYTES, "upload-size", "", expected, n_bytes)


def check_identity(entry: Mapping[str, Any], at: str, required: str, found: Findings) -> None:
    """slug, scan, prompt and prompt_tokens, which stand in a graph's metadata and in graph-metadata.json."""
    for key, rule in (("slug", "slug-characters"), ("scan", "scan-characters")):
        if found.require(key in entry, required, at, f"the key {key!r}", Missing()):
            name = entry[key]
            fits = isinstance(name, str) and NAME.fullmatch(name) is not None and name.strip(".") != ""
            found.require(fits, rule, f"{at}/{key}", "letters, digits, '_', '.' and '-'", name)
    if found.require("prompt" in entry, required, at, "the key 'prompt'", Missing()):
        found.require(isinstance(entry["prompt"], str), "prompt-text", f"{at}/prompt", "a text", entry["prompt"])
    if found.require("prompt_tokens" in entry, required, at, "the key 'prompt_tokens'", Missing()):
        tokens = entry["prompt_tokens"]
        fits = is_text_list(tokens) and len(tokens) > 0
        found.require(fits, "prompt-tokens", f"{at}/prompt_tokens", "a list of texts, at least one", tokens)


def check_supernode_rows(rows: Any, at: str, found: Findings) -> bool:
    """Whether they are lists of a label and node ids."""
    fits = isinstance(rows, list) and all(is_text_list(row) and row for row in rows)
    return found.require(fits, "supernodes", at, "lists of a label and node ids", rows)


def _check_metadata(metadata: Mapping[str, Any], found: Findings) -> None:
    check_identity(metadata, "/metadata", "metadata-required", found)
    optional: dict[str, tuple[str, str, Check]] = {
        "node_threshold": ("node-threshold", "a number, never null", is_number),
        "schema_version": ("schema-version", "an integer", is_int),
        "transcoder_list": ("transcoder-list", "a list of texts", is_text_list),
    }
    for key, (rule, expected, fits) in optional.items():
        if key in metadata:
            found.require(fits(metadata[key]), rule, pointer("metadata", key), expected, metadata[key])
    _check_object(metadata, "feature_details", DETAILS, "feature-details", found)
    _check_object(metadata, "generation_settings", GENERATION, "generation-settings", found)
    _check_object(metadata, "pruning_settings", PRUNING, "pruning-settings", found)
    info = _check_object(metadata, "info", INFO, "info", found)
    _check_object(info, "generator", GENERATOR, "info", found, "/metadata/info")


def _check_object(
    parent: Mapping[str, Any],
    key: str,
    checks: Mapping[str, Check],
    rule: str,
    found: Findings,
    at: str = "/metadata",
) -> dict[str, Any]:
    """An optional object with optional values of known kinds."""
    value, where = parent.get(key, {}), f"{at}/{key}"
    if not found.require(isinstance(value, dict), rule, where, "an object", value):
        return {}
    for name, fits in checks.items():
        if name in value:
            found.require(fits(value[name]), rule, f"{where}/{name}", EXPECTED[fits], value[name])
    return dict(value)


def _check_links(links: list[Any], ids: set[str], found: Findings) -> None:
    for i, link in enumerate(links):
        where = pointer("links", i)
        if not found.require(isinstance(link, dict), "link-object", where, "an object", link):
            continue
        for key in LINK_KEYS:
            found.require(key in link, "link-required", where, f"the key {key!r}", Missing())
        for end in ("source", "target"):
            if end in link:
                known = isinstance(link[end], str) and link[end] in ids
                found.require(known, "link-end", f"{where}/{end}", "the node_id of a node", link[end])
        if "weight" in link:
            found.require(
                is_number(link["weight"]), "link-weight", f"{where}/weight", "a finite number", link["weight"]
            )


def _check_params(params: Mapping[str, Any], ids: set[str], found: Findings) -> None:
    pinned, groups = params.get("pinnedIds", []), params.get("supernodes", [])
    named: dict[str, str] = {}
    if found.require(is_text_list(pinned), "pinned-ids", "/qParams/pinnedIds", "a list of node ids", pinned):
        named |= {name: pointer("qParams", "pinnedIds", k) for k, name in enumerate(pinned)}
    if check_supernode_rows(groups, "/qParams/supernodes", found):
        named |= {name: pointer("qParams", "supernodes", k) for k, row in enumerate(groups) for name in row[1:]}
    for name, where in named.items():
        found.require(name in ids, "qparams-known-ids", where, "the node_id of a node", name)
    for key in ("linkType", "clickedId", "sg_pos"):
        text = params.get(key, "")
        found.require(isinstance(text, str), "qparams-text", pointer("qParams", key), "a text", text)
