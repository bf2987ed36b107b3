"""How well labels predict where their features are active, on text that they were not made from.

Each label is tested at active positions of its feature and at as many matched ones where it is inactive, so a label
that says nothing has a balanced accuracy of one half. The control gives every feature the label of another one: if that
is not at chance, the test is flawed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import sqrt
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
from jaxtyping import Int

from replacement_model.errors import InputError
from replacement_model.evidence.contexts import Contexts
from replacement_model.evidence.matching import Key, Matched, MatchOptions, Place, match_positions
from replacement_model.evidence.rules import TextPosition
from replacement_model.formats.files import read_json, write_json
from replacement_model.labels import FeatureLabel, FeatureLabels
from replacement_model.model import ReplacementModel

__all__ = [
    "LabelScore",
    "Mean",
    "Predictor",
    "ScoreReport",
    "known_score",
    "save_report",
    "score_labels",
    "scored_labels",
]

SCORES_NAME = "scores.json"
MATCHING = "negatives matched by position and token frequency, as many as positives, unseen prefixes only"

Predictor = Callable[[str, Sequence[TextPosition]], Sequence[float] | None]
"""From a label and places in text to whether (above 0.5) the feature is active there; None if it cannot say."""


@dataclass(frozen=True, slots=True)
class LabelScore:
    """One label, as a predictor of activation.

    Attributes:
        n: active positions tested, and as many inactive ones.
        exact: share of the inactive ones whose position and token frequency are those of an active one.
        balanced_accuracy: mean of the shares of active and of inactive positions that are predicted right.
        precision: share of active positions among those predicted active; 0 where there are none.
        recall: share of active positions that are predicted active.
        f1: harmonic mean of the two.
        shuffled: balanced accuracy of another feature's label at the same positions.
    """

    layer: int
    feature_idx: int
    text: str
    n: int
    exact: float
    balanced_accuracy: float
    precision: float
    recall: float
    f1: float
    shuffled: float | None


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean over labels with its 95% interval (normal approximation)."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Mean | None":
        """None of no values."""
        if not values:
            return None
        middle = fmean(values)
        half = 1.96 * stdev(values) / sqrt(len(values)) if len(values) > 1 else float("inf")
        return cls(middle, max(0.0, middle - half), min(1.0, middle + half))


@dataclass(frozen=True, slots=True)
class ScoreReport:
    """All labels of a set.

    Attributes:
        n_rare: labels of features with too few active positions to test.
        n_untestable: labels of which the predictor cannot say what they predict.
    """

    scores: tuple[LabelScore, ...]
    n_rare: int
    n_untestable: int
    matching: str = MATCHING

    @property
    def balanced_accuracy(self) -> Mean | None:
        return Mean.of([score.balanced_accuracy for score in self.scores])

    @property
    def shuffled(self) -> Mean | None:
        """The control: every feature with another one's label."""
        return Mean.of([score.shuffled for score in self.scores if score.shuffled is not None])

    def to_json(self) -> dict[str, Any]:
        """Everything, for a file."""
        means = {"balanced_accuracy": self.balanced_accuracy, "shuffled": self.shuffled}
        return {name: None if mean is None else asdict(mean) for name, mean in means.items()} | asdict(self)


def score_labels(
    model: ReplacementModel,
    labels: FeatureLabels,
    contexts: Contexts,
    predictor: Predictor,
    *,
    seen: Int[np.ndarray, "m"] | None = None,
    options: MatchOptions | None = None,
    min_positive: int = 5,
    seed: int = 0,
) -> ScoreReport:
    """Test every label.

    Args:
        model: host and transcoder.
        labels: what is tested.
        contexts: text that the labels were not made from.
        predictor: reads a label.
        seen: sorted hashes of prefixes (`prefixes_of`) that the labels were made from; positions with these are left
            out.
        options: how many positions.
        min_positive: features with fewer active positions are not tested.
        seed: of the shuffled control.

    Raises:
        InputError: no label can be tested, or the predictor returns something else than a number for each place.
    """
    # A label of which nothing can be said is dropped before the model runs.
    known = {
        key: label.text for key, label in sorted(labels.by_feature.items()) if predictor(label.text, ()) is not None
    }
    matched = match_positions(
        model, contexts, list(known), np.empty(0, np.int64) if seen is None else seen, options or MatchOptions()
    )
    tested = {key: text for key, text in known.items() if len(matched[key].positives) >= max(1, min_positive)}
    if not tested:
        raise InputError(
            f"none of {len(labels)} labels can be tested: the predictor understands {len(known)} of them, whose "
            f"features have fewer than {min_positive} active positions in this text; give other labels or more text"
        )
    reader = _Reader(model, contexts, predictor)
    shuffled = _shuffled(tested, seed)
    scores = tuple(_score(reader, key, text, shuffled[key], matched[key]) for key, text in tested.items())
    return ScoreReport(scores, n_rare=len(known) - len(tested), n_untestable=len(labels) - len(known))


