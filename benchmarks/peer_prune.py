"""The peer's pruning, on a random layered graph made dense as the peer keeps it."""

import numpy as np
import torch
from circuit_tracer.attribution.targets import LogitTarget
from circuit_tracer.graph import (
    Graph,
    PruneResult,
    compute_edge_influence,
    compute_node_influence,
    find_threshold,
)
from circuit_tracer.utils.tl_nnsight_mapping import UnifiedConfig

from benchmarks.layered_graph import LayeredGraph

__all__ = ["distance_to_threshold", "masks", "peer_graph"]


def peer_graph(stored: LayeredGraph, dtype: torch.dtype) -> Graph:
    """The stored graph as the peer's dense square."""
    n_features, n_targets = len(stored.sites), len(stored.target_weights)
    nodes = np.r_[0:n_features, stored.n_cols : stored.n_cols + n_targets]
    square = torch.zeros(stored.n_cols + n_targets, stored.n_cols + n_targets, dtype=dtype)
    rows = torch.from_numpy(nodes.repeat(np.diff(stored.indptr)))
    square[rows, torch.from_numpy(stored.indices).long()] = torch.from_numpy(stored.values).to(dtype)
    sizes = dict.fromkeys(("d_model", "d_head", "n_heads", "d_mlp", "d_vocab"), 1)
    names = dict.fromkeys(("tokenizer_name", "model_name", "original_architecture"), "random")
    return Graph(
        input_string="",
        input_tokens=torch.zeros(stored.n_pos, dtype=torch.long),
        active_features=torch.from_numpy(np.pad(stored.sites, ((0, 0), (0, 1)))),
        adjacency_matrix=square,
        cfg=UnifiedConfig(n_layers=stored.n_layers, **sizes, **names),
        selected_features=torch.arange(n_features),
        activation_values=torch.ones(n_features, dtype=dtype),
        logit_targets=[LogitTarget(token_str="", vocab_idx=index) for index in range(n_targets)],
        logit_probabilities=torch.from_numpy(stored.target_weights).to(dtype),
    )


def masks(graph: Graph, pruned: PruneResult) -> dict[str, np.ndarray]:
    """Node mask, and the edge mask over the rectangle of targets by sources, one bit an edge."""
    edge_mask = pruned.edge_mask[_target_rows(graph)][:, : -len(graph.logit_targets)]
    return {"node_mask": pruned.node_mask.numpy(), "edge_mask": np.packbits(edge_mask.numpy(), axis=1)}


def distance_to_threshold(graph: Graph, edges: np.ndarray, node_threshold: float, edge_threshold: float) -> np.ndarray:
    """How far the scores of some `edges` (target, source) of the rectangle are from the cut, relative to it."""
    weights = torch.zeros(len(graph.adjacency_matrix), dtype=graph.adjacency_matrix.dtype)
    weights[-len(graph.logit_targets) :] = graph.logit_probabilities
    influence = compute_node_influence(graph.adjacency_matrix, weights)
    kept = influence >= find_threshold(influence, node_threshold)
    kept[-len(graph.logit_targets) - len(graph.input_tokens) :] = True
    scores = compute_edge_influence(graph.adjacency_matrix * kept[:, None] * kept, weights)
    cut = find_threshold(scores.flatten(), edge_threshold)
    targets, sources = torch.from_numpy(edges).T
    return ((scores[_target_rows(graph)[targets], sources] - cut).abs() / cut).numpy()


def _target_rows(graph: Graph) -> torch.Tensor:
    n_nodes, n_targets = len(graph.adjacency_matrix), len(graph.logit_targets)
    return torch.cat([torch.arange(len(graph.selected_features)), torch.arange(n_nodes - n_targets, n_nodes)])
