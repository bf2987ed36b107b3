"""From trials and readings to rates with intervals."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from circuits.studies.multi_step.finding import Evidence
from circuits.studies.multi_step.graphs import Reading
from circuits.studies.multi_step.scoring import Arm, Trials
from circuits.studies.multi_step.swaps import Choice
from circuits.studies.multi_step.table import Experiment, Table
from circuits.studies.statistics import Estimate, clustered_mean, clustered_rate

__all__ = ["ArmResult", "ExperimentResult", "ReadingResult", "experiment_result"]


@dataclass(frozen=True, slots=True)
class ArmResult:
    """What one arm did to one group of prompts.

    Attributes:
        group: `all`, or one of the groups of the table.
        tuned: its success on the split that strengths were chosen on; None for what was not tried there.
        success: share answered as the swap should give.
        changed: share answered otherwise than the model did.
        probability: mean probability of the answer that the swap should give.
    """

    arm: Arm
    group: str
    tuned: float | None
    success: Estimate
    changed: Estimate
    probability: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        estimates = {"success": self.success.to_dict(), "changed": self.changed.to_dict()}
        plain = {"arm": self.arm.to_dict(), "group": self.group, "tuned": self.tuned, "probability": self.probability}
        return plain | estimates


@dataclass(frozen=True, slots=True)
class ReadingResult:
    """What graphs show of one hop: see `multi_step_graphs.Reading`."""

    hop: str
    group: str
    right: Estimate
    influence: Estimate
    from_token: Estimate
    to_answer: Estimate

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        values = {name: getattr(self, name) for name in self.__slots__}
        return {name: one.to_dict() if isinstance(one, Estimate) else one for name, one in values.items()}


@dataclass(frozen=True, slots=True)
class ExperimentResult:
    """One experiment with one transcoder.

    Attributes:
        transcoder, table, experiment: which.
        main_hop: the one with the highest success on the split that strengths were chosen on.
        n_values: values of the factor.
        n_found, n_tuned, n_cases, n_right: prompts that features were found on, that strengths were chosen on, that
            were scored, and that of the latter the model answers rightly as it is.
        arms, readings: rates.
    """

    transcoder: str
    table: str
    experiment: Experiment
    main_hop: str
    n_values: int
    n_found: int
    n_tuned: int
    n_cases: int
    n_right: int
    arms: tuple[ArmResult, ...]
    readings: tuple[ReadingResult, ...]

    def arm(
        self, operation: str, hop: str, group: str = "all", *, control: bool = False, held: bool = False
    ) -> ArmResult:
        """The chosen arm of an operation at a hop."""
        return next(
            one
            for one in self.arms
            if (one.arm.operation, one.arm.hop, one.group) == (operation, hop, group)
            and (one.arm.control, one.arm.held) == (control, held)
        )

    @property
    def claimed_hop(self) -> str:
        """The hop that the experiment's claim is about."""
        return self.experiment.claim or self.main_hop

    def chosen(self, hop: str) -> Choice:
        """Sizes and strengths that were chosen for a hop, for its first operation."""
        return next(one.arm.choice for one in self.arms if one.arm.hop == hop)

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups of prompts, `all` first where there are several."""
        return tuple(dict.fromkeys(one.group for one in self.arms))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        plain = {name: getattr(self, name) for name in self.__slots__}
        return plain | {
            "experiment": self.experiment.name,
            "arms": [one.to_dict() for one in self.arms],
            "readings": [one.to_dict() for one in self.readings],
        }


def experiment_result(
    transcoder: str,
    table: Table,
    experiment: Experiment,
    evidence: Evidence,
    tuned: Trials,
    scored: Trials,
    readings: Sequence[Reading],
    generator: np.random.Generator,
) -> ExperimentResult:
    """Rates with intervals over clusters."""
    before = _rates(tuned)
    main_hop = max(experiment.hops, key=lambda hop: before[next(arm for arm in scored.arms if arm.hop == hop)])
    return ExperimentResult(
        transcoder=transcoder,
        table=table.name,
        experiment=experiment,
        main_hop=main_hop,
        n_values=len({case.factors[experiment.factor] for case in table.select("find", experiment.factor)}),
        n_found=evidence.n_graphs,
        n_tuned=tuned.n_right,
        n_cases=scored.n_cases,
        n_right=scored.n_right,
        arms=tuple(_arm_results(scored, before, generator)),
        readings=tuple(_reading_results(readings, generator)),
    )


def _rates(trials: Trials) -> dict[Arm, float]:
    return {
        arm: float(np.mean([trial.success for trial in trials.of(number)])) for number, arm in enumerate(trials.arms)
    }


def _arm_results(scored: Trials, before: Mapping[Arm, float], generator: np.random.Generator) -> Iterable[ArmResult]:
    groups = _groups([trial.group for trial in scored.trials])
    for number, arm in enumerate(scored.arms):
        for group in groups:
            trials = [trial for trial in scored.of(number) if _within(trial.group, group)]
            clusters = [trial.cluster for trial in trials]
            yield ArmResult(
                arm,
                group,
                before.get(arm),
                clustered_rate([trial.success for trial in trials], clusters, generator),
                clustered_rate([trial.changed for trial in trials], clusters, generator),
                float(np.mean([trial.probability for trial in trials])),
            )


def _reading_results(readings: Sequence[Reading], generator: np.random.Generator) -> Iterable[ReadingResult]:
    for hop in dict.fromkeys(reading.hop for reading in readings):
        for group in _groups([reading.group for reading in readings]):
            rows = [one for one in readings if one.hop == hop and _within(one.group, group)]
            clusters = [row.cluster for row in rows]
            shares = {
                name: clustered_mean([getattr(row, name) for row in rows], clusters, generator)
                for name in ("influence", "from_token", "to_answer")
            }
            yield ReadingResult(hop, group, clustered_rate([row.right for row in rows], clusters, generator), **shares)


def _groups(names: Sequence[str]) -> tuple[str, ...]:
    """`all`, and every group with those that it is part of; one group alone is `all`."""
    found = dict.fromkeys("/".join(name.split("/")[: n + 1]) for name in names for n in range(len(name.split("/"))))
    return ("all", *(name for name in found if name != "all")) if len(found) > 1 else ("all",)


def _within(name: str, group: str) -> bool:
    return group == "all" or name == group or name.startswith(f"{group}/")
