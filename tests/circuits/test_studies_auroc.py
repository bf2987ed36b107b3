import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from circuits.studies.auroc import Auroc, column_areas


@pytest.mark.parametrize(
    ("scores", "positive", "area"),
    [
        ([1.0, 2.0, 3.0, 4.0], [0, 0, 1, 1], 1.0),
        ([1.0, 2.0, 3.0, 4.0], [1, 1, 0, 0], 0.0),
        ([1.0, 1.0, 1.0], [0, 1, 0], 0.5),
        ([1.0, 3.0, 2.0, 3.0], [0, 0, 1, 1], 0.625),  # pairs: 2 > 1, 2 < 3, 3 > 1, 3 = 3
    ],
)
def test_areas_worked_out_by_hand(scores: list[float], positive: list[int], area: float) -> None:
    is_positive = np.array(positive, dtype=bool)
    assert Auroc.of(np.array(scores), is_positive).value == area
    assert column_areas(np.array(scores)[:, None], is_positive).tolist() == [area]


def test_it_is_scikit_learns_area_also_of_resamples_and_columns() -> None:
    rng = np.random.default_rng(0)
    scores, positive = rng.integers(0, 6, (40, 3)).astype(float), rng.random(40) < 0.4
    areas = [Auroc.of(column, positive) for column in scores.T]
    rows = rng.integers(0, 40, 60)
    for column, area in zip(scores.T, areas, strict=True):
        assert area.value == pytest.approx(roc_auc_score(positive, column), abs=1e-12)
        counts = np.bincount(rows, minlength=40).astype(float)[None]
        assert area.weighted(counts)[0] == pytest.approx(roc_auc_score(positive[rows], column[rows]), abs=1e-12)
    np.testing.assert_allclose(column_areas(scores, positive), [area.value for area in areas], atol=1e-12)


def test_a_resample_of_one_kind_is_at_chance() -> None:
    area = Auroc.of(np.array([0.0, 1.0]), np.array([False, True]))
    assert area.weighted(np.array([[0.0, 2.0]])).tolist() == [0.5]


def test_the_curve_goes_from_corner_to_corner() -> None:
    fpr, tpr = Auroc.of(np.array([0.1, 0.9, 0.4]), np.array([False, True, False])).curve()
    assert (fpr[0], tpr[0], fpr[-1], tpr[-1]) == (0, 0, 1, 1)
