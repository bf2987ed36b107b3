"""A folder that the pages of other programs are served from.

    graph-metadata.json                     the list of graphs
    graph_data/{slug}.json                  a graph
    features/{scan}/{feature}.json          what is known of a feature
    data/graph-metadata.json                the list, where Anthropic's page and attribute's look for it
    graph_data/graph-metadata.json          the list, where circuit-tracer's server looks if it is given graph_data/

A page of Anthropic's kind finds all of it if the folder's content lies beside its `index.html`. circuit-tracer's page
takes features from the hub alone, in the layout that `orrery features collect` writes.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from circuits.graph import Graph
from circuits.pruning import Circuit
from replacement_model.errors import InputError
from replacement_model.evidence.folder import EvidenceFolder
from replacement_model.evidence.record import cantor_pair
from viz.exchange.encoding import encoded
from viz.files import write_files

__all__ = ["METADATA_NAME", "write_site"]

METADATA_NAME = "graph-metadata.json"
LISTED = ("slug", "scan", "prompt_tokens", "prompt")


def write_site(
    circuit: Circuit, value: Mapping[str, Any], folder: Path, evidence: EvidenceFolder | None = None
) -> tuple[Path, ...]:
    """Add a graph to a folder; one of the same slug is replaced, others stay.

    Args:
        circuit: what the graph shows.
        value: its graph JSON.
        evidence: on its features.

    Returns:
        The written files, the graph first.

    Raises:
        InputError: the list in the folder is something else, a file cannot be written, or the evidence is of another
            transcoder.
    """
    if evidence is not None:
        _check_transcoder(circuit.graph, evidence)
    metadata = value["metadata"]
    place = folder / "graph_data" / f"{metadata['slug']}.json"
    features = {
        folder / "features" / metadata["scan"] / f"{feature['index']}.json": encoded(feature)
        for feature in _feature_files(circuit, evidence)
    }
    listed = _listed(folder / METADATA_NAME, metadata)
    indices = {folder / part / METADATA_NAME: listed for part in ("", "data", "graph_data")}
    # The lists are moved into place last, so that they never name a graph that is not there.
    write_files({**indices, place: encoded(value), **features})
    return (place, *indices, *features)


def _check_transcoder(graph: Graph, evidence: EvidenceFolder) -> None:
    settings = evidence.metadata.get("settings")
    name = settings.get("transcoder") if isinstance(settings, dict) else None
    if name is not None and name != graph.metadata.transcoder_name:
        raise InputError(
            f"expected evidence on features of {graph.metadata.transcoder_name}, got a folder on {name}: "
            f"{evidence.folder}; collect it with the graph's own transcoder"
        )


def _listed(path: Path, metadata: Mapping[str, Any]) -> bytes:
    """`graph-metadata.json` with this graph in it."""
    graphs: list[dict[str, Any]] = []
    if path.exists():
        try:
            graphs = [entry for entry in json.loads(path.read_bytes())["graphs"] if entry["slug"] != metadata["slug"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"expected a list of graphs in {path}, got {error!r}; move it away or choose another folder"
            ) from error
    return encoded({"graphs": [*graphs, {**{key: metadata[key] for key in LISTED}, "title_prefix": ""}]})


def _feature_files(circuit: Circuit, evidence: EvidenceFolder | None) -> list[dict[str, Any]]:
    """One object for each kept feature: this prompt as an example, and what is known of it."""
    graph = circuit.graph
    kept = np.flatnonzero(circuit.node_mask[graph.layout.feature_nodes])
    nodes: dict[tuple[int, int], list[int]] = {}
    for node in kept.tolist():
        layer, _, idx = graph.features[node].tolist()
        nodes.setdefault((layer, idx), []).append(node)
    return [_feature_file(graph, key, members, evidence) for key, members in sorted(nodes.items())]


def _feature_file(
    graph: Graph, key: tuple[int, int], nodes: list[int], evidence: EvidenceFolder | None
) -> dict[str, Any]:
    acts = [0.0] * len(graph.tokens)
    for node in nodes:
        acts[int(graph.features[node, 1])] = float(graph.feature_acts[node])
    here = [] if np.isnan(acts).any() else [_this_prompt(graph, acts)]
    found = None if evidence is None else evidence.get(*key)
    if found is not None:
        facts = {name: fact for name, fact in found.to_json().items() if fact is not None}
        return facts | {"examples_quantiles": [*here, *facts["examples_quantiles"]]}
    label = graph.feature_labels[nodes[0]]
    return {
        "index": cantor_pair(*key),
        "examples_quantiles": here,
        "top_logits": [] if label is None else list(label.top_logits),
        "bottom_logits": [] if label is None else list(label.bottom_logits),
        **({"act_min": 0.0, "act_max": max(acts)} if here else {}),
    }


def _this_prompt(graph: Graph, acts: list[float]) -> dict[str, Any]:
    example = {
        "tokens": list(graph.tokens),
        "tokens_acts_list": acts,
        "train_token_ind": int(np.argmax(acts)),
        "is_repeated_datapoint": False,
    }
    return {"quantile_name": "This prompt, positions in the graph", "examples": [example]}
