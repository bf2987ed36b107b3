"""Against values worked out by hand, and against counting over all permutations."""

from itertools import permutations
from math import log

import numpy as np
import pytest

from circuits.supernodes.agreement import adjusted_mutual_information, adjusted_rand

ONE, OTHER = np.array([0, 0, 0, 1, 1, 1]), np.array([0, 0, 1, 1, 2, 2])


def test_adjusted_rand_by_hand() -> None:
    # Pairs together in both: (0, 1) and (4, 5); 6 in one, 3 in the other, of 15: (2 - 1.2) / (4.5 - 1.2).
    assert adjusted_rand(ONE, OTHER) == pytest.approx(0.8 / 3.3)


def mutual_information(one: np.ndarray, other: np.ndarray) -> float:
    n = len(one)
    cells = {(a, b): np.mean((one == a) & (other == b)) for a in one for b in other}
    return sum(p * log(p * n * n / ((one == a).sum() * (other == b).sum())) for (a, b), p in cells.items() if p > 0)


@pytest.mark.parametrize("other", [OTHER, np.array([0, 0, 0, 0, 1, 2]), np.array([0, 1, 0, 1, 0, 1])])
def test_adjusted_mutual_information_over_all_permutations(other: np.ndarray) -> None:
    chance = np.mean([mutual_information(ONE, np.array(order)) for order in permutations(other.tolist())])
    entropies = [mutual_information(labels, labels) for labels in (ONE, other)]
    expected = (mutual_information(ONE, other) - chance) / (np.mean(entropies) - chance)
    assert adjusted_mutual_information(ONE, other) == pytest.approx(expected, abs=1e-12)
    assert adjusted_mutual_information(other, ONE) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("score", [adjusted_rand, adjusted_mutual_information])
def test_equal_partitions_score_1_whatever_their_names(score) -> None:
    assert score(OTHER, 7 - OTHER) == pytest.approx(1.0)
    assert score(np.zeros(4, dtype=int), np.ones(4, dtype=int)) == 1.0
    assert score(np.arange(4), np.arange(4)[::-1]) == 1.0


@pytest.mark.parametrize("score", [adjusted_rand, adjusted_mutual_information])
def test_independent_partitions_score_about_0(score) -> None:
    rng = np.random.default_rng(0)
    scores = [score(rng.integers(0, 5, 60), rng.integers(0, 4, 60)) for _ in range(200)]
    assert abs(np.mean(scores)) < 0.01


def test_nothing_to_say_is_0() -> None:
    assert adjusted_mutual_information(np.zeros(5, dtype=int), np.array([0, 0, 1, 1, 2])) == 0.0
    assert adjusted_rand(np.zeros(5, dtype=int), np.array([0, 0, 1, 1, 2])) == 0.0
    assert adjusted_mutual_information(np.arange(5), np.array([0, 0, 1, 1, 2])) == pytest.approx(0.0)
