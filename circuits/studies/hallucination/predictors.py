"""What a prediction of wrong answers may look at: numbers of one prompt, known before its answer is checked."""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from circuits.studies.hallucination.reading import Reading
from circuits.studies.hallucination.supernodes import Member, share_on_contrast

__all__ = [
    "ANSWERED",
    "BASELINE",
    "ERRORS_ALONE",
    "PRIMARY",
    "WITHOUT_ERRORS",
    "Number",
    "Numbers",
    "as_they_are",
    "to_be_fitted",
]

BASELINE, PRIMARY = "entropy", "structure"
ANSWERED = "it answered at all"
WITHOUT_ERRORS, ERRORS_ALONE = "structure without errors", "structure: errors alone"
OF_ERRORS = ("error", "unexplained", "replacement", "completeness")
MIN_PROMPTS = 5
"""Of `choose`: on fewer, a feature is no input of `activations of features`."""

Number = Callable[[Reading], float]
Numbers = Callable[[Reading], dict[str, float]]


def as_they_are(population: str) -> dict[str, Number]:
    """Scores that need no fitting; the larger, the more a wrong answer is to be expected."""
    found: dict[str, Number] = {
        BASELINE: lambda one: one.entropy,
        "1 - largest probability": lambda one: -one.probability,
        "small margin of logits": lambda one: -one.margin,
    }
    return found | ({ANSWERED: lambda one: float(not one.declined)} if population == "all" else {})


def to_be_fitted(choose: Sequence[Reading], members: Sequence[Member]) -> dict[str, Numbers]:
    """Sets of numbers for a classifier.

    Args:
        choose: what it is fitted on, which decides only which features are common enough.
        members: the "unknown" supernode.
    """

    def supernodes(one: Reading) -> dict[str, float]:
        return share_on_contrast(one, members)

    found: dict[str, Numbers] = {
        PRIMARY: _structure,
        WITHOUT_ERRORS: partial(_part_of_structure, of_errors=False),
        ERRORS_ALONE: partial(_part_of_structure, of_errors=True),
        "structure and output": lambda one: one.structure | _output(one),
        "supernodes": supernodes,
        "structure and supernodes": lambda one: one.structure | supernodes(one),
        "output, fitted": _output,
        "shape of the prompt": lambda one: one.shape,
    }
    often = Counter(feature.place for one in choose for feature in one.features)
    places = sorted(place for place, count in often.items() if count >= MIN_PROMPTS)
    found["activations of features"] = _activations(places)
    return {name: numbers for name, numbers in found.items() if numbers(choose[0])}


def _structure(reading: Reading) -> dict[str, float]:
    return reading.structure


def _part_of_structure(reading: Reading, of_errors: bool) -> dict[str, float]:
    found = reading.structure.items()
    return {name: value for name, value in found if any(part in name for part in OF_ERRORS) == of_errors}


def _output(reading: Reading) -> dict[str, float]:
    log_entropy, log_rest = np.log(np.clip([reading.entropy, 1 - reading.probability], 1e-9, None)).tolist()
    return {"log entropy": log_entropy, "log rest": log_rest, "entropy": reading.entropy, "margin": reading.margin}


def _activations(places: Sequence[tuple[str, int, int]]) -> Numbers:
    def activations(one: Reading) -> dict[str, float]:
        acts = dict.fromkeys(places, 0.0)
        for feature in one.features:
            if feature.place in acts:
                acts[feature.place] += feature.activation
        return {f"L{layer} #{idx}, {role}": acts[role, layer, idx] for role, layer, idx in places}

    return activations
