"""The pocket corpus's tables: two hops over cities and states.

Features are found on cities of the training split, strengths are chosen on validation cities, and rates are counted on
test cities, of which the model saw no question for a capital (`held`) or no two hops at all (`strict`).
"""

from collections.abc import Iterator

from circuits.studies.multi_step.table import LAST, Case, Experiment, Swap, Table
from replacement_model.pocket.corpus import SPLIT_SEED, build_corpus
from replacement_model.pocket.geography import RELATIONS, group_cities
from replacement_model.pocket.prompts import Prompt, shuffled, word_of
from replacement_model.pocket.world import State, load_world

__all__ = ["cities_table"]

SPLITS = {"train": "find", "validation": "tune", "test": "score"}
SEED = 7
N_TARGETS = 2
N_FOR_RELATION = 50
CAPITAL = "capital"

FAMOUS = {"Dallas": "California", "Oakland": "Texas", "Seattle": "Florida", "Miami": "Washington"}
"""Held cities that everybody's example is about, and a state to swap theirs for."""

STATE = Experiment(
    "state",
    "state",
    {"first hop": ("city",), "second hop": (LAST,), "both hops": ("city", LAST)},
    compares_methods=True,
    saves_graphs=True,
    claim="first hop",
)
RELATION = Experiment(
    "relation",
    "relation",
    {"second hop": (LAST,), "at the word": ("relation",), "both": ("relation", LAST)},
)


def cities_table() -> Table:
    """Two-hop prompts: the state swapped for another, and the relation that is asked for.

    The state is also swapped in other questions about strict cities (group `other relations`), though its supernodes
    are found and their strengths chosen on questions for capitals alone.
    """
    states = {state.name: state for state in load_world().states}
    prompts = [prompt for prompt in build_corpus().prompts if prompt.task == "two-hop"]
    cases = [*_capitals(prompts, states), *_others(prompts, states)]
    return Table("cities", tuple(cases), (STATE, RELATION), tuple(FAMOUS))


def _capitals(prompts: list[Prompt], states: dict[str, State]) -> Iterator[Case]:
    """Questions for capitals: of common cities to find, of withheld ones to tune and to score."""
    chosen = [prompt for prompt in prompts if _relation(prompt) == CAPITAL]
    for number, prompt in enumerate(chosen):
        yield _case(prompt, states, number, ("state", "relation"))


def _others(prompts: list[Prompt], states: dict[str, State]) -> Iterator[Case]:
    """Questions for other relations: of common cities to find relations on, of strict ones to tune and to score."""
    for relation in (one for one in RELATIONS if one != CAPITAL):
        common = [one for one in prompts if _group(one) == "common" and _relation(one) == relation]
        for prompt in shuffled(common, SEED, f"to find {relation}")[:N_FOR_RELATION]:
            yield _case(prompt, states, 0, ("relation",))
    strict = [prompt for prompt in prompts if _group(prompt) == "strict" and _relation(prompt) != CAPITAL]
    for number, prompt in enumerate(strict):
        yield _case(prompt, states, number, ("state", "relation") if prompt.split == "test" else ("relation",))


def _case(prompt: Prompt, states: dict[str, State], number: int, factors: tuple[str, ...]) -> Case:
    concepts = {name: (pos, concept) for pos, concept in prompt.concepts for name in [concept.split(": ")[0]]}
    state, relation = states[concepts["state"][1].removeprefix("state: ")], _relation(prompt)
    city = next(pos for pos, concept in prompt.concepts if concept == "a city")
    values = {"state": state.name, "relation": relation}
    swaps: list[Swap] = []
    if prompt.split != "train":
        swaps += _state_swaps(prompt, city, state, states, number) if "state" in factors else ()
        swaps += _relation_swaps(state, relation, number) if "relation" in factors else ()
    return Case(
        prompt.text,
        prompt.answer,
        SPLITS[prompt.split],
        prompt.words[city],
        {name: values[name] for name in factors},
        {"city": city + 1, "relation": concepts["relation"][0] + 1},  # <bos> comes first
        tuple(swaps),
        f"capital/{_group(prompt)}" if relation == CAPITAL else "other relations",
    )


def _state_swaps(prompt: Prompt, city: int, state: State, states: dict[str, State], number: int) -> Iterator[Swap]:
    """Other states with another answer, by strides that differ from prompt to prompt.

    The prompt that states the other is about a city that features may be found on.
    """
    names, relation, groups = list(states), _relation(prompt), group_cities(load_world(), SPLIT_SEED)
    own = names.index(state.name)
    for which in range(N_TARGETS if relation == CAPITAL else 1):
        first = 1 + (number * 7 + which * 23) % (len(names) - 1)
        others = (states[names[(own + stride) % len(names)]] for stride in range(first, first + len(names)))
        target = next(one for one in others if one is not state and _answer(one, relation) != _answer(state, relation))
        if which == 0 and prompt.words[city] in FAMOUS and relation == CAPITAL:
            target = states[FAMOUS[prompt.words[city]]]
        common = next(word_of(one) for one in target.cities if groups[one][0] == "common")
        words = (*prompt.words[:city], common, *prompt.words[city + 1 :])
        yield Swap("state", target.name, _answer(target, relation), " ".join(words))


def _relation_swaps(state: State, relation: str, number: int) -> Iterator[Swap]:
    """Another relation with another answer."""
    names = list(RELATIONS)
    own, first = names.index(relation), 1 + number % (len(names) - 1)
    others = (names[(own + stride) % len(names)] for stride in range(first, first + len(names)))
    target = next(name for name in others if _answer(state, name) != _answer(state, relation))
    yield Swap("relation", target, _answer(state, target))


def _answer(state: State, relation: str) -> str:
    return word_of(getattr(state, RELATIONS[relation]))


def _group(prompt: Prompt) -> str:
    return prompt.subset.split()[0]


def _relation(prompt: Prompt) -> str:
    concepts = [concept for _, concept in prompt.concepts]
    return next(one.removeprefix("relation: ") for one in concepts if one.startswith("relation: "))
