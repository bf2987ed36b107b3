"""Choosing sizes and strengths on the cases of one split, and counting what swaps do on those of another.

An arm is one way to change a prompt; each is tried on every prompt that the model answers rightly as it is.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np

from circuits.studies.multi_step.finding import METHODS, Evidence
from circuits.studies.multi_step.swaps import Choice, patch, random_control, swap_interventions
from circuits.studies.multi_step.table import Case, Experiment, Swap, position_of
from replacement_model import Conditions, InputError, Intervention, ReplacementModel, observe
from replacement_model.interventions import Observation, intervene_many

__all__ = ["AS_USED", "Arm", "Trial", "Trials", "chosen_arms", "run_arms", "tuned_arms"]

N_FEATURES, SOURCE_FACTORS, TARGET_FACTORS = (8, 16, 32), (0.0, -1.0), (1.0, 2.0, 3.0)
N_CONTROLS = 3
AS_USED = Conditions("free", frozen_attention=False)
HELD = Conditions("free")


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to change a prompt.

    Attributes:
        operation: `swap`, `suppress`, `amplify`, or `patch` (all features as they are on the swap's own prompt).
        hop: name of the places.
        choice: which features, how strongly.
        control: random features in their place.
        held: attention patterns are held at what they were.
    """

    operation: str
    hop: str
    choice: Choice
    control: bool = False
    held: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {name: getattr(self, name) for name in self.__slots__} | {"choice": self.choice.to_dict()}

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> "Arm":
        """What `to_dict` gave."""
        return cls(**{**given, "choice": Choice.from_dict(given["choice"])})

    def values(self, source: str, target: str) -> tuple[str | None, str | None]:
        """What is taken away and what is brought in."""
        return None if self.operation == "amplify" else source, None if self.operation == "suppress" else target


@dataclass(frozen=True, slots=True)
class Trial:
    """One edited pass.

    Attributes:
        arm: number of the arm.
        cluster, group: of the case.
        success: the answer is the one that the swap should give.
        changed: the answer is not the model's own any more.
        probability: of the answer that the swap should give.
    """

    arm: int
    cluster: str
    group: str
    success: bool
    changed: bool
    probability: float


@dataclass(frozen=True, slots=True)
class Trials:
    """All trials of some arms.

    Attributes:
        n_cases: prompts.
        n_right: of these, prompts that the model answers rightly as it is; the others are not tried.
    """

    arms: tuple[Arm, ...]
    trials: tuple[Trial, ...]
    n_cases: int
    n_right: int

    def of(self, arm: int) -> tuple[Trial, ...]:
        return tuple(trial for trial in self.trials if trial.arm == arm)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        rows = [[getattr(trial, name) for name in Trial.__slots__] for trial in self.trials]
        arms = [arm.to_dict() for arm in self.arms]
        return {"arms": arms, "trials": rows, "n_cases": self.n_cases, "n_right": self.n_right}

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> "Trials":
        """What `to_dict` gave."""
        arms = tuple(Arm.from_dict(arm) for arm in given["arms"])
        return cls(arms, tuple(Trial(*row) for row in given["trials"]), given["n_cases"], given["n_right"])


def tuned_arms(experiment: Experiment) -> tuple[Arm, ...]:
    """Every size and strength that is tried on the split `tune`, the weaker first."""
    methods = METHODS if experiment.compares_methods else METHODS[:1]
    return tuple(
        Arm(operation, hop, Choice(places, method, size, source, target))
        for operation, (hop, places), method, size in product(
            experiment.operations, experiment.hops.items(), methods, N_FEATURES
        )
        for target in (TARGET_FACTORS if operation != "suppress" else TARGET_FACTORS[:1])
        for source in (SOURCE_FACTORS if operation != "amplify" else SOURCE_FACTORS[:1])
    )


