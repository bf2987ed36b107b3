"""Geography: cities, states, what is asked of a state, and the two hops that join them.

`held` cities appear in every kind of training prompt except the two hops to a capital; `strict` cities in no two hops
at all.
"""

from collections.abc import Iterator

from replacement_model.pocket.prompts import Prompt, Slot, compose, shuffled, word_of
from replacement_model.pocket.world import State, World

__all__ = ["DEMO_CITIES", "RELATIONS", "geography_prompts", "group_cities", "two_hop_prompt"]

DEMO_CITIES = ("Dallas", "Oakland", "Seattle", "Miami")
RELATIONS = {
    "capital": "capital",
    "abbreviation": "abbreviation",
    "largest city": "largest_city",
    "nickname": "nickname",
    "region": "region",
}
CITY_TEMPLATES = (
    "{city} is a city in the state of",
    "the state containing {city} is",
    "{city} lies in",
)
STATE_TEMPLATES = ("the {relation} of {state} is", "{state} has the {relation}")
TWO_HOP_TEMPLATES = (
    "the {relation} of the state containing {city} is",
    "the state containing {city} has the {relation}",
)
REVERSE_TEMPLATE = "{answer} is the {relation} of"
N_HELD_PER_STATE, N_STRICT_PER_STATE = 3, 1


def group_cities(world: World, seed: int) -> dict[str, tuple[str, str]]:
    """City -> (group, split): group `common`, `held` or `strict`; the split says where its withheld prompts are
    scored.
    """
    groups: dict[str, tuple[str, str]] = {}
    for index, state in enumerate(world.states):
        order = shuffled(state.cities, seed, f"cities of {state.name}")
        order.sort(key=lambda city: city not in DEMO_CITIES)  # stable: the famous examples come first, so they are held
        held, strict = order[:N_HELD_PER_STATE], order[N_HELD_PER_STATE : N_HELD_PER_STATE + N_STRICT_PER_STATE]
        for rank, city in enumerate(held):
            groups[city] = ("held", "test" if (rank + index) % 2 == 0 or city in DEMO_CITIES else "validation")
        for city in strict:
            groups[city] = ("strict", ("validation", "test")[index % 2])
        groups |= dict.fromkeys(order[len(held) + len(strict) :], ("common", "train"))
    return groups


def geography_prompts(world: World, seed: int) -> Iterator[Prompt]:
    """All prompts about states and cities."""
    groups = group_cities(world, seed)
    for state in world.states:
        yield from _facts(state)
        for city in state.cities:
            group, split = groups[city]
            for template in CITY_TEMPLATES:
                yield compose(template, {"city": _city(city, state)}, _state(state), "city to state", "all", "train")
            for relation in RELATIONS:
                withheld = group == "strict" or (group == "held" and relation == "capital")
                subset = f"{group} cities, {'capital' if relation == 'capital' else 'other relations'}"
                for template in TWO_HOP_TEMPLATES:
                    yield two_hop_prompt(state, city, relation, template, subset, split if withheld else "train")
    yield from _reverse_facts(world)


def two_hop_prompt(state: State, city: str, relation: str, template: str, subset: str, split: str) -> Prompt:
    """What `relation` of the state containing `city` is."""
    slots = {"city": _city(city, state), "relation": _relation(relation)}
    return compose(template, slots, _answer(state, relation), "two-hop", subset, split)


def _facts(state: State) -> Iterator[Prompt]:
    for relation in RELATIONS:
        slots = {"state": _state(state), "relation": _relation(relation)}
        for template in STATE_TEMPLATES:
            yield compose(template, slots, _answer(state, relation), "state to relation", "all", "train")


def _reverse_facts(world: World) -> Iterator[Prompt]:
    # A region has many states, and Portland is the largest city of two: such questions have no one answer.
    for relation in (name for name in RELATIONS if name != "region"):
        answers = [getattr(state, RELATIONS[relation]) for state in world.states]
        for state, name in zip(world.states, answers, strict=True):
            if answers.count(name) == 1:
                slots = {"answer": Slot(word_of(name), (f"state: {state.name}",)), "relation": _relation(relation)}
                yield compose(REVERSE_TEMPLATE, slots, _state(state), "relation to state", "all", "train")


def _city(city: str, state: State) -> Slot:
    return Slot(word_of(city), (f"state: {state.name}", f"region: {state.region}", "a city"))


def _state(state: State) -> Slot:
    return Slot(word_of(state.name), (f"state: {state.name}", f"region: {state.region}", "a state"))


def _relation(relation: str) -> Slot:
    return Slot(relation, (f"relation: {relation}",))


def _answer(state: State, relation: str) -> Slot:
    return Slot(word_of(getattr(state, RELATIONS[relation])), (f"answer is a {relation}",))
