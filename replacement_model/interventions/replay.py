"""Running a specification again: the same interventions, and how far what comes of them is from what was expected."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from replacement_model.display import Displayed
from replacement_model.errors import InputError
from replacement_model.file_hashes import file_hashes
from replacement_model.interventions.run import intervene
from replacement_model.interventions.specification import N_TOKENS, Case, Outcome, Specification, outcome
from replacement_model.model import ReplacementModel

__all__ = ["TOLERANCE", "CaseReplay", "HashDifference", "ReplayResult", "hash_differences", "replay"]

TOLERANCE = 1e-3  # of a probability; float32 on another processor differs by less than 1e-5
LEAST_LISTED = 20  # tokens in which an expected one is looked for


@dataclass(frozen=True, slots=True)
class HashDifference:
    """A file other than the one that a specification was measured with; `found` is None where there is none."""

    file: str
    expected: str
    found: str | None


@dataclass(frozen=True, slots=True, eq=False)
class CaseReplay:
    """A case run again.

    Attributes:
        found: as many tokens as were expected.
        difference: the largest of any probability's, before or after.
        same_text: whether the continuations are equal.
    """

    case: Case
    found: Outcome
    difference: float
    same_text: bool

    def agrees(self, tolerance: float) -> bool:
        """Whether it came out as expected."""
        return self.same_text and self.difference <= tolerance


@dataclass(frozen=True, slots=True, eq=False)
class ReplayResult(Displayed):
    """A specification run again.

    Attributes:
        other_files: those that differ from what it was measured with.
        n_files: how many files were compared.
        tolerance: the difference of a probability up to which a case agrees.
    """

    cases: tuple[CaseReplay, ...]
    other_files: tuple[HashDifference, ...]
    n_files: int
    tolerance: float

    @property
    def differing(self) -> tuple[CaseReplay, ...]:
        """The cases that came out otherwise."""
        return tuple(one for one in self.cases if not one.agrees(self.tolerance))

    @property
    def difference(self) -> float:
        """The largest difference of a probability."""
        return max((one.difference for one in self.cases), default=0.0)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "agrees": not self.differing,
            "tolerance": self.tolerance,
            "largest_difference": self.difference,
            "files_compared": self.n_files,
            "other_files": [
                {"file": one.file, "expected": one.expected, "found": one.found} for one in self.other_files
            ],
            "cases": [
                {
                    "name": one.case.name,
                    "agrees": one.agrees(self.tolerance),
                    "difference": one.difference,
                    "same_text": one.same_text,
                    "expected": one.case.expected.to_dict(),
                    "found": one.found.to_dict(),
                }
                for one in self.cases
            ],
        }


def replay(
    model: ReplacementModel,
    specification: Specification,
    *,
    tolerance: float = TOLERANCE,
    any_version: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> ReplayResult:
    """Run every case again and compare.

    Args:
        model: the replacement model that the cases are about.
        specification: of `read_specification`.
        tolerance: the largest difference of a probability that is the same.
        any_version: go on although files differ from those that it was measured with.
        progress: called with the number of cases that are done, and of all.

    Raises:
        InputError: files differ, or a case cannot be run on this model.
    """
    others = hash_differences(model, specification)
    if others and not any_version:
        raise InputError(_other_files(others))
    if not tolerance >= 0:
        raise InputError(f"expected a tolerance of 0 or more, got {tolerance}")
    found = []
    for case in specification.cases:
        found.append(_replayed(model, case))
        if progress is not None:
            progress(len(found), len(specification.cases))
    return ReplayResult(tuple(found), others, len(specification.hashes), tolerance)


def hash_differences(model: ReplacementModel, specification: Specification) -> tuple[HashDifference, ...]:
    """Files that the specification names and that are not so in `model`, by name."""
    here = file_hashes(model)
    there = sorted(specification.hashes.items())
    return tuple(HashDifference(name, value, here.get(name)) for name, value in there if here.get(name) != value)


def _other_files(others: tuple[HashDifference, ...]) -> str:
    first, more = others[0], len(others) - 1
    here = "there is none here" if first.found is None else f"here it is {first.found[:12]}..."
    return (
        f"the cases were measured with other files: {first.file!r} had SHA-256 {first.expected[:12]}..., {here}"
        f"{f', and {more} more' if more else ''}; name the model and transcoder that they were measured with "
        "(--model, --transcoder), or compare anyway (--any-version)"
    )


def _replayed(model: ReplacementModel, case: Case) -> CaseReplay:
    expected = case.expected
    try:
        result = intervene(model, case.prompt, case.interventions, case.conditions, generate=case.generate)
    except InputError as error:
        raise InputError(f"case {case.name!r}: {error}") from error
    n_tokens = max(LEAST_LISTED, 2 * max(len(expected.before), len(expected.after)))
    found = outcome(model, result, n_tokens)
    difference = max(_difference(expected.before, found.before), _difference(expected.after, found.after))
    texts = ((expected.text_before, found.text_before), (expected.text_after, found.text_after))
    n_before, n_after = (len(known) or N_TOKENS for known in (expected.before, expected.after))
    shown = replace(found, before=found.before[:n_before], after=found.after[:n_after])
    return CaseReplay(case, shown, difference, all(wanted in (None, got) for wanted, got in texts))


def _difference(expected: tuple[tuple[str, float], ...], found: tuple[tuple[str, float], ...]) -> float:
    """The largest difference of an expected token's probability, or of one that should have been among them."""
    now = dict(reversed(found))  # of two tokens with one text, the more probable
    known = dict(reversed(expected))
    least = min(known.values(), default=1.0)
    listed = [abs(probability - now.get(token, 0.0)) for token, probability in known.items()]
    risen = [probability - least for token, probability in now.items() if token not in known]
    return max([*listed, *risen, 0.0])
