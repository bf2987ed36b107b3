"""Small graphs: written by hand, random, and circuit-tracer's."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

from circuits.graph import Books, Graph, GraphMetadata, Target
from circuits.layout import Layout
from replacement_model.labels import FeatureLabel

GOLDEN_CASES = (
    "gemma2_plt_relu",
    "gemma3_clt_relu",
    "gemma3_plt_jumprelu_skip",
    "gpt2_clt_relu",
    "llama_clt_jumprelu",
    "qwen3_plt_jumprelu",
)


def build_graph(
    dense: np.ndarray,
    features: Sequence[tuple[int, int, int]],
    weights: Sequence[float],
    n_layers: int,
    n_pos: int,
) -> Graph:
    """A graph with these edges `[target, source]`; everything else is filled in."""
    sums = dense.sum(axis=1, dtype=np.float64)
    zeros = np.zeros_like(sums)
    label = FeatureLabel("odd one", "oddness", 0.5, top_logits=("a", "b"))
    return Graph(
        metadata=GraphMetadata("model", "transcoder", "a prompt", hashes={"model": "00ff"}, settings={"batch": 4}),
        tokens=tuple(f"token {pos}" for pos in range(n_pos)),
        token_ids=np.arange(n_pos, dtype=np.int64),
        n_layers=n_layers,
        n_ignored_pos=0,
        features=np.array(features, dtype=np.int32).reshape(-1, 3),
        feature_acts=np.linspace(1, 2, len(features)),
        targets=tuple(Target("logit", f"out {k}", n_pos - 1, w, n_layers, (k,)) for k, w in enumerate(weights)),
        adjacency=sp.csr_array(dense),
        books=Books(sums, zeros, zeros, zeros, 0.0),
        fvu=tuple([float("nan")] + [0.1] * (n_layers - 1)),
        feature_labels=tuple(label if idx % 2 else None for _, _, idx in features),
    )


def random_graph(seed: int, n_features: int = 30, dtype: type = np.float64, density: float = 0.4) -> Graph:
    """A random DAG by layer, with weights over several orders of magnitude and some empty rows."""
    rng = np.random.default_rng(seed)
    n_layers, n_pos, n_targets = 4, 3, 3
    layout = Layout(n_features, n_layers, n_pos, n_targets)
    layers = np.sort(rng.integers(0, n_layers, n_features))
    features = sorted((int(layer), int(rng.integers(n_pos)), idx) for idx, layer in enumerate(layers))
    source_layers = np.concatenate([layers, np.repeat(np.arange(n_layers), n_pos), np.full(n_pos, -1)])
    target_layers = np.concatenate([layers, np.full(n_targets, n_layers)])
    dense = rng.normal(size=(layout.n_rows, layout.n_cols)) * np.exp(2 * rng.normal(size=(1, layout.n_cols)))
    dense *= (source_layers[None] < target_layers[:, None]) & (rng.random(dense.shape) < density)
    dense[rng.integers(0, n_features, 3)] = 0
    weights = rng.random(n_targets)
    return build_graph(dense.astype(dtype), features, (0.9 * weights / weights.sum()).tolist(), n_layers, n_pos)


@pytest.fixture(scope="session")
def make_graph() -> Callable[..., Graph]:
    return build_graph


@pytest.fixture(scope="session")
def make_random_graph() -> Callable[..., Graph]:
    return random_graph


@pytest.fixture(scope="session", params=GOLDEN_CASES)
def golden_case(request: pytest.FixtureRequest, golden_dir: Path) -> dict[str, np.ndarray]:
    """The arrays of one `reference.npz`, with `edge_mask` unpacked."""
    with np.load(golden_dir / request.param / "reference.npz") as archive:
        arrays = dict(archive)
    arrays["edge_mask"] = np.unpackbits(arrays["edge_mask"], axis=1)[:, : arrays["edges"].shape[1]].astype(bool)
    return arrays


@pytest.fixture(scope="session")
def golden_graph() -> Callable[..., Graph]:
    def build(arrays: dict[str, np.ndarray], dtype: type = np.float64) -> Graph:
        places = arrays["active_features"][arrays["selected_features"]]
        n_pos = len(arrays["tokens"])
        n_layers = (arrays["edges"].shape[1] - len(places) - n_pos) // n_pos
        weights = arrays["logit_probabilities"].tolist()
        return build_graph(arrays["edges"].astype(dtype), places.tolist(), weights, n_layers, n_pos)

    return build
