"""Cones against counting one by one."""

import numpy as np
import pytest

from circuits.cone import Cone

N_LAYERS, N_POS = 3, 4


@pytest.fixture(scope="module")
def features() -> np.ndarray:
    rng = np.random.default_rng(3)
    places = np.stack([rng.integers(0, N_LAYERS, 50), rng.integers(0, N_POS, 50), np.arange(50)], axis=1)
    return places[places[:, 1] != 2]  # a position without features


def test_starts_count_the_features_before_a_position_and_below_a_layer(features: np.ndarray) -> None:
    cone = Cone.of(features, N_LAYERS, N_POS)
    assert (cone.n_layers, cone.n_pos) == (N_LAYERS, N_POS)
    for below in range(N_LAYERS + 1):
        for pos in range(N_POS + 1):
            assert cone.starts[below, pos] == sum(f[0] < below and f[1] < pos for f in features)
    assert cone.n_features(N_POS) == len(features)


def test_rows_hold_features_errors_and_tokens_of_their_cone(features: np.ndarray) -> None:
    cone = Cone.of(features, N_LAYERS, N_POS)
    below, pos = np.indices((N_LAYERS + 1, N_POS)).reshape(2, -1)
    expected = [
        sum(f[0] < k and f[1] <= p for f in features) + k * (p + 1) + p + 1 for k, p in zip(below, pos, strict=True)
    ]
    assert cone.row_sizes(below, pos).tolist() == expected
    sizes, rest = cone.row_sizes(features[:, 0], features[:, 1]), (features[:, 0] + 1) * (features[:, 1] + 1)
    for count in (0, 1, 7, len(features), 1000):
        assert cone.largest(features, count) == sum(sorted(sizes, reverse=True)[:count])
        assert cone.largest_rest(features, count) == sum(sorted(rest, reverse=True)[:count])


def test_nothing_active() -> None:
    cone = Cone.of(np.empty((0, 3), dtype=np.int64), N_LAYERS, N_POS)
    assert cone.largest(np.empty((0, 3), dtype=np.int64), 5) == 0
    assert cone.row_sizes(np.array([2]), np.array([1])).tolist() == [6]
