"""Interventions as a file that somebody else can run again: what was done, with which files, and what came of it.

    {"schema_version": 1, "model": "pocket", "transcoder": "clt", "hashes": {"model/model.safetensors": "..."},
     "cases": [{"name": "texas", "prompt": "...", "interventions": [{"operation": "ablate", "features": ["1/-1/1006"],
       "values": [0.0]}], "conditions": {"mode": "free"}, "generate": 0,
       "expected": {"before": [["Austin", 0.99]], "after": [["Houston", 0.4]]}}]}

`interventions` are as `Intervention.to_dict` gives them. With `generate`, `expected` also has `text_before` and
`text_after`.
"""

import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from replacement_model.errors import InputError
from replacement_model.file_hashes import file_hashes
from replacement_model.formats.files import atomic_path
from replacement_model.interventions.conditions import Conditions, Mode
from replacement_model.interventions.intervention import Intervention
from replacement_model.interventions.observation import Observation
from replacement_model.interventions.result import InterventionResult
from replacement_model.interventions.run import intervene
from replacement_model.model import ReplacementModel
from replacement_model.prompt import PromptLike
from replacement_model.repository import HubName
from replacement_model.source import Source

__all__ = [
    "N_TOKENS",
    "SCHEMA_VERSION",
    "Case",
    "Outcome",
    "Specification",
    "measured_case",
    "outcome",
    "write_specification",
]

SCHEMA_VERSION = 1
MAX_NAME = 500  # letters of a case's name
N_TOKENS = 5  # the most probable, of which a case says the probabilities


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a model said: its most probable next tokens, most probable first, and how it went on.

    Attributes:
        before, after: (token, probability), without and with the interventions.
        text_before, text_after: continuations, None where none was asked for.
    """

    before: tuple[tuple[str, float], ...]
    after: tuple[tuple[str, float], ...]
    text_before: str | None = None
    text_after: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        found: dict[str, Any] = {
            "before": [list(row) for row in self.before],
            "after": [list(row) for row in self.after],
        }
        texts = {"text_before": self.text_before, "text_after": self.text_after}
        return found | {name: text for name, text in texts.items() if text is not None}


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One prompt, what is done to it, and what is expected to come of it.

    Attributes:
        name: for people, unique within a file.
        generate: tokens to go on for.
    """

    name: str
    prompt: PromptLike
    interventions: tuple[Intervention, ...]
    conditions: Conditions
    generate: int
    expected: Outcome

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        prompt = self.prompt.tolist() if isinstance(self.prompt, (np.ndarray, Tensor)) else self.prompt
        return {
            "name": self.name,
            "prompt": prompt,
            "interventions": [one.to_dict() for one in self.interventions],
            "conditions": self.conditions.to_dict(),
            "generate": self.generate,
            "expected": self.expected.to_dict(),
        }


@dataclass(frozen=True, slots=True, eq=False)
class Specification:
    """Cases, and what they were measured with.

    Attributes:
        model, transcoder: names as `ReplacementModel.from_pretrained` takes them.
        hashes: SHA-256 of their files, as `file_hashes` gives them.
    """

    model: str
    transcoder: str | None
    hashes: Mapping[str, str]
    cases: tuple[Case, ...]

    @classmethod
    def of(cls, model: ReplacementModel, cases: Iterable[Case]) -> "Specification":
        """Cases that were measured with `model`."""
        transcoder = None if model.transcoder_source is None else _name(model.transcoder_source)
        name = model.name if model.model_source is None else _name(model.model_source)
        return cls(name, transcoder, file_hashes(model), tuple(cases))


def measured_case(
    model: ReplacementModel,
    name: str,
    prompt: PromptLike,
    interventions: Intervention | Sequence[Intervention],
    mode: Mode | Conditions = "free",
    *,
    generate: int = 0,
    observed: Observation | None = None,
) -> Case:
    """A case whose outcome is measured now.

    Args:
        model: the replacement model.
        name: for people; a long one is cut, and ends in a checksum of all of it.
        prompt, interventions, mode, generate: as for `intervene`.
        observed: what `observe` gave for this prompt, if it is there.
    """
    given = (interventions,) if isinstance(interventions, Intervention) else tuple(interventions)
    conditions = mode if isinstance(mode, Conditions) else Conditions(mode)
    result = intervene(model, prompt if observed is None else observed, given, conditions, generate=generate)
    return Case(_short(name), prompt, given, conditions, generate, outcome(model, result))


def _short(name: str) -> str:
    return name if len(name) <= MAX_NAME else f"{name[: MAX_NAME - 9]} {zlib.crc32(name.encode()):08x}"


def outcome(model: ReplacementModel, result: InterventionResult, n_tokens: int = N_TOKENS) -> Outcome:
    """The part of a result that a specification states."""
    return Outcome(
        before=_top(model, result.probabilities_before[-1], n_tokens),
        after=_top(model, result.probabilities_after[-1], n_tokens),
        text_before=None if result.before is None else result.before.text,
        text_after=None if result.after is None else result.after.text,
    )


def write_specification(path: str | Path, specification: Specification) -> None:
    """Write the file, one line a case: whole or not at all, equal bytes for equal cases.

    Raises:
        InputError: two cases have one name, or the file cannot be written.

    Example:
        case = measured_case(model, "texas", prompt, Intervention.ablate("1/-1/1006"))
        write_specification("interventions.json", Specification.of(model, [case]))
    """
    names = [case.name for case in specification.cases]
    if len(set(names)) < len(names):
        raise InputError("two cases have the same name; give each its own, by which people find it")
    head = {
        "schema_version": SCHEMA_VERSION,
        "model": specification.model,
        "transcoder": specification.transcoder,
        "hashes": dict(specification.hashes),
    }
    lines = ",\n".join(f"  {_json(case.to_dict())}" for case in specification.cases)
    pairs = ",\n".join(f"{_json(key)}: {_json(value)}" for key, value in head.items())
    with atomic_path(Path(path)) as temporary:
        temporary.write_text(f'{{{pairs},\n"cases": [\n{lines}\n]}}\n', encoding="utf-8")


def _top(model: ReplacementModel, probabilities: Float[Tensor, "d_vocab"], n: int) -> tuple[tuple[str, float], ...]:
    order = torch.argsort(probabilities, descending=True, stable=True)[:n]
    return tuple((model.token_string(int(token_id)), float(probabilities[token_id])) for token_id in order)


def _name(source: Source) -> str:
    """A name under which the same files are found again: for the hub, with the commit."""
    name = source.name.removeprefix("pocket/")
    if source.revision is None:
        return name
    where = HubName.parse(name)
    return str(HubName(where.repository, where.folder, source.revision))


def _json(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(f"expected plain values with finite numbers in a case ({error})") from error
