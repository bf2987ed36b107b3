"""The pocket model's table of entities: prompts of its world that neither model nor transcoders were trained on.

Surnames are in one split each, and so are the first names of unknown people. Beside the corpus's own withheld prompts
there are unknown members of unguarded families with an athlete's first name, so that the first name gives nothing away.
"""

from circuits.studies.hallucination.entity_table import EntityPrompt, EntityTable
from replacement_model.pocket.corpus import SPLIT_SEED, build_corpus
from replacement_model.pocket.entities import TEMPLATES, UNKNOWN, unguarded_families
from replacement_model.pocket.prompts import shuffled
from replacement_model.pocket.world import World, load_world

__all__ = ["pocket_entities"]

TASKS = ("known person", "unknown person", "hallucination")
BORROWED_PER_FAMILY = 6
UNGUARDED = "unguarded family"
BORROWED = f"{UNGUARDED}, athlete's first name"


def pocket_entities() -> EntityTable:
    """The table; always the same."""
    world = load_world()
    surname_split, first_split = _surname_splits(world), _first_name_splits(world)
    rows: list[EntityPrompt] = []
    for prompt in build_corpus().prompts:
        if prompt.task not in TASKS or prompt.split == "train":
            continue
        first, surname = (word for word in prompt.words if word in first_split or word in surname_split)
        if prompt.task == "known person":
            rows.append(_row(prompt.text, first, surname, surname_split[surname], "known", "known", prompt.answer))
        elif first_split[first] == surname_split[surname]:
            subset = UNGUARDED if prompt.task == "hallucination" else prompt.subset
            rows.append(_row(prompt.text, first, surname, surname_split[surname], "unknown", subset, UNKNOWN))
    rows.extend(_borrowed(world, surname_split, first_split))
    return EntityTable(tuple(rows), tuple(sorted({one.sport for one in world.athletes})))


def _row(text: str, first: str, surname: str, split: str, kind: str, subset: str, right: str) -> EntityPrompt:
    return EntityPrompt(text, f"{first} {surname}", kind, (right,), (UNKNOWN,), surname, split, subset)


def _borrowed(world: World, surname_split: dict[str, str], first_split: dict[str, str]) -> list[EntityPrompt]:
    known = {(one.first, one.surname) for one in world.athletes}
    rows: list[EntityPrompt] = []
    for surname in unguarded_families(world, SPLIT_SEED):
        split = surname_split[surname]
        firsts = sorted({one.first for one in world.athletes if first_split[one.first] == split})
        free = [first for first in firsts if (first, surname) not in known]
        for first in shuffled(free, SPLIT_SEED, f"borrowed, {surname}")[:BORROWED_PER_FAMILY]:
            text = TEMPLATES[len(rows) % len(TEMPLATES)].format(first=first, surname=surname)
            rows.append(_row(text, first, surname, split, "unknown", BORROWED, UNKNOWN))
    return rows


def _surname_splits(world: World) -> dict[str, str]:
    unguarded, families = set(unguarded_families(world, SPLIT_SEED)), set(world.families)
    athletes = {one.surname for one in world.athletes}
    strata = (unguarded, families - unguarded, athletes - families, set(world.ordinary_surnames))
    return {name: split for stratum in strata for name, split in _halves(stratum, "surnames").items()}


def _first_name_splits(world: World) -> dict[str, str]:
    athletes = {one.first for one in world.athletes}
    return _halves(athletes, "first names") | _halves(set(world.ordinary_first_names) - athletes, "first names")


def _halves(names: set[str], purpose: str) -> dict[str, str]:
    order = shuffled(sorted(names), SPLIT_SEED, f"study of hallucination, {purpose}")
    return {name: "choose" if index % 2 else "score" for index, name in enumerate(order)}
