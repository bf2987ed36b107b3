"""Does suppressing the "unknown" supernode make the model invent, and amplifying it make it decline?

Tests run in the model as it is used: real MLPs, live attention and norms. Every test has a control: for each feature
that is changed another one, drawn from those that were active at the same layer and role on prompts of `choose`,
changed so much that it writes a vector of the same norm. So count, places and norms are equal, and only directions
differ. The strength is the one with the largest rate above its control on the split `choose`, and is scored on `score`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from circuits.pocket_scores import evenly_spaced
from circuits.studies.hallucination.changes import (
    SteeringTest,
    changed_features,
    feature_pools,
    intervention_of,
    random_intervention,
)
from circuits.studies.hallucination.reading import OUTCOMES, Reading, TokenSets
from circuits.studies.hallucination.supernodes import Member
from circuits.studies.statistics import Estimate, clustered_rate
from replacement_model import Conditions, ReplacementModel, intervene_many

__all__ = ["AS_USED", "TESTS", "Steered", "run_steering"]

AS_USED = Conditions("free", frozen_attention=False)
N_CONTROLS, N_CONTROLS_CHOOSING = 5, 2
SEED = 23
ANSWERS, DECLINES = "answers", "declines"
SUPPRESSED, AMPLIFIED = (0.75, 0.5, 0.25, 0.0, -1.0), (1.0, 1.25, 1.5, 2.0, 3.0)
TESTS = (
    SteeringTest("unknown suppressed, declined people", OUTCOMES[2], "unknown", "suppress", SUPPRESSED, ANSWERS),
    SteeringTest("unknown amplified, known people", OUTCOMES[0], "unknown", "amplify", AMPLIFIED, DECLINES),
    SteeringTest("unknown amplified, inventions", OUTCOMES[3], "unknown", "amplify", AMPLIFIED, DECLINES),
    SteeringTest(
        "known entity suppressed, known people", OUTCOMES[0], "known entity", "suppress", SUPPRESSED, DECLINES
    ),
    SteeringTest("known entity suppressed, inventions", OUTCOMES[3], "known entity", "suppress", SUPPRESSED, DECLINES),
)


@dataclass(frozen=True, slots=True)
class Steered:
    """What came of a test.

    Attributes:
        chosen: rate on the split `choose` at each strength; chosen_control: the same with random features.
        strength: where the first is furthest above the second; of equal ones the mildest.
        rate: of the expected outcome on the split `score`; control: the same with random features.
        by_subset: the rate for each subset of the table.
        other: share of these prompts that neither answer nor decline.
        n_features: changed on a prompt, on average.
    """

    test: str
    chosen: dict[str, float]
    chosen_control: dict[str, float]
    strength: float
    rate: Estimate
    control: Estimate
    by_subset: dict[str, Estimate]
    other: float
    n_features: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        plain = {name: getattr(self, name) for name in self.__slots__}
        subsets = {name: rate.to_dict() for name, rate in self.by_subset.items()}
        return plain | {"rate": self.rate.to_dict(), "control": self.control.to_dict(), "by_subset": subsets}


@dataclass(frozen=True, slots=True)
class _Bench:
    """The model, and what it is tested with."""

    model: ReplacementModel
    sets: TokenSets
    members: tuple[Member, ...]
    pools: dict[tuple[str, int], tuple[int, ...]]

    def verdict(self, reading: Reading, token_id: int) -> str:
        """`answers`, `declines`, or `other`."""
        declines = self.sets.of(reading.row.declines)
        if token_id in declines:
            return DECLINES
        return ANSWERS if self.sets.is_answer(token_id, declines) else "other"

    def try_on(
        self,
        test: SteeringTest,
        reading: Reading,
        strengths: Sequence[float],
        n_controls: int,
        generator: np.random.Generator,
    ) -> list[list[str]]:
        """For each strength the verdict after the test, then after each of its controls."""
        interventions = []
        for strength in strengths:
            changes = changed_features(test, reading, self.members, strength)
            random = [random_intervention(self.model, changes, self.pools, generator) for _ in range(n_controls)]
            interventions += [intervention_of(test, changes, strength), *random]
        logits = intervene_many(self.model, reading.row.prompt, interventions, AS_USED)
        verdicts = [self.verdict(reading, token) for token in logits.argmax(-1).tolist()]
        size = 1 + n_controls
        return [verdicts[first : first + size] for first in range(0, len(verdicts), size)]


def run_steering(
    model: ReplacementModel,
    sets: TokenSets,
    readings: Sequence[Reading],
    members: Sequence[Member],
    n_each: int,
    piece: Callable[[str, Callable[[], Any]], Any],
    name: str,
    progress: Callable[[str, int, int], None] | None = None,
) -> tuple[Steered, ...]:
    """All tests of which there are prompts in both splits.

    Args:
        model: the replacement model.
        sets: token ids of the table.
        readings: of both splits.
        members: the "unknown" supernode.
        n_each: prompts per test and split, at most, evenly spaced.
        piece: `StudyFolder.piece`.
        name: of the pieces.
        progress: called with (what, tests done, tests in all).
    """
    pools = feature_pools([one for one in readings if one.row.split == "choose"], members)
    bench = _Bench(model, sets, tuple(members), pools)
    found = []
    for number, test in enumerate(TESTS):
        kept = piece(f"{name}-{number}", partial(_run, bench, test, readings, n_each))
        if kept is not None:
            found.append(_from_plain(kept))
        if progress is not None:
            progress(f"interventions, {name}", number + 1, len(TESTS))
    return tuple(found)


def _run(bench: _Bench, test: SteeringTest, readings: Sequence[Reading], n_each: int) -> dict[str, Any] | None:
    """Choose and score; None where one of the splits has no prompt on which there is something to change."""
    usable = [
        one for one in readings if one.outcome == test.outcome and changed_features(test, one, bench.members, 0.0)
    ]
    choose, score = (
        evenly_spaced([one for one in usable if one.row.split == split], n_each) for split in ("choose", "score")
    )
    if not choose or not score:
        return None
    chosen, control = _choose(bench, test, choose)
    above = [chosen[name] - control[name] for name in chosen]
    strength = test.strengths[int(np.argmax(np.round(above, 9)))]
    facts = {"test": test.name, "chosen": chosen, "chosen_control": control, "strength": strength}
    return facts | _score(bench, test, score, strength)


def _choose(bench: _Bench, test: SteeringTest, prompts: Sequence[Reading]) -> tuple[dict[str, float], dict[str, float]]:
    """At every strength, the rate of what is expected, and that of the controls."""
    generator = np.random.default_rng(SEED)
    rows = [bench.try_on(test, one, test.strengths, N_CONTROLS_CHOOSING, generator) for one in prompts]
    hits = np.array(rows) == test.expected  # [prompt, strength, 1 + control]
    names = [f"{strength:g}" for strength in test.strengths]
    rates = (hits[:, :, 0].mean(0), hits[:, :, 1:].mean((0, 2)))
    chosen, control = (dict(zip(names, rate.tolist(), strict=True)) for rate in rates)
    return chosen, control


def _score(bench: _Bench, test: SteeringTest, prompts: Sequence[Reading], strength: float) -> dict[str, Any]:
    generator = np.random.default_rng(SEED)
    verdicts = [bench.try_on(test, one, [strength], N_CONTROLS, generator)[0] for one in prompts]
    groups = [one.row.group for one in prompts]
    hits = [row[0] == test.expected for row in verdicts]
    controls = [verdict == test.expected for row in verdicts for verdict in row[1:]]
    subsets = dict.fromkeys(one.row.subset for one in prompts)
    sizes = [len(changed_features(test, one, bench.members, strength)) for one in prompts]
    return {
        "rate": _rate(hits, groups),
        "control": _rate(controls, [group for group in groups for _ in range(N_CONTROLS)]),
        "by_subset": {name: _rate_within(name, prompts, hits) for name in subsets},
        "other": float(np.mean([row[0] == "other" for row in verdicts])),
        "n_features": float(np.mean(sizes)),
    }


def _rate_within(subset: str, prompts: Sequence[Reading], hits: Sequence[bool]) -> dict[str, Any]:
    pairs = [(hit, one.row.group) for one, hit in zip(prompts, hits, strict=True) if one.row.subset == subset]
    return _rate([hit for hit, _ in pairs], [group for _, group in pairs])


def _rate(hits: Sequence[bool], groups: Sequence[str]) -> dict[str, Any]:
    return clustered_rate(hits, groups, np.random.default_rng(SEED)).to_dict()


def _from_plain(kept: dict[str, Any]) -> Steered:
    rates: dict[str, Any] = {key: Estimate(**kept[key]) for key in ("rate", "control")}
    subsets = {name: Estimate(**value) for name, value in kept["by_subset"].items()}
    return Steered(**{**kept, **rates, "by_subset": subsets})