def chosen_arms(experiment: Experiment, tuned: Trials, *, patched: bool = False) -> tuple[Arm, ...]:
    """What is scored: for each operation and hop the best arm of method `graph`, its control, and the held one.

    With `patched`, all features at the hop's places are patched too. With `compares_methods`, also the best of each
    method and size at the first hop. Of equal arms the first, which is the weaker one, is taken.

    Raises:
        InputError: there are no trials.
    """
    if not tuned.trials:
        raise InputError(f"the model answers no prompt to tune {experiment.name} on rightly; give others")
    success = np.zeros(len(tuned.arms))
    for trial in tuned.trials:
        success[trial.arm] += trial.success
    found: list[Arm] = []
    for operation, hop in product(experiment.operations, experiment.hops):
        best = _best(tuned.arms, success, operation=operation, hop=hop, method="graph")
        found += [best, replace(best, control=True), replace(best, held=True)]
        if operation == "swap" and patched:
            found.append(replace(best, operation="patch"))
    if experiment.compares_methods:
        hop = next(iter(experiment.hops))
        for method, size in product(METHODS, N_FEATURES):
            found.append(_best(tuned.arms, success, operation="swap", hop=hop, method=method, n_features=size))
    return tuple(dict.fromkeys(found))


def run_arms(
    model: ReplacementModel,
    cases: Sequence[Case],
    experiment: Experiment,
    evidence: Evidence,
    arms: Sequence[Arm],
    *,
    swaps_per_case: int | None = None,
    generator: np.random.Generator | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Trials:
    """Try all arms on all cases, with the swaps that these have of the experiment's factor.

    Args:
        model: the replacement model.
        cases: prompts.
        experiment: which factor, where.
        evidence: what its supernodes are.
        arms: what is done.
        swaps_per_case: at most so many; None for all.
        generator: for the controls.
        progress: called with (cases done, cases in all).

    Raises:
        InputError: an arm is a control, and there is no generator.
    """
    trials: list[Trial] = []
    n_right = 0
    for number, case in enumerate(cases, 1):
        observed = observe(model, case.prompt)
        own = int(observed.capture.logits[-1].argmax())
        if own == model.token_id(case.answer):
            n_right += 1
            for swap in case.swaps_of(experiment.factor)[:swaps_per_case]:
                trials += _tried(observed, case, experiment, evidence, arms, swap, own, generator)
        if progress is not None:
            progress(number, len(cases))
    return Trials(tuple(arms), tuple(trials), len(cases), n_right)


def _best(arms: Sequence[Arm], success: np.ndarray, **wanted: Any) -> Arm:
    def fits(arm: Arm) -> bool:
        values = arm.choice.to_dict() | {"operation": arm.operation, "hop": arm.hop}
        return all(values[name] == value for name, value in wanted.items())

    return arms[max((k for k, arm in enumerate(arms) if fits(arm)), key=lambda k: (success[k], -k))]


def _tried(
    observed: Observation,
    case: Case,
    experiment: Experiment,
    evidence: Evidence,
    arms: Sequence[Arm],
    swap: Swap,
    own: int,
    generator: np.random.Generator | None,
) -> Iterator[Trial]:
    model = observed.model
    positions = {place: position_of(case.at(place), observed.prompt.tokens) for place in experiment.places}
    wanted = model.token_id(swap.answer)
    other = None if swap.prompt is None else observe(model, swap.prompt)
    for held in (False, True):
        rows: list[int] = []
        edits: list[tuple[Intervention, ...]] = []
        for number, arm in enumerate(arms):
            if arm.held != held:
                continue
            parts = evidence, arm.choice, positions, *arm.values(case.factors[experiment.factor], swap.to)
            if arm.operation == "patch":
                if other is None:
                    raise InputError(f"{case.prompt!r}: its swap for {swap.to} names no prompt to patch from; give one")
                rows.append(number)
                edits.append((patch(observed, other, arm.choice.places, positions),))
            elif not arm.control:
                rows.append(number)
                edits.append(swap_interventions(*parts))
            elif generator is None:
                raise InputError("controls are random: give a generator")
            else:
                rows += [number] * N_CONTROLS
                edits += [random_control(observed, *parts, generator) for _ in range(N_CONTROLS)]
        if not edits:
            continue
        logits = intervene_many(model, observed, edits, HELD if held else AS_USED)
        answers = logits.argmax(-1).tolist()
        probability = model.host.capped(logits.double()).softmax(-1)[:, wanted].tolist()
        for row, answer, share in zip(rows, answers, probability, strict=True):
            yield Trial(row, case.cluster, case.group, answer == wanted, answer != own, round(share, 6))
