"""Does a graph's structure tell that an answer is wrong, before it is checked?

Fixed before anything was scored:

- A prompt is *wrong* if the most probable next token is not right: an answer about an unknown entity, or a wrong one
  about a known entity. Two populations: **all** prompts, and **answered** ones alone (the model did not decline). On
  all prompts, "it answered at all" is a predictor already; among the answered, only right and wrong answers are left.
- The baseline is the **entropy** of the next token, which needs no fitting.
- The primary predictor is **structure** (`hallucination_structure`): a logistic regression on numbers of the graph of
  the answer that name no feature, no token and no probability. Everything else is reported beside it.
- Fitted on the split `choose`, with the strength of its penalty from cross-validation over its groups; scored once on
  the split `score`, which shares no group (family) with it. Intervals, also of differences, resample groups.

Added after the first scoring, to see what carries it: structure without what is about errors, and errors alone. A
transcoder explains the unfamiliar worse, so errors might tell no more than that a prompt is unlike its training data.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from circuits.studies.auroc import Auroc, column_areas
from circuits.studies.hallucination.predictors import ANSWERED, BASELINE, PRIMARY, Numbers, as_they_are, to_be_fitted
from circuits.studies.hallucination.reading import Reading
from circuits.studies.hallucination.supernodes import Member
from circuits.studies.statistics import Estimate, weighted_estimate
from replacement_model.errors import InputError

__all__ = ["BEST_SINGLE", "POPULATIONS", "Prediction", "predict_wrong"]

POPULATIONS = ("all", "answered")
BEST_SINGLE = "structure, best single number"
PENALTIES = (1e-3, 1e-2, 0.1, 1.0, 10.0)
"""Inverse strengths of the penalty to choose from."""
N_FOLDS, N_LEADING = 5, 8
MIN_WRONG = 10
"""Of how many wrong prompts of a subset an AUROC is given."""
SEED = 17


@dataclass(frozen=True, slots=True)
class Prediction:
    """One predictor on one population.

    Attributes:
        name, population: which.
        n_inputs: numbers it uses; 0 where nothing is fitted.
        chosen: AUROC in cross-validation over groups of the split `choose` (of what is not fitted, there).
        auroc: on the split `score`.
        above: AUROC minus the baseline's; None for the baseline.
        above_answered: AUROC minus that of knowing only that the model answered; None where that says nothing.
        n_wrong, n_right: prompts scored.
        by_subset: the AUROC where only the wrong ones of one subset of the table are counted, against all right ones.
        leading: inputs with the largest weights, per standard deviation; positive speaks for a wrong answer.
        fpr, tpr: its curve.
    """

    name: str
    population: str
    n_inputs: int
    chosen: float
    auroc: Estimate
    above: Estimate | None
    above_answered: Estimate | None
    n_wrong: int
    n_right: int
    by_subset: dict[str, float]
    leading: dict[str, float]
    fpr: tuple[float, ...]
    tpr: tuple[float, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        plain = {name: getattr(self, name) for name in self.__slots__}
        for name in ("auroc", "above", "above_answered"):
            plain[name] = None if plain[name] is None else plain[name].to_dict()
        return plain | {"fpr": list(self.fpr), "tpr": list(self.tpr)}


@dataclass(frozen=True, slots=True)
class _Part:
    """The prompts of one population and split."""

    readings: tuple[Reading, ...]

    @property
    def wrong(self) -> Bool[np.ndarray, "n"]:
        return np.array([not one.right for one in self.readings])

    @property
    def groups(self) -> list[str]:
        return [one.row.group for one in self.readings]

    def table(self, numbers: Numbers) -> tuple[tuple[str, ...], Float[np.ndarray, "n input"]]:
        """Names of the inputs, and their values."""
        rows = [numbers(one) for one in self.readings]
        names = tuple(rows[0])
        return names, np.array([[row[name] for name in names] for row in rows])


@dataclass(frozen=True, slots=True, eq=False)
class _Scores:
    """Scores of a predictor on the split `score`, and how they were made."""

    values: Float[np.ndarray, "n"]
    chosen: float
    n_inputs: int
    leading: dict[str, float]


def predict_wrong(readings: Sequence[Reading], members: Sequence[Member]) -> tuple[Prediction, ...]:
    """Every predictor on every population.

    Args:
        readings: of both splits.
        members: the "unknown" supernode, chosen on the split `choose`.

    Raises:
        InputError: a population has no wrong or no right answer in some split.
    """
    found: list[Prediction] = []
    for population in POPULATIONS:
        kept = [one for one in readings if population == "all" or not one.declined]
        choose, score = (_Part(tuple(one for one in kept if one.row.split == split)) for split in ("choose", "score"))
        for split, part in (("choose", choose), ("score", score)):
            _check_both(population, split, part)
        found.extend(_population(population, choose, score, members))
    return tuple(found)


def _check_both(population: str, split: str, part: _Part) -> None:
    counts = Counter(not one.right for one in part.readings)
    if not counts[True] or not counts[False]:
        raise InputError(
            f"expected right and wrong answers among {population} prompts of the split {split!r}, got "
            f"{counts[False]} right and {counts[True]} wrong; add prompts"
        )


def _population(population: str, choose: _Part, score: _Part, members: Sequence[Member]) -> list[Prediction]:
    scores: dict[str, _Scores] = {}
    for name, number in as_they_are(population).items():
        chosen, values = (np.array([number(one) for one in part.readings]) for part in (choose, score))
        scores[name] = _Scores(values, Auroc.of(chosen, choose.wrong).value, 0, {})
    for name, numbers in to_be_fitted(choose.readings, members).items():
        scores[name] = _fit(numbers, choose, score)
        if name == PRIMARY:
            scores[BEST_SINGLE] = _best_single(numbers, choose, score)
    compared = {name: Auroc.of(scores[name].values, score.wrong) for name in (BASELINE, ANSWERED) if name in scores}
    return [_prediction(name, population, found, score, compared) for name, found in scores.items()]


def _fit(numbers: Numbers, choose: _Part, score: _Part) -> _Scores:
    (names, chosen), (_, scored) = choose.table(numbers), score.table(numbers)
    groups, wrong = choose.groups, choose.wrong
    n_folds = min(N_FOLDS, *(len({groups[row] for row in np.flatnonzero(wrong == which)}) for which in (True, False)))
    if n_folds < 2:
        raise InputError("expected wrong and right answers of at least two groups of the split 'choose'; add prompts")
    search = GridSearchCV(
        make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=5000)),
        {"logisticregression__C": list(PENALTIES)},
        scoring="roc_auc",
        cv=StratifiedGroupKFold(n_folds, shuffle=True, random_state=SEED),
        error_score="raise",
    )
    search.fit(chosen, wrong, groups=groups)
    if not np.isfinite(search.best_score_):
        raise InputError("expected folds of the split 'choose' with right and wrong answers; add groups that have both")
    weights = search.best_estimator_[-1].coef_[0]
    order = np.argsort(-np.abs(weights), kind="stable")[:N_LEADING]
    leading = {names[k]: float(weights[k]) for k in order.tolist()}
    return _Scores(search.decision_function(scored), float(search.best_score_), len(names), leading)


def _best_single(numbers: Numbers, choose: _Part, score: _Part) -> _Scores:
    """The one number that ranks the prompts of `choose` best, in whichever direction."""
    (names, chosen), (_, scored) = choose.table(numbers), score.table(numbers)
    areas = column_areas(chosen, choose.wrong)
    best = int(np.argmax(np.abs(areas - 0.5)))
    sign = 1.0 if areas[best] >= 0.5 else -1.0
    return _Scores(sign * scored[:, best], float(max(areas[best], 1 - areas[best])), 1, {names[best]: sign})


def _prediction(name: str, population: str, found: _Scores, part: _Part, compared: dict[str, Auroc]) -> Prediction:
    own, n_wrong = Auroc.of(found.values, part.wrong), int(part.wrong.sum())

    def above(other: str) -> Estimate | None:
        if name == other or other not in compared:
            return None
        return interval(lambda counts: own.weighted(counts) - compared[other].weighted(counts))

    def interval(statistic: Callable[..., Float[np.ndarray, "resample"]]) -> Estimate:
        return weighted_estimate(statistic, part.groups, np.random.default_rng(SEED))

    fpr, tpr = own.curve()
    return Prediction(
        name=name,
        population=population,
        n_inputs=found.n_inputs,
        chosen=found.chosen,
        auroc=interval(own.weighted),
        above=above(BASELINE),
        above_answered=above(ANSWERED),
        n_wrong=n_wrong,
        n_right=len(found.values) - n_wrong,
        by_subset=_by_subset(own, part),
        leading=found.leading,
        fpr=fpr,
        tpr=tpr,
    )


def _by_subset(area: Auroc, part: _Part) -> dict[str, float]:
    subsets = Counter(one.row.subset for one in part.readings if not one.right)
    found = {}
    for name in sorted(name for name, count in subsets.items() if count >= MIN_WRONG):
        counted = np.array([[one.right or one.row.subset == name for one in part.readings]], dtype=np.float64)
        found[name] = float(area.weighted(counted)[0])
    return found
