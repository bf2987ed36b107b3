import numpy as np
import pytest
from scipy.stats import binomtest, bootstrap

from circuits.studies.statistics import (
    clustered_estimate,
    clustered_mean,
    clustered_rate,
    rate,
    weighted_estimate,
)
from replacement_model.errors import InputError

Z = 1.959963984540054


def drawn() -> np.random.Generator:
    return np.random.default_rng(0)


def test_wilson_by_its_formula() -> None:
    n, p = 20, 0.35
    centre, half = p + Z**2 / (2 * n), Z * np.sqrt(p * (1 - p) / n + Z**2 / (4 * n**2))
    found = rate([True] * 7 + [False] * 13)
    assert found.value == p
    assert (found.low, found.high) == pytest.approx(
        ((centre - half) / (1 + Z**2 / n), (centre + half) / (1 + Z**2 / n))
    )
    assert (found.n, found.n_clusters, found.method) == (20, 20, "wilson")
    assert found.text == "0.350 (0.181 to 0.567)"


@pytest.fixture(scope="module")
def trials() -> tuple[list[bool], list[str]]:
    generator = np.random.default_rng(1)
    chance = generator.uniform(0.2, 1.0, 30)
    clusters = [f"city {k}" for k in range(30) for _ in range(1 + k % 5)]
    return [bool(generator.random() < chance[int(name[5:])]) for name in clusters], clusters


def test_clustered_rate_agrees_with_scipy(trials: tuple[list[bool], list[str]]) -> None:
    successes, clusters = trials
    names = list(dict.fromkeys(clusters))
    totals = np.array([sum(s for s, c in zip(successes, clusters, strict=True) if c == name) for name in names])
    sizes = np.array([clusters.count(name) for name in names])
    found = clustered_rate(successes, clusters, drawn())
    with_scipy = bootstrap(
        (totals, sizes),
        lambda total, size, axis: total.sum(axis) / size.sum(axis),
        paired=True,
        method="percentile",
        n_resamples=20000,
        random_state=np.random.default_rng(2),
    ).confidence_interval
    assert found.value == pytest.approx(np.mean(successes))
    assert (found.low, found.high) == pytest.approx((with_scipy.low, with_scipy.high), abs=0.015)
    assert (found.n, found.n_clusters, found.method) == (len(successes), 30, "bootstrap")


def test_any_statistic_gives_what_the_rate_gives(trials: tuple[list[bool], list[str]]) -> None:
    successes, clusters = trials
    values = np.array(successes)
    found = clustered_estimate(lambda rows: float(values[rows].mean()), clusters, drawn())
    assert found.to_dict() == pytest.approx(clustered_rate(successes, clusters, drawn()).to_dict())
    assert found.to_dict() == pytest.approx(clustered_mean(values.astype(float), clusters, drawn()).to_dict())


def test_all_resamples_at_once_give_what_one_by_one_gives(trials: tuple[list[bool], list[str]]) -> None:
    successes, clusters = trials
    values = np.array(successes, dtype=float)
    found = weighted_estimate(lambda counts: counts @ values / counts.sum(1), clusters, drawn())
    one_by_one = clustered_estimate(lambda rows: float(values[rows].mean()), clusters, drawn())
    for name in ("value", "low", "high"):
        assert getattr(found, name) == pytest.approx(getattr(one_by_one, name), abs=1e-12)
    with pytest.raises(InputError, match="finite for every resample"):
        weighted_estimate(lambda counts: np.where(counts.max(1) > 1, np.nan, 1.0), clusters, drawn())


def test_prompts_that_hang_together_count_once() -> None:
    """Ten copies of each trial: the same interval as without them, and three times that of independent trials."""
    successes = [k % 3 > 0 for k in range(30)]
    once = clustered_rate(successes, [str(k) for k in range(30)], drawn())
    copies = clustered_rate(successes * 10, [str(k) for k in range(30)] * 10, drawn())
    assert (copies.low, copies.high) == pytest.approx((once.low, once.high))
    independent = rate(successes * 10)
    assert copies.high - copies.low > 2.5 * (independent.high - independent.low)


@pytest.mark.parametrize("outcome", [True, False])
def test_no_certainty_from_equal_outcomes(outcome: bool) -> None:
    found = clustered_rate([outcome] * 40, [str(k % 8) for k in range(40)], drawn())
    eight = rate([outcome] * 8)
    assert (found.value, found.low, found.high) == (eight.value, eight.low, eight.high)
    assert (found.n, found.n_clusters, found.method) == (40, 8, "wilson")


def test_deterministic_whatever_the_clusters_are_called() -> None:
    successes = [True, False, True, True]
    first = clustered_rate(successes, ["d", "c", "b", "a"], drawn())
    assert first == clustered_rate(successes, ["0", "1", "2", "3"], drawn())


def test_nothing_to_count() -> None:
    with pytest.raises(InputError, match="at least one trial"):
        rate([])
    with pytest.raises(InputError, match="one cluster for each"):
        clustered_rate([True], [], drawn())
    with pytest.raises(InputError, match="finite"):
        clustered_estimate(lambda _rows: float("nan"), ["a"], drawn())


@pytest.mark.parametrize(("successes", "trials"), [(0, 7), (3, 8), (120, 124), (5, 5)])
def test_wilsons_interval_is_scipys(successes: int, trials: int) -> None:
    expected = binomtest(successes, trials).proportion_ci(0.95, method="wilson")
    found = rate([True] * successes + [False] * (trials - successes))
    np.testing.assert_allclose([found.low, found.high], [expected.low, expected.high], atol=1e-12)


def test_clusters_of_one_rate_claim_no_certainty() -> None:
    found = clustered_rate([True, False, False] * 4, [str(k // 3) for k in range(12)], np.random.default_rng(0))
    assert found.value == pytest.approx(1 / 3)
    assert found.low < 0.2
    assert found.high > 0.5
