"""Our side's worker: the public API on the weights, tokens and settings that the peer gets."""

import time
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch

from benchmarks.edges import Edges
from benchmarks.layered_graph import LayeredGraph
from benchmarks.measure import measure
from benchmarks.worker import serve
from circuits import Books, Circuit, Graph, GraphMetadata, Target, attribute, load_graph, save_graph
from circuits import prune as prune_graph
from replacement_model import ReplacementModel

LOADED: dict[str, Any] = {}
GEMM_SIZE = 2048
GEMM_REPEATS = 10


def load_model(model: str, transcoder: str, dtype: str) -> dict[str, Any]:
    LOADED["model"] = ReplacementModel.from_pretrained(model, transcoder, dtype=getattr(torch, dtype))
    return {}


def trace(
    token_ids: list[int],
    max_feature_nodes: int | None = None,
    update_interval: int | None = None,
    save_to: str | None = None,
) -> dict[str, Any]:
    """Attributes once; `update_interval` None is the default."""
    settings = {} if update_interval is None else {"update_interval": update_interval}
    call = partial(attribute, LOADED["model"], token_ids, max_feature_nodes=max_feature_nodes, **settings)
    graph, measured = measure(call)
    if save_to is not None:
        edges = graph.adjacency.toarray()
        logits = np.array([target.token_ids[0] for target in graph.targets])
        Edges(graph.features, logits, edges).save(Path(save_to))
    return {**asdict(measured), "books_residual": graph.books.residual}


def gemm_peak() -> dict[str, Any]:
    """Floating-point operations per second of a large float32 matrix product, the best of several."""
    square = torch.randn(GEMM_SIZE, GEMM_SIZE, generator=torch.Generator().manual_seed(0))
    out = torch.empty_like(square)
    seconds = []
    for _ in range(GEMM_REPEATS):
        start = time.perf_counter()
        torch.mm(square, square, out=out)
        seconds.append(time.perf_counter() - start)
    return {"flops_per_second": 2 * GEMM_SIZE**3 / min(seconds)}


def store_graph(path: str) -> dict[str, Any]:
    """Writes a layered graph as a graph file, beside it."""
    save_graph(_graph(LayeredGraph.load(Path(path))), _graph_file(path))
    return {}


def load_stored_graph(path: str) -> dict[str, Any]:
    LOADED["graph"] = load_graph(_graph_file(path))
    return {}


def _graph_file(path: str) -> Path:
    return Path(path).with_suffix(".safetensors")


def prune(node_threshold: float, edge_threshold: float, save_to: str | None = None) -> dict[str, Any]:
    """Prunes the loaded graph once."""
    circuit, measured = measure(partial(prune_graph, LOADED["graph"], node_threshold, edge_threshold))
    if save_to is not None:
        np.savez(save_to, **_masks(circuit))
    return asdict(measured)


def _graph(stored: LayeredGraph) -> Graph:
    n_features, n_rows = len(stored.sites), stored.n_rows
    zeros = np.zeros(n_rows)
    return Graph(
        metadata=GraphMetadata(model_name="random", transcoder_name="random", prompt=""),
        tokens=tuple(f"t{pos}" for pos in range(stored.n_pos)),
        token_ids=np.arange(stored.n_pos),
        n_layers=stored.n_layers,
        n_ignored_pos=1,
        features=np.column_stack([stored.sites, np.arange(n_features)]).astype(np.int32),
        feature_acts=np.ones(n_features, dtype=np.float32),
        targets=tuple(
            Target("logit", f"t{k}", stored.n_pos - 1, float(weight), stored.n_layers, token_ids=(k,))
            for k, weight in enumerate(stored.target_weights)
        ),
        adjacency=sp.csr_array((stored.values, stored.indices, stored.indptr), shape=(n_rows, stored.n_cols)),
        books=Books(pre_act=zeros, constant=zeros, omitted=zeros, rounding=zeros, residual=0.0),
        fvu=(0.0,) * stored.n_layers,
        feature_labels=(None,) * n_features,
    )


def _masks(circuit: Circuit) -> dict[str, np.ndarray]:
    edges = circuit.edges.tocoo()
    mask = np.zeros(circuit.edges.shape, dtype=bool)
    mask[edges.row, edges.col] = True
    return {"node_mask": circuit.node_mask, "edge_mask": np.packbits(mask, axis=1)}


if __name__ == "__main__":
    commands = {
        "load_model": load_model,
        "trace": trace,
        "gemm_peak": gemm_peak,
        "store_graph": store_graph,
        "load_graph": load_stored_graph,
        "prune": prune,
    }
    serve(commands)