def scored_labels(labels: FeatureLabels, report: ScoreReport) -> FeatureLabels:
    """The labels with their scores.

    A `FeatureLabel` says how well activation predicts the label, a score how well the label predicts activation:
    precision of the one is recall of the other.
    """
    found = dict(labels.by_feature)
    for score in report.scores:
        key = score.layer, score.feature_idx
        known: FeatureLabel = found[key]
        found[key] = replace(known, f1=score.f1, precision=score.recall, recall=score.precision)
    return FeatureLabels(found)


def save_report(report: ScoreReport, folder: Path, tested_on: Mapping[str, Any]) -> Path:
    """Write the scores beside the labels, with what they were measured on."""
    write_json(folder / SCORES_NAME, {**report.to_json(), "tested_on": dict(tested_on)})
    return folder / SCORES_NAME


def known_score(folder: Path, layer: int, feature_idx: int, text: str) -> LabelScore | None:
    """The score of a label in a folder of evidence, None where this text was not tested."""
    if not (folder / SCORES_NAME).is_file():
        return None
    rows = read_json(folder / SCORES_NAME).get("scores", ())
    wanted = {"layer": layer, "feature_idx": feature_idx, "text": text}
    return next((LabelScore(**row) for row in rows if wanted.items() <= row.items()), None)


class _Reader:
    """Asks the predictor about places in the text."""

    def __init__(self, model: ReplacementModel, contexts: Contexts, predictor: Predictor) -> None:
        self._model, self._contexts, self._predictor = model, contexts, predictor
        self._texts: dict[int, str] = {}

    def predicted(self, text: str, places: Sequence[Place]) -> list[bool]:
        answer = self._predictor(text, [self._position(place) for place in places])
        try:
            values = [float(value) > 0.5 for value in answer or ()]
        except (TypeError, ValueError) as error:
            raise InputError(f"the predictor must give numbers for {text!r}, it gave {answer!r}") from error
        if len(values) != len(places):
            raise InputError(f"the predictor must give {len(places)} numbers for {text!r}, it gave {len(values)}")
        return values

    def _position(self, place: Place) -> TextPosition:
        context, pos = place
        return TextPosition(tuple(self._text(token_id) for token_id in self._contexts.ids(context)), pos)

    def _text(self, token_id: int) -> str:
        if token_id not in self._texts:
            self._texts[token_id] = self._model.token_string(token_id)
        return self._texts[token_id]


def _score(reader: _Reader, key: Key, text: str, other: str | None, matched: Matched) -> LabelScore:
    n = len(matched.positives)
    hits, false = _predicted_active(reader, text, matched)
    control = None if other is None else _predicted_active(reader, other, matched)
    return LabelScore(
        *key,
        text,
        n=n,
        exact=matched.n_exact / n,
        balanced_accuracy=(hits + n - false) / (2 * n),
        precision=hits / (hits + false) if hits + false else 0.0,
        recall=hits / n,
        f1=2 * hits / (hits + false + n),
        shuffled=None if control is None else (control[0] + n - control[1]) / (2 * n),
    )


def _predicted_active(reader: _Reader, text: str, matched: Matched) -> tuple[int, int]:
    """How many of the active and of the inactive positions are predicted active."""
    return sum(reader.predicted(text, matched.positives)), sum(reader.predicted(text, matched.negatives))


def _shuffled(texts: Mapping[Key, str], seed: int) -> dict[Key, str | None]:
    """For each feature the label of another one, drawn at random among those that say something else."""
    rng, keys = np.random.default_rng(seed), list(texts)
    found: dict[Key, str | None] = {}
    for key in keys:
        order = rng.permutation(len(keys)).tolist()
        found[key] = next((texts[keys[i]] for i in order if texts[keys[i]] != texts[key]), None)
    return found
