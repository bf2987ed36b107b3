"""A table of prompts about entities: known ones, and unknown ones that the model should decline to answer about.

    {"schema_version": 1,
     "answers": ["tennis", "golf", ...],
     "prompts": [
      {"prompt": "Andy Murray plays the sport of", "entity": "Andy Murray", "kind": "known", "right": ["tennis"],
       "declines": ["unknown"], "group": "Murray", "split": "choose", "subset": "known"},
      ...]}

`right` and `declines` are single tokens of the model (for a longer answer, its first); of an unknown entity only
declining is right, and `right` is left out. `answers`, if given, are the tokens that count as an answer. Prompts of one
`group` (a family, a person) hang together: a group is in one split, and intervals are over groups. What is chosen is
chosen on the split `choose`, and scored on `score`.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from replacement_model import InputError, ReplacementModel
from replacement_model.formats.files import atomic_path
from replacement_model.prompt import Prompt

__all__ = [
    "ENTITY_ROLES",
    "ROLES",
    "EntityPrompt",
    "EntityTable",
    "load_entity_table",
    "position_roles",
    "save_entity_table",
]

SCHEMA_VERSION = 1
KINDS, SPLITS = ("known", "unknown"), ("choose", "score")
ENTITY_ROLES = ("entity", "entity end")
ROLES = ("before", *ENTITY_ROLES, "after", "last")
"""Where a position lies: `entity` is the entity's tokens but for its last, `last` the prompt's last, whatever it is."""


@dataclass(frozen=True, slots=True)
class EntityPrompt:
    """A question about an entity.

    Attributes:
        prompt: text.
        entity: the part of it that names the entity.
        kind: `known` or `unknown`, to the best of what the model was trained on.
        right: right next tokens; for an unknown entity, the same as `declines`.
        declines: next tokens that decline to answer.
        group: prompts of one group are not independent.
        split: `choose` or `score`.
        subset: for tables; the kind where nothing else is given.
    """

    prompt: str
    entity: str
    kind: str
    right: tuple[str, ...]
    declines: tuple[str, ...]
    group: str
    split: str
    subset: str

    def to_dict(self) -> dict[str, Any]:
        """A row of the file."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class EntityTable:
    """Prompts, and the tokens that count as answers (empty: every token that does not decline).

    Raises:
        InputError: a group is in both splits, or a split lacks known or unknown entities.
    """

    prompts: tuple[EntityPrompt, ...]
    answers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        splits: dict[str, str] = {}
        for one in self.prompts:
            if splits.setdefault(one.group, one.split) != one.split:
                raise InputError(
                    f"group {one.group!r} is in both splits; what is chosen on a group must not be scored on it"
                )
        for split in SPLITS:
            for kind in KINDS:
                if not self.select(split, kind):
                    raise InputError(f"expected {kind} entities in the split {split!r}, got none; add some prompts")

    def select(self, split: str, kind: str) -> tuple[EntityPrompt, ...]:
        """The prompts of one split and kind."""
        return tuple(one for one in self.prompts if (one.split, one.kind) == (split, kind))

    def sample(self, n_each: int) -> "EntityTable":
        """At most `n_each` prompts of each split and subset, of as many groups as can be."""
        chosen: list[EntityPrompt] = []
        parts: dict[tuple[str, str], list[EntityPrompt]] = {}
        for one in self.prompts:
            parts.setdefault((one.split, one.subset), []).append(one)
        for part in parts.values():
            turn: dict[str, int] = {}
            rounds = [turn[one.group] for one in part if not turn.update({one.group: turn.get(one.group, 0) + 1})]
            order = sorted(range(len(part)), key=lambda index: (rounds[index], index))
            chosen.extend(part[index] for index in order[:n_each])
        return EntityTable(tuple(chosen), self.answers)

    def to_dict(self) -> dict[str, Any]:
        """What the file holds."""
        rows = [one.to_dict() for one in self.prompts]
        return {"schema_version": SCHEMA_VERSION, "answers": list(self.answers), "prompts": rows}


def load_entity_table(path: str | Path) -> EntityTable:
    """Read a table.

    Raises:
        InputError: the file is not there, no JSON, or not as the module says.
    """
    try:
        given = json.loads(Path(path).read_text(encoding="utf-8"))
        if given["schema_version"] != SCHEMA_VERSION:
            raise InputError(f"{path}: expected schema_version {SCHEMA_VERSION}, got {given['schema_version']!r}")
        return EntityTable(tuple(map(_row, given["prompts"])), tuple(map(str, given.get("answers", ()))))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{path} cannot be read as a table of prompts ({error}); give a JSON file") from error
    except (KeyError, TypeError) as error:
        raise InputError(f"{path}: expected an object with schema_version and prompts ({error!r})") from error


def save_entity_table(table: EntityTable, path: str | Path) -> None:
    """Write a table; the file appears whole or not at all."""
    with atomic_path(Path(path)) as temporary:
        temporary.write_text(json.dumps(table.to_dict(), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def position_roles(model: ReplacementModel, read: Prompt, row: EntityPrompt) -> tuple[str, ...]:
    """One of `ROLES` for every position of a prompt.

    Raises:
        InputError: the entity does not end where a token ends.
    """
    start = row.prompt.index(row.entity)
    n_before = len(model.read_prompt(row.prompt[:start].rstrip()).token_ids) if row.prompt[:start].strip() else None
    first = read.n_ignored_pos if n_before is None else n_before
    through = model.read_prompt(row.prompt[: start + len(row.entity)]).token_ids
    end = len(through) - 1
    if read.token_ids[: end + 1].tolist() != through.tolist() or not first <= end:
        raise InputError(f"the entity {row.entity!r} does not end at a token of {row.prompt!r}; write it out whole")
    n_pos = len(read.token_ids)
    names = ["before"] * first + ["entity"] * (end - first) + ["entity end"] + ["after"] * (n_pos - end - 1)
    names[-1] = "last"
    return tuple(names)


def _row(given: Mapping[str, Any]) -> EntityPrompt:
    try:
        prompt, entity, kind = str(given["prompt"]), str(given["entity"]), str(given["kind"])
        declines = _texts(given["declines"])
        right = declines if kind == "unknown" else _texts(given["right"])
        group, split = str(given["group"]), str(given["split"])
    except (KeyError, TypeError) as error:
        raise InputError(f"expected prompt, entity, kind, right, declines, group and split, got {given!r}") from error
    if kind not in KINDS or split not in SPLITS:
        raise InputError(f"expected a kind of {KINDS} and a split of {SPLITS}, got {kind!r} and {split!r}: {given!r}")
    if not entity or entity not in prompt:
        raise InputError(f"the entity {entity!r} is not in the prompt {prompt!r}")
    if not right or not declines:
        raise InputError(f"expected at least one right and one declining token, got none: {given!r}")
    return EntityPrompt(prompt, entity, kind, right, declines, group, split, str(given.get("subset", kind)))


def _texts(given: Iterable[str] | str) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(map(str, given))
