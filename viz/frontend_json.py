"""Graph files for the existing front-ends: Anthropic's attribution-graphs-frontend, Neuronpedia, circuit-tracer.

`clerp`, `ctx_idx` and `jsNodeId` are their words for label, position and node id; they live only here and in the rules.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from circuits.graph import Graph, Target
from circuits.node_names import node_names
from circuits.pruning import Circuit
from circuits.supernodes.file import named_groups
from circuits.supernodes.grouped import GroupedCircuit
from replacement_model.errors import InputError
from replacement_model.evidence.folder import EvidenceFolder
from replacement_model.evidence.record import cantor_pair
from viz.captions import maker
from viz.exchange.encoding import encoded
from viz.exchange.folder import write_site
from viz.exchange.validation import validate_graph_json
from viz.files import write_files
from viz.kept import as_circuit, grouping_of
from viz.unknown import known, origin_note

__all__ = ["graph_json", "write_graph_json"]

SCHEMA_VERSION = 1
MAX_SLUG = 48
DESCRIPTION = (
    "Attribution graph of a local replacement model: attention patterns and norm denominators as measured on this "
    "prompt, every MLP replaced by transcoder features plus an error. A link's weight is the direct effect of its "
    "source on its target; in the unpruned graph the links into a target, its constants and what was not selected "
    "add up to the model's own value, up to `books_residual`. `influence` is cumulative: the share of all influence "
    "held by the nodes that are at least as influential as this one."
)


def graph_json(
    graph: Graph | Circuit | GroupedCircuit,
    *,
    slug: str | None = None,
    scan: str | None = None,
    pinned: Sequence[str] = (),
) -> dict[str, Any]:
    """A circuit as one JSON object in the front-ends' format (formats: `docs/formats.md`, "Graph JSON").

    Args:
        graph: a circuit; of a graph, everything that has an influence. The supernodes of a grouped circuit go into
            `qParams`, their nodes pinned, as the front-ends want them.
        slug: name of this graph; made from the prompt when None.
        scan: name of the model and feature set; made from the transcoder's name when None.
        pinned: ids of further nodes to pin; those that the circuit does not keep are left out.

    Returns:
        An object that `validate_graph_json` finds no error in.

    Raises:
        InputError: the object would break a rule, for example a slug with a space.

    Example:
        json.dumps(viz.graph_json(circuit, slug="dallas"))
    """
    circuit, grouping = as_circuit(graph), grouping_of(graph)
    names = node_names(circuit.graph)
    groups = named_groups(grouping, circuit.graph)
    kept = {names[node] for node in np.flatnonzero(circuit.node_mask)}
    members = (name for _, *its in groups for name in its)
    pins = list(dict.fromkeys([*(name for name in pinned if name in kept), *members]))
    links = circuit.edges.tocoo()
    targets = circuit.graph.layout.row_nodes()[links.row]
    ends = zip(links.col.tolist(), targets.tolist(), links.data.tolist(), strict=True)
    value = {
        "metadata": _metadata(circuit, slug or _slug(circuit), scan or _clean(circuit.graph.metadata.transcoder_name)),
        "qParams": {"pinnedIds": pins, "supernodes": groups, "linkType": "both", "clickedId": "", "sg_pos": ""},
        "nodes": [_node(circuit, int(node), names[node]) for node in np.flatnonzero(circuit.node_mask)],
        "links": [
            {"source": names[source], "target": names[target], "weight": weight} for source, target, weight in ends
        ],
    }
    broken = [one for one in validate_graph_json(value) if one.level == "error"]
    if broken:
        more = f" (and {len(broken) - 1} more)" if len(broken) > 1 else ""
        raise InputError(
            f"expected a graph that the front-ends can read, got {broken[0]}{more}; change it or prune more"
        )
    return value


def write_graph_json(
    graph: Graph | Circuit | GroupedCircuit,
    path: str | Path,
    *,
    slug: str | None = None,
    scan: str | None = None,
    pinned: Sequence[str] = (),
    features: EvidenceFolder | None = None,
) -> tuple[Path, ...]:
    """Write what the front-ends read: one file to upload, or a folder to serve.

    Args:
        graph: a circuit; of a graph, everything that has an influence.
        path: a file that ends in `.json`, or a folder to serve: see `viz.exchange.folder`.
        slug, scan, pinned: as for `graph_json`.
        features: evidence to put into the folder's feature files; they show this prompt in any case.

    Returns:
        The written files, the graph first.

    Raises:
        InputError: a rule would be broken, a file cannot be written, `graph-metadata.json` is something else, or the
            evidence is of another transcoder.
    """
    place = Path(path)
    value = graph_json(graph, slug=slug, scan=scan, pinned=pinned)
    if place.suffix == ".json":
        if features is not None:
            raise InputError(f"evidence goes into the files beside a graph; name a folder, not {place}")
        write_files({place: encoded(value)})
        return (place,)
    return write_site(as_circuit(graph), value, place, features)


def _metadata(circuit: Circuit, slug: str, scan: str) -> dict[str, Any]:
    graph = circuit.graph
    name, version = maker()
    settings = graph.metadata.settings
    known = ("max_n_logits", "desired_logit_prob", "batch_size", "max_feature_nodes")
    return {
        "slug": slug,
        "scan": scan,
        "prompt": graph.metadata.prompt or "".join(graph.tokens),
        "prompt_tokens": list(graph.tokens),
        **_known(node_threshold=circuit.node_threshold),
        "schema_version": SCHEMA_VERSION,
        "transcoder_list": [graph.metadata.transcoder_name],
        "info": {
            "description": origin_note(graph) or DESCRIPTION,
            "generator": {"name": name, "version": version},
            **_evidence(circuit),
        },
        "generation_settings": {key: settings[key] for key in known if settings.get(key) is not None},
        "pruning_settings": _known(node_threshold=circuit.node_threshold, edge_threshold=circuit.edge_threshold),
    }


def _known(**numbers: float) -> dict[str, float]:
    """Those that are known."""
    return {key: float(value) for key, value in numbers.items() if not np.isnan(value)}


def _evidence(circuit: Circuit) -> dict[str, Any]:
    """What a second party needs to judge the graph: scores, books, and where everything came from."""
    metadata = circuit.graph.metadata
    return {
        "model": {"name": metadata.model_name, "revision": metadata.model_revision},
        "transcoder": {"name": metadata.transcoder_name, "revision": metadata.transcoder_revision},
        "hashes": dict(metadata.hashes),
        "versions": dict(metadata.versions),
        "replacement_score": known(circuit.replacement_score),
        "completeness_score": known(circuit.completeness_score),
        "circuit_replacement_score": circuit.circuit_replacement_score,
        "circuit_completeness_score": circuit.circuit_completeness_score,
        "books_residual": known(circuit.graph.books.residual),
        "fvu": [known(value) for value in circuit.graph.fvu],
        **({} if circuit.graph.read_from is None else {"read_from": circuit.graph.read_from}),
    }


def _node(circuit: Circuit, node: int, name: str) -> dict[str, Any]:
    attributes = circuit.graph.node_attributes(node)
    common = {"node_id": name, "jsNodeId": name, "ctx_idx": attributes["pos"]}
    # Rounding may carry a running sum past 1 by one unit in the last place.
    common["influence"] = min(1.0, float(circuit.cumulative_influence[node]))
    layer = attributes["layer"]
    if attributes["kind"] == "feature":
        label = circuit.graph.feature_labels[node]
        return {
            **common,
            "feature": cantor_pair(layer, attributes["feature_idx"]),
            "layer": str(layer),
            "feature_type": "cross layer transcoder",
            "clerp": "" if label is None else label.text,
            "activation": known(attributes["activation"]),
        }
    if attributes["kind"] == "error":
        clerp = f"Err: layer {layer}"
        return {
            **common,
            "feature": -1,
            "layer": str(layer),
            "feature_type": "mlp reconstruction error",
            "clerp": clerp,
        }
    if attributes["kind"] == "token":
        clerp = f'Emb: "{attributes["label"]}"'
        return {**common, "feature": attributes["pos"], "layer": "E", "feature_type": "embedding", "clerp": clerp}
    del common["influence"]
    return {**common, **_target(circuit.graph, circuit.graph.targets[circuit.graph.layout.target_index(node)])}


def _target(graph: Graph, target: Target) -> dict[str, Any]:
    """A target as the front-ends' logit; any other kind says what it is, its weight in place of a probability."""
    probability = min(1.0, max(0.0, float(target.weight)))
    is_logit = target.kind == "logit"
    text = f'Output "{target.label}"' if is_logit else f"{target.kind.capitalize()}: {target.label}"
    return {
        "feature": target.token_ids[0] if is_logit and target.token_ids else None,
        "layer": str(graph.n_layers + 1),
        "feature_type": "logit",
        "clerp": f"{text} (p={probability:.3f})",
        "token_prob": probability,
        "is_target_logit": target is max(graph.targets, key=lambda other: other.weight),
    }


def _slug(circuit: Circuit) -> str:
    """The prompt in letters that a slug may hold, and a hash of what tells graphs of one prompt apart."""
    metadata = circuit.graph.metadata
    targets = [(t.kind, t.label, t.pos, t.layer, t.feature_idx) for t in circuit.graph.targets]
    thresholds = circuit.node_threshold, circuit.edge_threshold
    identity = [metadata.prompt, metadata.model_name, metadata.transcoder_name, targets, *thresholds]
    digest = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:8]
    return f"{_clean(metadata.prompt.lower())[:MAX_SLUG].strip('-.')}-{digest}".lstrip("-")


def _clean(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-.") or "graph"
