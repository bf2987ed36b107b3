import numpy as np

from benchmarks.layered_graph import LayeredGraph
from benchmarks.shapes import QUICK


def test_random_graph_is_causal_and_as_dense_as_asked() -> None:
    graph = LayeredGraph.random(QUICK.prune)
    n_features = len(graph.sites)
    layer, pos = graph.sites.T
    target = np.arange(graph.n_rows).repeat(np.diff(graph.indptr))
    between = (target < n_features) & (graph.indices < n_features)
    assert (layer[graph.indices[between]] < layer[target[between]]).all()
    assert (pos[graph.indices[between]] <= pos[target[between]]).all()
    assert abs(len(graph.values) / graph.n_rows / graph.n_cols - QUICK.prune.density) < 0.01
    assert graph.n_cols + len(graph.target_weights) == QUICK.prune.n_nodes


def test_a_graph_survives_its_file(tmp_path) -> None:
    graph = LayeredGraph.random(QUICK.prune)
    graph.save(tmp_path / "graph.npz")
    stored = LayeredGraph.load(tmp_path / "graph.npz")
    assert (stored.n_layers, stored.n_pos) == (graph.n_layers, graph.n_pos)
    assert np.array_equal(stored.values, graph.values)
