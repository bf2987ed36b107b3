import numpy as np
import pytest

from circuits.supernodes.clustering import cluster, mean_silhouette
from replacement_model.errors import InputError


def blocks(sizes: list[int], within: float = 0.9, between: float = 0.1) -> np.ndarray:
    own = np.repeat(np.arange(len(sizes)), sizes)
    similarity = np.where(own[:, None] == own, within, between)
    np.fill_diagonal(similarity, 1.0)
    return similarity


def test_the_number_of_clear_groups_is_found() -> None:
    found = cluster(blocks([3, 4, 2]))
    assert found.n_groups == 3
    np.testing.assert_array_equal(found.assignment, [0] * 3 + [1] * 4 + [2] * 2)
    assert found.silhouette == pytest.approx((0.9 - 0.1) / 0.9)


def test_groups_are_numbered_by_their_first_member_in_any_order_of_things() -> None:
    order = np.array([8, 2, 5, 0, 7, 1, 4, 3, 6])
    similarity = blocks([3, 4, 2])[np.ix_(order, order)]
    np.testing.assert_array_equal(cluster(similarity).assignment, [0, 1, 2, 1, 0, 1, 2, 2, 2])


@pytest.mark.parametrize("n_groups", range(1, 8))
def test_as_many_groups_as_asked_for_even_among_ties(n_groups: int) -> None:
    found = cluster(np.where(np.eye(7, dtype=bool), 1.0, 0.5), n_groups)
    assert found.n_groups == n_groups
    assert set(found.assignment.tolist()) == set(range(n_groups))


def test_silhouette_from_its_definition() -> None:
    rng = np.random.default_rng(1)
    points, assignment = rng.normal(size=(12, 3)), rng.permutation([0, 0, 0, 0, 1, 1, 1, 1, 1, 2, 2, 7])
    distance = np.linalg.norm(points[:, None] - points, axis=2)
    scores = []
    for i in range(12):
        others = [j for j in range(12) if j != i and assignment[j] == assignment[i]]
        if not others:
            scores.append(0.0)
            continue
        a = np.mean([distance[i, j] for j in others])
        b = min(distance[i, assignment == k].mean() for k in {0, 1, 2, 7} - {assignment[i]})
        scores.append((b - a) / max(a, b))
    assert mean_silhouette(distance, assignment) == pytest.approx(np.mean(scores))


def test_one_and_two_things() -> None:
    assert cluster(np.ones((1, 1))).n_groups == 1
    assert [cluster(blocks([1, 1], between=b)).n_groups for b in (0.4, 0.5)] == [2, 1]
    assert cluster(np.ones((1, 1))).silhouette is None


@pytest.mark.parametrize("n_groups", [0, 4])
def test_impossible_numbers_are_refused(n_groups: int) -> None:
    with pytest.raises(InputError, match=f"expected 1 to 3 groups of 3 features, got {n_groups}"):
        cluster(blocks([3]), n_groups)
