"""circuit-tracer's graphs of six tiny models, reproduced through the public names alone."""

from pathlib import Path

import numpy as np
import pytest
import torch
from reference_graphs import assert_circuit_equal, assert_edges_equal, assert_graph_equal, load_reference

from circuits import attribute, prune
from replacement_model import ReplacementModel

CASES = (
    "gemma2_plt_relu",
    "gemma3_clt_relu",
    "gemma3_plt_jumprelu_skip",
    "gpt2_clt_relu",
    "llama_clt_jumprelu",
    "qwen3_plt_jumprelu",
)


def load(folder: Path, dtype: torch.dtype) -> ReplacementModel:
    return ReplacementModel.from_pretrained(folder / "model", folder / "transcoder", dtype=dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("case", CASES)
def test_graph_and_circuit_are_those_of_the_reference(golden_dir: Path, case: str, dtype: torch.dtype) -> None:
    reference = load_reference(golden_dir / case / "reference.npz")
    graph = attribute(load(golden_dir / case, dtype), reference["tokens"].tolist())
    assert_graph_equal(graph, reference)
    assert graph.books.residual <= (1e-5 if dtype == torch.float32 else 1e-9)
    assert_circuit_equal(prune(graph, node_threshold=0.8, edge_threshold=0.98), reference)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_two_hundred_features_are_those_of_the_reference(golden_dir: Path, dtype: torch.dtype) -> None:
    folder = golden_dir / "llama_clt_jumprelu"
    with np.load(folder / "reference.npz") as full, np.load(folder / "reference_200_features.npz") as archive:
        tokens, features = full["tokens"].tolist(), full["active_features"][archive["selected_features"]]
        edges = archive["edges"]
    assert_edges_equal(attribute(load(folder, dtype), tokens, max_feature_nodes=200), features, edges)
