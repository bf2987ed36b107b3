"""Who wrote a graph file, and what such a file does not say."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from circuits.graph_json.kinds import FEATURE, LOGIT, cantor_layer_index, is_int, layer_number

__all__ = ["Producer", "find_producer", "has_cantor_ids"]

UNITS = (
    "attribute writes links from features per unit of activation, and rounds all links to 4 digits; the file has no "
    "activations, so the influence of these edges is not that of its own graph"
)


@dataclass(frozen=True, slots=True)
class Producer:
    """A program that writes graph files.

    Attributes:
        name: `Orrery`, `circuit-tracer`, `attribute`, the name that the file gives, or `unknown`.
        notes: what to know about its numbers.
    """

    name: str
    version: str | None = None
    notes: tuple[str, ...] = ()


def find_producer(metadata: Mapping[str, Any], nodes: Sequence[Mapping[str, Any]]) -> Producer:
    """By the name in the file, or else by what only one program writes."""
    info = metadata.get("info")
    generator = info.get("generator") if isinstance(info, dict) else None
    if isinstance(generator, dict) and isinstance(generator.get("name"), str):
        version = generator.get("version")
        return Producer(generator["name"], version if isinstance(version, str) else None)
    ids = [str(node.get("node_id")) for node in nodes]
    if "node_sep_threshold" in metadata or any(name.startswith("intermediate_") for name in ids):
        return Producer("attribute", notes=(UNITS,))
    logits = [str(node.get("jsNodeId")) for node in nodes if node.get("feature_type") == LOGIT]
    if logits and all(name.startswith("L_") for name in logits):
        return Producer("circuit-tracer")
    return Producer("unknown")


def has_cantor_ids(metadata: Mapping[str, Any], nodes: Sequence[Mapping[str, Any]]) -> bool:
    """Whether `feature` is a Cantor pair of layer and index: as the file says, or else if it fits every feature."""
    if metadata.get("schema_version") == 1:
        return True
    features = [(node.get("feature"), layer_number(node.get("layer"))) for node in nodes if _is_feature(node)]
    return bool(features) and all(
        is_int(feature) and 0 <= feature < 2**62 and cantor_layer_index(feature)[0] == layer
        for feature, layer in features
    )


def _is_feature(node: Mapping[str, Any]) -> bool:
    return node.get("feature_type") == FEATURE
