"""Examples to look at: for each outcome a prompt with its graph, and what each test does to it, to be run again."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from circuits.attribution import attribute
from circuits.pruning import Circuit, prune
from circuits.studies.folder import StudyFolder
from circuits.studies.hallucination.changes import changed_features, intervention_of
from circuits.studies.hallucination.reading import OUTCOMES, FeatureReading, Reading
from circuits.studies.hallucination.steering import AS_USED, TESTS, Steered
from circuits.studies.hallucination.supernodes import Member, known_entity, members_of
from replacement_model import ReplacementModel
from replacement_model.interventions import measured_case
from replacement_model.interventions.specification import Case

__all__ = ["Example", "ShownTest", "find_examples", "show_tests"]

CONFIDENT = 0.5
SHOWN = (OUTCOMES[0], OUTCOMES[2], OUTCOMES[3])

Place = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Example:
    """A prompt and its graph.

    Attributes:
        graph: the file's name, below the study's folder.
        supernodes: (label, its features as (layer, pos, feature_idx)).
    """

    outcome: str
    prompt: str
    answer: str
    probability: float
    graph: str
    supernodes: tuple[tuple[str, tuple[Place, ...]], ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        plain = {name: getattr(self, name) for name in self.__slots__}
        return plain | {"supernodes": [[label, [list(one) for one in places]] for label, places in self.supernodes]}


@dataclass(frozen=True, slots=True)
class ShownTest:
    """A test on one prompt: the most probable token and its probability before and after, whatever came of it."""

    test: str
    prompt: str
    strength: float
    before: tuple[str, float]
    after: tuple[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        plain = {name: getattr(self, name) for name in self.__slots__}
        return plain | {"before": list(self.before), "after": list(self.after)}


def find_examples(
    folder: StudyFolder, name: str, model: ReplacementModel, readings: Sequence[Reading], members: Sequence[Member]
) -> tuple[tuple[Example, Reading], ...]:
    """The first confident prompt of each outcome, with its pruned graph in the folder."""
    found = []
    for outcome in SHOWN:
        sure = [one for one in readings if one.outcome == outcome and one.probability > CONFIDENT]
        if not sure:
            continue
        one = sure[0]
        path = folder.graph(f"{name}-{outcome.replace(', ', '-')}", partial(_circuit, model, one.row.prompt))
        against = () if outcome == OUTCOMES[2] else known_entity(one)  # of a declined prompt, it names nothing known
        groups = (("unknown", members_of(one, members)), ("known entity", against))
        supernodes = tuple((label, _places(features)) for label, features in groups if features)
        graph = path.relative_to(folder.path).as_posix()
        found.append((Example(outcome, one.row.prompt, one.answer, one.probability, graph, supernodes), one))
    return tuple(found)


def show_tests(
    model: ReplacementModel, readings: Sequence[Reading], steering: Sequence[Steered], members: Sequence[Member]
) -> list[tuple[ShownTest, Case]]:
    """Every test on the prompts of its outcome, at the strength that was chosen."""
    strengths = {one.test: one.strength for one in steering}
    found = []
    for test in TESTS:
        for one in readings:
            if test.name not in strengths or one.outcome != test.outcome:
                continue
            changes = changed_features(test, one, members, strengths[test.name])
            if not changes:
                continue
            edit = intervention_of(test, changes, strengths[test.name])
            case = measured_case(model, f"{test.name}: {one.row.prompt}", one.row.prompt, edit, AS_USED)
            before, after = case.expected.before[0], case.expected.after[0]
            found.append((ShownTest(test.name, one.row.prompt, strengths[test.name], before, after), case))
    return found


def _places(features: Sequence[FeatureReading]) -> tuple[Place, ...]:
    return tuple((one.layer, one.pos, one.feature_idx) for one in features)


def _circuit(model: ReplacementModel, prompt: str) -> Circuit:
    return prune(attribute(model, prompt))
