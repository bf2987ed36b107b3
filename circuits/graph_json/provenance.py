"""What a graph file says of itself: settings, hashes, measured numbers, and who wrote it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from circuits.graph import GraphMetadata
from circuits.graph_json.kinds import EMBEDDING, FEATURE, LOGIT, is_number, is_text_list
from circuits.graph_json.links import FileLinks
from circuits.graph_json.nodes import FileNode
from circuits.graph_json.producer import Producer

__all__ = ["UNKNOWN", "fvu_of", "info_of", "metadata_of", "number_of", "read_from", "share_of"]

UNKNOWN = float("nan")
SETTINGS = ("max_n_logits", "desired_logit_prob", "batch_size", "max_feature_nodes")


def metadata_of(metadata: Mapping[str, Any], origin: dict[str, Any]) -> GraphMetadata:
    """The metadata of the graph; `origin` goes into its settings."""
    info, given = info_of(metadata), metadata.get("generation_settings")
    model, transcoder = (one if isinstance(one, dict) else {} for one in (info.get("model"), info.get("transcoder")))
    listed = metadata.get("transcoder_list")
    scan = str(metadata.get("scan") or "unknown")
    only = listed[0] if is_text_list(listed) and len(listed) == 1 else scan
    known = {key: given[key] for key in SETTINGS if is_number(given.get(key))} if isinstance(given, dict) else {}
    return GraphMetadata(
        model_name=_text(model.get("name")) or "unknown",
        transcoder_name=_text(transcoder.get("name")) or only,
        prompt=_text(metadata.get("prompt")) or "",
        model_revision=_text(model.get("revision")),
        transcoder_revision=_text(transcoder.get("revision")),
        hashes=_texts(info.get("hashes")),
        settings={**known, "read_from": origin},
        versions=_texts(info.get("versions")),
    )


def read_from(
    metadata: Mapping[str, Any], producer: Producer, nodes: Sequence[FileNode], links: FileLinks
) -> dict[str, Any]:
    """What to tell the reader of the graph; of a file that was itself made of another, what that file said."""
    before = info_of(metadata).get("read_from")
    if isinstance(before, dict) and isinstance(before.get("producer"), str):
        return dict(_finite(before))
    missing = ["edges that were pruned", "books"]
    missing += ["activations"] if any(node.kind == FEATURE and node.activation is None for node in nodes) else []
    missing += ["cumulative influence"] if any(node.influence is None for node in nodes if node.kind != LOGIT) else []
    missing += ["token ids"] if any(node.kind == EMBEDDING and node.feature_idx is None for node in nodes) else []
    missing += ["n_layers"] if not any(node.kind == LOGIT and node.layer is not None for node in nodes) else []
    facts = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(producer).items()}
    facts["producer"] = facts.pop("name")
    names = {key: str(metadata[key]) for key in ("slug", "scan") if key in metadata}
    return {**facts, **names, "not_in_file": missing, "links_resolved": links.n_resolved}


def info_of(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """`metadata.info`, empty where there is none."""
    info = metadata.get("info")
    return info if isinstance(info, dict) else {}


def fvu_of(values: Any, n_layers: int) -> tuple[float, ...]:
    """One value a layer, NaN where it is unknown."""
    if isinstance(values, list) and len(values) == n_layers:
        return tuple(number_of(value) for value in values)
    return (UNKNOWN,) * n_layers


def number_of(value: Any) -> float:
    """A number, NaN where there is none."""
    return float(value) if is_number(value) else UNKNOWN


def share_of(value: Any) -> float:
    """A number from 0 to 1, NaN where there is none."""
    return float(value) if is_number(value) and 0 <= value <= 1 else UNKNOWN


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _texts(value: Any) -> dict[str, str]:
    return {key: text for key, text in value.items() if isinstance(text, str)} if isinstance(value, dict) else {}


def _finite(value: Any) -> Any:
    """Plain values with null for numbers that JSON does not have."""
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
