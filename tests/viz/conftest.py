"""Made-up graphs that look like real ones: facts over a few layers, with labels, errors and closed books."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import scipy.sparse as sp

from circuits.graph import Books, Graph, GraphMetadata, Target
from circuits.layout import Layout
from circuits.pruning import Circuit, prune
from replacement_model.labels import FeatureLabel

TOKENS = ("<bos>", "Fact:", "the", "capital", "of", "the", "state", "containing", "Dallas", "is")
# (layer, pos, label): what a two-hop prompt looks like inside a small model.
FACTS = (
    (0, 3, "capital"),
    (0, 3, "relation: capital of a state"),
    (0, 6, "state"),
    (0, 7, "containing / located in"),
    (0, 8, "Dallas"),
    (0, 8, "city in Texas"),
    (0, 8, "large city"),
    (1, 3, "say: a capital"),
    (1, 8, "Texas (city in Texas)"),
    (1, 8, "Texas, the South"),
    (1, 9, "two-hop question: capital"),
    (1, 9, "answer is a city"),
    (2, 9, "Texas (state of the city)"),
    (2, 9, "capital asked for"),
    (2, 9, "not the largest city"),
    (3, 9, "say: Austin"),
    (3, 9, "say: a capital in the South"),
    (3, 9, None),
)
LOGITS = ((" Austin", 0.93), (" Houston", 0.03), (" Sacramento", 0.01))


def build_graph(
    features: Sequence[tuple[int, int, str | None]],
    tokens: Sequence[str] = TOKENS,
    targets: Sequence[Target] | None = None,
    n_layers: int = 4,
    seed: int = 0,
) -> Graph:
    """A graph whose edges obey causality, with a few strong ones for each target of edges and many weak ones."""
    rng = np.random.default_rng(seed)
    index = rng.permutation(4096)[: len(features)]
    rows = sorted((layer, pos, int(idx), label) for (layer, pos, label), idx in zip(features, index, strict=True))
    places = np.array([row[:3] for row in rows], dtype=np.int32).reshape(-1, 3)
    if targets is None:
        last = len(tokens) - 1
        targets = [Target("logit", text, last, prob, n_layers, (17 + k,)) for k, (text, prob) in enumerate(LOGITS)]
    adjacency = _edges(places, tokens, targets, n_layers, rng)
    sums = np.asarray(adjacency.sum(axis=1)).ravel()
    zeros = np.zeros_like(sums)
    return Graph(
        metadata=GraphMetadata("pocket", "pocket-clt", " ".join(tokens[1:]), settings={"max_feature_nodes": 2000}),
        tokens=tuple(tokens),
        token_ids=np.arange(2, 2 + len(tokens), dtype=np.int64),
        n_layers=n_layers,
        n_ignored_pos=1,
        features=places,
        feature_acts=rng.uniform(0.5, 4.0, len(rows)),
        targets=tuple(targets),
        adjacency=adjacency,
        books=Books(sums, zeros, zeros, zeros, 3.1e-7),
        fvu=tuple(0.02 + 0.01 * layer for layer in range(n_layers)),
        feature_labels=tuple(None if label is None else _label(label) for *_, label in rows),
    )


def _label(text: str) -> FeatureLabel:
    return FeatureLabel(text, text, 0.9, 0.95, 0.86, ("Austin", "Texas"), ("Ohio",))


def _edges(places, tokens, targets, n_layers, rng) -> sp.csr_array:
    layout = Layout(len(places), n_layers, len(tokens), len(targets))
    dense = np.zeros((layout.n_rows, layout.n_cols))
    ends = [(int(layer), int(pos)) for layer, pos, _ in places] + [(t.layer, t.pos) for t in targets]
    for row, (layer, pos) in enumerate(ends):
        below = np.flatnonzero((places[:, 0] < layer) & (places[:, 1] <= pos))
        near = 1.0 + 2.0 * (places[below, 1] == pos) + (places[below, 0] == layer - 1)
        dense[row, below] = near * rng.exponential(0.4, len(below)) ** 2 * rng.choice([1, 1, 1, -1], len(below))
        for lower in range(layer):
            errors = slice(layout.error_node(lower, 1), layout.error_node(lower, pos) + 1)
            dense[row, errors] = 0.02 * rng.normal(size=pos)
            dense[row, layout.error_node(lower, pos)] *= 4
        here = np.arange(pos + 1) == pos
        dense[row, layout.token_nodes][: pos + 1] = rng.normal(size=pos + 1) * (0.15 + here) / (1 + layer)
    return sp.csr_array(dense)


@pytest.fixture(scope="session")
def make_graph() -> Callable[..., Graph]:
    return build_graph


@pytest.fixture(scope="session")
def texas_graph() -> Graph:
    return build_graph(FACTS)


WORDS = (
    "capital",
    "state",
    "city",
    "Texas",
    "say: Austin",
    "region",
    "two-hop",
    "(unknown)",
    "sum of digits",
    "refuse",
)


def build_random(n_features: int, n_layers: int = 4, tokens: Sequence[str] = TOKENS, seed: int = 0) -> Graph:
    """Many features, most of them at the last two positions, as real prompts have them."""
    rng = np.random.default_rng(seed)
    last = len(tokens) - 1
    features = []
    for _ in range(n_features):
        pos = int(rng.choice([last, last - 1, rng.integers(1, last + 1)], p=[0.45, 0.25, 0.3]))
        label = " ".join(rng.choice(WORDS, int(rng.integers(1, 5)))) if rng.random() < 0.9 else None
        features.append((int(rng.integers(n_layers)), pos, label))
    return build_graph(features, tokens, n_layers=n_layers, seed=seed)


@pytest.fixture(scope="session")
def make_random() -> Callable[..., Graph]:
    return build_random


@pytest.fixture(scope="session")
def texas(texas_graph: Graph) -> Circuit:
    return prune(texas_graph)


@pytest.fixture(scope="session")
def other_targets() -> Circuit:
    """A difference of logits, a direction and a feature as targets, at three positions."""
    targets = [
        Target("difference", "Austin − Houston", 9, 1.0, 4, (17, 18)),
        Target("direction", "truth", 8, 1.0, 2),
        Target("feature", "L2 #17 say: a capital", 3, 1.0, 2, (), 17),
    ]
    return prune(build_graph(FACTS, targets=targets), 1.0, 1.0)
