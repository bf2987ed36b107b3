"""Case study: why does the model decline to answer about unknown people, and what goes wrong when it invents?

    1. Every prompt is read: what the model says, and the graph behind it           hallucination_reading
    2. Which features feed declining, and which switch those on and off             hallucination_supernodes, _inputs
    3. Which features tell known, declined and invented apart                       hallucination_separation
    4. Are the supernodes causes? Suppressed, amplified, against random features    hallucination_steering
    5. Does the graph's structure tell a wrong answer before it is checked?         hallucination_prediction

Whatever is chosen is chosen on one split of the prompts, and scored on the other.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from circuits.studies.folder import StudyFolder
from circuits.studies.hallucination.entity_table import EntityTable
from circuits.studies.hallucination.examples import CONFIDENT, Example, ShownTest, find_examples, show_tests
from circuits.studies.hallucination.inputs import input_parts
from circuits.studies.hallucination.prediction import Prediction, predict_wrong
from circuits.studies.hallucination.reading import OUTCOMES, Reading, read_prompts, token_sets
from circuits.studies.hallucination.separation import Separation, separate
from circuits.studies.hallucination.steering import Steered, run_steering
from circuits.studies.hallucination.supernodes import Member, activation_at, unknown_supernode
from replacement_model import ReplacementModel
from replacement_model.display import Displayed
from replacement_model.interventions import write_specification
from replacement_model.interventions.specification import Case, Specification

__all__ = ["HallucinationResult", "TranscoderResult", "run"]

N_STEERED, N_PARTS = 200, 60
N_QUICK = 8
"""Prompts of each split and subset of a quick run."""

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class TranscoderResult:
    """What was found with one transcoder.

    Attributes:
        counts: prompts by split, subset and outcome.
        confident: of the inventions of each split, how many have a probability above one half.
        supernode: "unknown".
        labels: of its features, where there are some.
        inputs: `hallucination_inputs.input_parts`.
        strongest: activations of its strongest feature on the split `score`, by outcome.
        separation, steering, prediction: as their modules say.
        examples: prompts with graphs; shown: what the tests do to them, also in the specifications of interventions.
    """

    name: str
    counts: tuple[dict[str, Any], ...]
    confident: dict[str, int]
    supernode: tuple[Member, ...]
    labels: tuple[str, ...]
    inputs: tuple[dict[str, Any], ...]
    strongest: dict[str, tuple[float, ...]]
    separation: tuple[Separation, ...]
    steering: tuple[Steered, ...]
    prediction: tuple[Prediction, ...]
    examples: tuple[Example, ...]
    shown: tuple[ShownTest, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        plain = {name: getattr(self, name) for name in self.__slots__}
        for name in ("supernode", "separation", "steering", "prediction", "examples", "shown"):
            plain[name] = [one.to_dict() for one in plain[name]]
        return plain


@dataclass(frozen=True, slots=True)
class HallucinationResult(Displayed):
    """The study's result: one part for each transcoder of the same language model."""

    quick: bool
    n_prompts: int
    n_groups: int
    transcoders: tuple[TranscoderResult, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        plain = {name: getattr(self, name) for name in self.__slots__}
        return {"schema_version": 1} | plain | {"transcoders": [one.to_dict() for one in self.transcoders]}


def run(
    folder: StudyFolder,
    models: Mapping[str, ReplacementModel],
    table: EntityTable,
    *,
    quick: bool = False,
    progress: Progress | None = None,
) -> HallucinationResult:
    """Run the study, or go on with one that was interrupted; writes the specifications of interventions too.

    Args:
        folder: where results and graphs go.
        models: the same language model with each transcoder, by the transcoder's short name.
        table: the prompts; `entity_corpus.pocket_entities()` for the pocket model.
        quick: a few prompts only, for a look; its numbers mean little.
        progress: called with (what, number done, number in all).

    Raises:
        InputError: a token or an entity of the table does not fit the model, or the model never declines or never errs.
    """
    used = table.sample(N_QUICK) if quick else table
    found = []
    for number, (name, model) in enumerate(models.items()):
        one, cases = _one(folder, name, model, used, quick, progress)
        place = "interventions.json" if number == 0 else f"interventions-{name}.json"
        write_specification(folder.path / place, Specification.of(model, cases))
        found.append(one)
    groups = {one.group for one in used.prompts}
    return HallucinationResult(quick, len(used.prompts), len(groups), tuple(found))


def _one(
    folder: StudyFolder,
    name: str,
    model: ReplacementModel,
    table: EntityTable,
    quick: bool,
    progress: Progress | None,
) -> tuple[TranscoderResult, list[Case]]:
    readings = read_prompts(model, table, folder.piece, f"reading-{name}", progress)
    scored = [one for one in readings if one.row.split == "score"]
    members = unknown_supernode([one for one in readings if one.row.split == "choose"])
    n_steered, n_parts = (N_QUICK, N_QUICK) if quick else (N_STEERED, N_PARTS)
    sets = token_sets(model, table)
    steering = run_steering(model, sets, readings, members, n_steered, folder.piece, f"steering-{name}", progress)
    inputs = folder.piece(f"inputs-{name}", lambda: input_parts(model, scored, members, n_parts))
    labels = [model.labels.get(one.layer, one.feature_idx) for one in members]
    examples = find_examples(folder, name, model, scored, members)
    shown = show_tests(model, [reading for _, reading in examples], steering, members)
    result = TranscoderResult(
        name=name,
        counts=_counts(readings),
        confident=_confident(readings),
        supernode=members,
        labels=tuple("" if label is None else label.text for label in labels),
        inputs=tuple(inputs),
        strongest={
            outcome: tuple(activation_at(one, members[0].place) for one in scored if one.outcome == outcome)
            for outcome in OUTCOMES
        },
        separation=separate(readings),
        steering=steering,
        prediction=predict_wrong(readings, members),
        examples=tuple(example for example, _ in examples),
        shown=tuple(one for one, _ in shown),
    )
    return result, [case for _, case in shown]


def _counts(readings: Sequence[Reading]) -> tuple[dict[str, Any], ...]:
    found = Counter((one.row.split, one.row.subset, one.outcome) for one in readings)
    return tuple(
        {"split": split, "subset": subset, "outcome": outcome, "n": count}
        for (split, subset, outcome), count in sorted(found.items())
    )


def _confident(readings: Sequence[Reading]) -> dict[str, int]:
    sure = (one.row.split for one in readings if one.outcome == OUTCOMES[3] and one.probability > CONFIDENT)
    return {"choose": 0, "score": 0} | Counter(sure)
