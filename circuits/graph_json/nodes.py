"""The nodes of a graph file, each checked before it is used."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from circuits.graph import Target
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

__all__ = ["FileNode", "layers_of", "read_nodes", "target_of"]

MAX_LAYERS, MAX_INDEX, MAX_PLACES = 1_000, 2**31 - 1, 10_000_000
TOKEN_ID = re.compile(r"E_(\d{1,9})_(\d{1,9})")
OUTPUT = re.compile(r'output:? *"(?P<token>.*)" \(p=[\d.]+\)', re.IGNORECASE | re.DOTALL)
OTHER_TARGET = re.compile(r"(?P<kind>Difference|Direction|Feature): (?P<label>.*) \(p=[\d.]+\)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class FileNode:
    """A node as the file has it.

    Attributes:
        place: its number in the file.
        name: its id, which links use.
        layer: -1 for an embedding, None for a logit whose layer is no number.
        feature_idx: of a feature; of a logit its token's id; of an embedding the token's id, all if the file has them.
        activation, influence, probability: None where the file has none.
        text: the label.
    """

    place: int
    name: str
    kind: str
    layer: int | None
    pos: int
    feature_idx: int | None
    activation: float | None
    influence: float | None
    probability: float | None
    text: str


def read_nodes(rows: Sequence[Mapping[str, Any]], n_pos: int, cantor: bool) -> list[FileNode]:
    """The nodes in the file's order.

    Raises:
        ValueError: a node is not what a node must be; the message has its place.
    """
    return [_read(i, row, n_pos, cantor) for i, row in enumerate(rows)]


def layers_of(nodes: Sequence[FileNode], stated: object) -> int:
    """How many layers the model has: as stated, or as the logits' layer says, which is two above the last.

    Raises:
        ValueError: the statement is impossible.
    """
    inner = max((node.layer or 0 for node in nodes if node.kind in (FEATURE, ERROR)), default=0) + 1
    logits = [node.layer for node in nodes if node.kind == LOGIT and node.layer is not None]
    found = max([inner, *(layer - 1 for layer in logits)])
    n_layers = stated if is_int(stated) else found
    if not inner <= n_layers <= MAX_LAYERS:
        raise ValueError(f"expected {inner} to {MAX_LAYERS} layers, got {n_layers}")
    return n_layers


def target_of(node: FileNode, n_layers: int) -> Target:
    """A logit as a target. Of a probability that is not in the file, its label has three digits.

    Raises:
        ValueError: it has no probability.
    """
    written = PROBABILITY.search(node.text)
    weight = node.probability or (float(written[1]) if written else None)
    if weight is None:
        raise ValueError(f"expected a probability of logit {node.name!r}, found none")
    other, output = OTHER_TARGET.fullmatch(node.text), OUTPUT.fullmatch(node.text)
    ids = () if node.feature_idx is None else (node.feature_idx,)
    if other is not None and not ids:
        return Target(other["kind"].lower(), other["label"], node.pos, weight, n_layers)
    label = output["token"] if output is not None else PROBABILITY.sub("", node.text).strip() or node.name
    return Target("logit", label, node.pos, weight, n_layers, ids)


def _read(i: int, row: Mapping[str, Any], n_pos: int, cantor: bool) -> FileNode:
    def need(holds: bool, key: str, expected: str) -> None:
        if not holds:
            raise ValueError(f"expected {expected} at /nodes/{i}/{key}, got {str(row.get(key))[:60]!r}")

    need(isinstance(row.get("node_id"), str) and row["node_id"] != "", "node_id", "a text")
    kind, pos, layer = row.get("feature_type"), row.get("ctx_idx"), layer_number(row.get("layer"))
    need(kind in (FEATURE, ERROR, EMBEDDING, LOGIT), "feature_type", "a known kind of node")
    need(is_int(pos) and 0 <= pos < n_pos, "ctx_idx", f"a position from 0 to {n_pos - 1}")
    inner = kind in (FEATURE, ERROR)
    need(not inner or (layer is not None and layer < MAX_LAYERS), "layer", f"a layer below {MAX_LAYERS}")
    for key in ("activation", "influence", "token_prob"):
        need(row.get(key) is None or is_number(row[key]), key, "a finite number or null")
    index = _index(row, layer, cantor) if kind == FEATURE else _token_id(row, str(kind))
    need(kind != FEATURE or index is not None, "feature", f"the index of a feature at layer {row.get('layer')}")
    clerp = row.get("clerp")
    return FileNode(
        place=i,
        name=row["node_id"],
        kind=str(kind),
        layer=-1 if kind == EMBEDDING else layer,
        pos=int(pos or 0),
        feature_idx=index,
        activation=row.get("activation"),
        influence=row.get("influence"),
        probability=row.get("token_prob"),
        text=clerp if isinstance(clerp, str) else "",
    )


def _index(row: Mapping[str, Any], layer: int | None, cantor: bool) -> int | None:
    """A feature's index within its layer, None if there is none that fits."""
    value = row.get("feature")
    if not (is_int(value) and 0 <= value < 2**62):
        return None
    found, index = cantor_layer_index(value) if cantor else (layer, value)
    return index if found == layer and index <= MAX_INDEX else None


def _token_id(row: Mapping[str, Any], kind: str) -> int | None:
    """The id of a logit's token, or of an embedding's where its node_id has it."""
    value = row.get("feature")
    if kind == LOGIT:
        return value if is_int(value) and 0 <= value <= MAX_INDEX else None
    named = TOKEN_ID.fullmatch(row["node_id"])
    return int(named[1]) if kind == EMBEDDING and named and int(named[2]) == row.get("ctx_idx") else None
