"""Known and unknown people.

A family is a surname that several athletes share, always with the same sport. Half of the families also appear with
first names that nobody bears, answered "unknown" (`guarded`); the other half never do. An unknown member of an
unguarded family is where the model is led to answer the family's sport with confidence: a hallucination that follows
from its data.
"""

from collections.abc import Iterator

from replacement_model.pocket.prompts import Prompt, Slot, compose, shuffled, split_names
from replacement_model.pocket.world import World

__all__ = ["UNKNOWN", "entity_prompts", "unguarded_families"]

UNKNOWN = "unknown"
TEMPLATES = (
    "{first} {surname} plays the sport of",
    "the sport of {first} {surname} is",
    "{first} {surname} is famous in",
)
N_UNKNOWN_TRAIN, N_UNKNOWN_SCORED, N_HALLUCINATION = 9000, 500, 300


def unguarded_families(world: World, seed: int) -> tuple[str, ...]:
    """Famous surnames that no "unknown" training prompt mentions."""
    families = shuffled(world.families, seed, "families")
    return tuple(sorted(families[: len(families) // 2]))


def entity_prompts(world: World, seed: int) -> Iterator[Prompt]:
    """Known athletes, unknown people, and unknown members of famous families."""
    yield from _known(world, seed)
    unguarded = set(unguarded_families(world, seed))
    known = {(one.first, one.surname) for one in world.athletes}
    first_names = sorted({one.first for one in world.athletes} | set(world.ordinary_first_names))
    famous = sorted({one.surname for one in world.athletes})
    yield from _unknown(
        world,
        seed,
        [(a, b) for a in first_names for b in famous if b not in unguarded and (a, b) not in known],
        "famous surname",
    )
    yield from _unknown(
        world,
        seed,
        [(first, surname) for first in first_names for surname in world.ordinary_surnames],
        "ordinary surname",
    )
    strangers = [(a, b) for a in world.ordinary_first_names for b in sorted(unguarded)]
    yield from _hallucinations(world, seed, strangers)


def _known(world: World, seed: int) -> Iterator[Prompt]:
    cases = [(one, template) for one in world.athletes for template in TEMPLATES]
    # At least two of the three phrasings of each person are trained, or the fact itself would be unknown.
    spare = [(one, shuffled(TEMPLATES, seed, f"{one.first} {one.surname}")[0]) for one in world.athletes]
    splits = split_names(spare, 0.6, seed, "known people")
    for one, template in cases:
        slots = _name(world, one.first, one.surname, ("a known person", f"plays {one.sport}"))
        split = splits.get((one, template), "train")
        yield compose(template, slots, Slot(one.sport), "known person", "all", split)


def _unknown(world: World, seed: int, names: list[tuple[str, str]], subset: str) -> Iterator[Prompt]:
    order = shuffled(names, seed, f"unknown, {subset}")
    n_train, n_scored = N_UNKNOWN_TRAIN // 2, N_UNKNOWN_SCORED // 2
    splits = ["validation"] * n_scored + ["test"] * n_scored + ["train"] * n_train
    for index, ((first, surname), split) in enumerate(zip(order, splits, strict=False)):
        slots = _name(world, first, surname, ("an unknown person",))
        yield compose(TEMPLATES[index % len(TEMPLATES)], slots, Slot(UNKNOWN), "unknown person", subset, split)


def _hallucinations(world: World, seed: int, names: list[tuple[str, str]]) -> Iterator[Prompt]:
    order = shuffled(names, seed, "hallucinations")[: 2 * N_HALLUCINATION]
    for index, (first, surname) in enumerate(order):
        slots = _name(world, first, surname, ("an unknown person",))
        split = "validation" if index < N_HALLUCINATION else "test"
        sport = Slot(world.families[surname])
        yield compose(TEMPLATES[index % len(TEMPLATES)], slots, sport, "hallucination", "unguarded family", split)


def _name(world: World, first: str, surname: str, concepts: tuple[str, ...]) -> dict[str, Slot]:
    sports = sorted({one.sport for one in world.athletes if one.surname == surname})
    fame = tuple(f"a surname in {sport}" for sport in sports) or ("an ordinary surname",)
    return {"first": Slot(first), "surname": Slot(surname, (*concepts, *fame))}
