"""The peer's worker, run in its own environment: circuit-tracer on given weights, tokens and settings."""

from dataclasses import asdict
from functools import partial
from importlib.metadata import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from circuit_tracer.attribution.attribute import attribute
from circuit_tracer.graph import Graph, compute_graph_scores, prune_graph
from circuit_tracer.utils.create_graph_files import create_graph_files

from benchmarks.edges import Edges
from benchmarks.layered_graph import LayeredGraph
from benchmarks.measure import measure
from benchmarks.peer_model import load, load_nnsight
from benchmarks.peer_prune import distance_to_threshold, masks, peer_graph
from benchmarks.worker import serve

LOADED: dict[str, Any] = {}


def describe() -> dict[str, Any]:
    """Which package this is, for the report."""
    about = metadata("circuit-tracer")
    urls = dict(url.split(", ", 1) for url in about.get_all("Project-URL", []))
    versions = {name: metadata(name)["Version"] for name in ("torch", "transformers", "transformer-lens", "numpy")}
    return {"name": about["Name"], "version": about["Version"], "repository": urls["Repository"], "versions": versions}


def load_model(model: str, transcoder: str, dtype: str = "float32") -> dict[str, Any]:
    torch.set_default_dtype(getattr(torch, dtype))  # attribute keeps its edges in it
    LOADED["model"] = load(Path(model), Path(transcoder), getattr(torch, dtype))
    return {}


def load_model_in_nnsight(model: str, transcoder: str) -> dict[str, Any]:
    torch.set_default_dtype(torch.float32)
    LOADED["model"] = load_nnsight(Path(model), Path(transcoder))
    return {}


def trace(
    token_ids: list[int], batch_size: int, max_feature_nodes: int | None = None, save_to: str | None = None
) -> dict[str, Any]:
    """Attributes once."""
    tokens = torch.tensor(token_ids)
    call = partial(attribute, tokens, LOADED["model"], batch_size=batch_size, max_feature_nodes=max_feature_nodes)
    graph, measured = measure(call)
    if save_to is not None:
        _edges(graph).save(Path(save_to))
    return {**asdict(measured), "n_active": len(graph.active_features)}


def reference(
    token_ids: list[int],
    save_to: str,
    batch_size: int = 32,
    max_feature_nodes: int | None = None,
    node_threshold: float = 0.8,
    edge_threshold: float = 0.98,
    n_ignored_pos: int = 1,
    graph_files: dict[str, str] | None = None,
) -> dict[str, Any]:
    """Attributes and prunes once, and writes what golden/README.md lists.

    `graph_files` (folder, slug, scan, tokenizer) asks for the files of its front-end too.
    """
    tokens = torch.tensor(token_ids)
    LOADED["model"].zero_positions = slice(0, n_ignored_pos)  # 4 for instruction-tuned Gemma 3
    graph = attribute(tokens, LOADED["model"], batch_size=batch_size, max_feature_nodes=max_feature_nodes)
    replacement_score, completeness_score = compute_graph_scores(graph)
    np.savez(
        save_to,
        tokens=graph.input_tokens.numpy(),
        active_features=graph.active_features.numpy(),
        activations=graph.activation_values.numpy(),
        selected_features=graph.selected_features.numpy(),
        edges=_edges(graph).values,
        logit_token_ids=graph.logit_token_ids.numpy(),
        logit_probabilities=graph.logit_probabilities.numpy(),
        replacement_score=replacement_score,
        completeness_score=completeness_score,
        **masks(graph, prune_graph(graph, node_threshold, edge_threshold)),
    )
    if graph_files is not None:
        graph.cfg.tokenizer_name = graph_files["tokenizer"]
        names = (graph_files[name] for name in ("slug", "folder", "scan"))
        create_graph_files(graph, *names, node_threshold, edge_threshold)
    return {}


def _edges(graph: Graph) -> Edges:
    n_logits, n_features = len(graph.logit_targets), len(graph.selected_features)
    square = graph.adjacency_matrix.numpy()
    rows = np.r_[0:n_features, len(square) - n_logits : len(square)]
    features = graph.active_features[graph.selected_features].numpy()
    return Edges(features, graph.logit_token_ids.numpy(), square[rows, : len(square) - n_logits])


def load_graph(path: str, dtype: str = "float32") -> dict[str, Any]:
    torch.set_default_dtype(getattr(torch, dtype))  # prune_graph makes its vectors in it
    LOADED["graph"] = peer_graph(LayeredGraph.load(Path(path)), getattr(torch, dtype))
    return {}


def prune(node_threshold: float, edge_threshold: float, save_to: str | None = None) -> dict[str, Any]:
    """Prunes the loaded graph once."""
    pruned, measured = measure(partial(prune_graph, LOADED["graph"], node_threshold, edge_threshold))
    if save_to is not None:
        np.savez(save_to, **masks(LOADED["graph"], pruned))
    return asdict(measured)


def distances(edges: str, node_threshold: float, edge_threshold: float) -> dict[str, Any]:
    """How far the scores of the edges listed in a file are from the threshold, at most."""
    found = distance_to_threshold(LOADED["graph"], np.load(edges), node_threshold, edge_threshold)
    return {"largest": float(found.max(initial=0.0))}


if __name__ == "__main__":
    commands = {
        "describe": describe,
        "load_model": load_model,
        "load_model_in_nnsight": load_model_in_nnsight,
        "trace": trace,
        "reference": reference,
        "load_graph": load_graph,
        "prune": prune,
        "distances": distances,
    }
    serve(commands)
