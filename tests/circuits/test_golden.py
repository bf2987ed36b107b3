"""circuit-tracer's graphs of six tiny models, reproduced through the public names alone."""

from pathlib import Path

import numpy as np
import pytest
import torch

from circuits import Graph, attribute, prune
from replacement_model import ReplacementModel

CASES = (
    "gemma2_plt_relu",
    "gemma3_clt_relu",
    "gemma3_plt_jumprelu_skip",
    "gpt2_clt_relu",
    "llama_clt_jumprelu",
    "qwen3_plt_jumprelu",
)
EDGE_TOLERANCE, SCORE_TOLERANCE = 1e-5, 1e-4


def load(folder: Path, dtype: torch.dtype) -> ReplacementModel:
    return ReplacementModel.from_pretrained(folder / "model", folder / "transcoder", dtype=dtype)


def assert_edges_equal(graph: Graph, features: np.ndarray, edges: np.ndarray) -> None:
    np.testing.assert_array_equal(graph.features, features)
    assert graph.adjacency.shape == edges.shape
    np.testing.assert_allclose(graph.adjacency.toarray(), edges, rtol=0, atol=EDGE_TOLERANCE)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("case", CASES)
def test_graph_and_circuit_are_those_of_the_reference(golden_dir: Path, case: str, dtype: torch.dtype) -> None:
    with np.load(golden_dir / case / "reference.npz") as archive:
        reference = dict(archive)
    graph = attribute(load(golden_dir / case, dtype), reference["tokens"].tolist())

    assert_edges_equal(graph, reference["active_features"], reference["edges"])
    np.testing.assert_allclose(graph.feature_acts, reference["activations"], rtol=0, atol=EDGE_TOLERANCE)
    assert [target.token_ids[0] for target in graph.targets] == reference["logit_token_ids"].tolist()
    np.testing.assert_allclose(graph.target_weights, reference["logit_probabilities"], rtol=0, atol=1e-6)
    assert graph.books.residual <= (1e-5 if dtype == torch.float32 else 1e-9)

    circuit = prune(graph, node_threshold=0.8, edge_threshold=0.98)
    edge_mask = np.unpackbits(reference["edge_mask"], axis=1)[:, : graph.adjacency.shape[1]].astype(bool)
    np.testing.assert_array_equal(circuit.node_mask, reference["node_mask"])
    np.testing.assert_array_equal(circuit.edges.toarray() != 0, edge_mask)
    assert circuit.replacement_score == pytest.approx(float(reference["replacement_score"]), abs=SCORE_TOLERANCE)
    assert circuit.completeness_score == pytest.approx(float(reference["completeness_score"]), abs=SCORE_TOLERANCE)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_two_hundred_features_are_those_of_the_reference(golden_dir: Path, dtype: torch.dtype) -> None:
    folder = golden_dir / "llama_clt_jumprelu"
    with np.load(folder / "reference.npz") as full, np.load(folder / "reference_200_features.npz") as archive:
        tokens, features = full["tokens"].tolist(), full["active_features"][archive["selected_features"]]
        edges = archive["edges"]
    assert_edges_equal(attribute(load(folder, dtype), tokens, max_feature_nodes=200), features, edges)
