"""A table of prompts to study: what each states, what it answers, and what it should answer once something is swapped.

Features are found on cases of the split `find`, strengths are chosen on `tune`, and rates are counted on `score`. For
one factor, no cluster (city, word, number) may be in two of the splits.

A table is a JSON file:

    {"schema_version": 1, "name": "cities",
     "experiments": [{"name": "state", "factor": "state", "hops": {"first hop": ["city"], "second hop": ["last"]}}],
     "cases": [{"prompt": "the capital of the state containing Dallas is", "answer": "Austin", "split": "score",
                "cluster": "Dallas", "factors": {"state": "Texas"}, "places": {"city": "Dallas"},
                "swaps": [{"factor": "state", "to": "California", "answer": "Sacramento"}]}]}

A place is a word of the prompt (its last occurrence; the last token of it counts) or a token's position; `last` is the
last token. `experiments` may be left out: then each factor that is swapped has a hop for each of its places, and one
for all together.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

from replacement_model.errors import InputError

__all__ = ["LAST", "SPLITS", "Case", "Experiment", "Swap", "Table", "load_table", "position_of"]

SCHEMA_VERSION = 1
LAST = "last"
SPLITS = ("find", "tune", "score")
OPERATIONS = ("swap", "suppress", "amplify")


@dataclass(frozen=True, slots=True)
class Swap:
    """One factor's value replaced by another.

    Attributes:
        factor, to: what is swapped, and for what.
        answer: the token that should then be answered.
        prompt: one of as many tokens that states the other value in the same place, where there is one: for comparison,
            all features are set to what they are on it.
    """

    factor: str
    to: str
    answer: str
    prompt: str | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """A prompt.

    Attributes:
        prompt: text.
        answer: the token that follows.
        split: `find`, `tune` or `score`.
        cluster: what prompts that hang together share.
        factors: what it states, such as state -> Texas.
        places: where it does: a word of the prompt, or a position.
        swaps: what may be done to it.
        group: which prompts it is counted with; `capital/held` counts as `capital` too.
    """

    prompt: str
    answer: str
    split: str
    cluster: str
    factors: Mapping[str, str]
    places: Mapping[str, str | int] = field(default_factory=dict)
    swaps: tuple[Swap, ...] = ()
    group: str = "all"

    def at(self, place: str) -> str | int:
        """Where a place is in the prompt, for `position_of`."""
        return LAST if place == LAST else self.places[place]

    def swaps_of(self, factor: str) -> tuple[Swap, ...]:
        return tuple(swap for swap in self.swaps if swap.factor == factor)


@dataclass(frozen=True, slots=True)
class Experiment:
    """What is swapped, and where.

    Attributes:
        name: for tables and files.
        factor: the one that is swapped.
        hops: name -> the places whose features are changed.
        operations: what is done: `swap`, or `suppress` (take the old away) or `amplify` (bring the new) alone.
        compares_methods: whether features chosen by activation, and other sizes, are scored too.
        saves_graphs: whether the graph of every scored prompt is written.
        claim: the hop that the question is about; empty for the one with the most success on the split `tune`.
    """

    name: str
    factor: str
    hops: Mapping[str, tuple[str, ...]]
    operations: tuple[str, ...] = ("swap",)
    compares_methods: bool = False
    saves_graphs: bool = False
    claim: str = ""

    @property
    def places(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(place for places in self.hops.values() for place in places))


@dataclass(frozen=True, slots=True)
class Table:
    """Cases and experiments.

    Attributes:
        shown: clusters of the split `score` that make good examples; the first ones where there is none.

    Raises:
        InputError: a split does not exist or is empty, a factor has too few values, or a cluster is in two splits.
    """

    name: str
    cases: tuple[Case, ...]
    experiments: tuple[Experiment, ...]
    shown: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        names = [one.name for one in self.experiments]
        if len(set(names)) < len(names):
            raise InputError(f"table {self.name}: two experiments have one name among {names}; give each its own")
        for experiment in self.experiments:
            _check(self, experiment)

    def reduced(self, n_find: int, n_others: int) -> "Table":
        """A few cases, for a quick look: so many to tune and to score each factor on, and to find their values on."""
        factors = tuple(dict.fromkeys(one.factor for one in self.experiments))
        asked: list[Case] = []
        for factor, split in product(factors, SPLITS[1:]):
            asked += [case for case in self.select(split, factor)[:n_others] if case not in asked]
        wanted = {(swap.factor, value) for case in asked for swap in case.swaps for value in _values(case, swap)}
        counts = dict.fromkeys(wanted, 0)
        find: list[Case] = []
        for case in (one for one in self.cases if one.split == SPLITS[0]):
            shown = [pair for pair in case.factors.items() if counts.get(pair, n_find) < n_find]
            counts |= {pair: counts[pair] + 1 for pair in shown}
            find += [case] if shown else []
        return replace(self, cases=(*find, *asked))

    def examples(self, factor: str, count: int) -> tuple[Case, ...]:
        """Scored cases to show, one of a cluster: those of `shown` first."""
        cases = self.select("score", factor)
        order = {cluster: place for place, cluster in enumerate(self.shown)}
        first = {case.cluster: case for case in reversed(cases)}  # the first case of each cluster
        ranked = sorted(
            (case for case in cases if case is first[case.cluster]),
            key=lambda case: order.get(case.cluster, len(order)),
        )
        return tuple(ranked[:count])

    def select(self, split: str, factor: str) -> tuple[Case, ...]:
        """The cases of a split that count for a factor: those that state it, and (but for `find`) have it swapped."""
        found = (case for case in self.cases if case.split == split and factor in case.factors)
        return tuple(case for case in found if split == "find" or case.swaps_of(factor))


def position_of(place: str | int, tokens: Sequence[str]) -> int:
    """The position of a place in a prompt's tokens.

    Raises:
        InputError: there is no such word or position.
    """
    if place == LAST:
        return len(tokens) - 1
    if isinstance(place, int):
        if -len(tokens) <= place < len(tokens):
            return place % len(tokens)
        raise InputError(f"position {place} is outside a prompt of {len(tokens)} tokens; count them with its <bos>")
    end = "".join(tokens).rfind(place) + len(place)
    lengths = [len("".join(tokens[: pos + 1])) for pos in range(len(tokens))]
    if not place or place not in "".join(tokens):
        raise InputError(f"expected {place!r} in the prompt, its tokens are {list(tokens)}; name a word as it is there")
    return next(pos for pos, length in enumerate(lengths) if length >= end)


def load_table(path: Path) -> Table:
    """Read a table; see the module.

    Raises:
        InputError: the file cannot be read, or is no table.
    """
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as a table of prompts ({error}); give a JSON file") from error
    try:
        if given["schema_version"] != SCHEMA_VERSION:
            raise InputError(f"{path}: expected schema_version {SCHEMA_VERSION}, got {given['schema_version']}")
        cases = tuple(_case(one) for one in given["cases"])
        experiments = tuple(_experiment(one) for one in given.get("experiments", ())) or tuple(_default(cases))
        return Table(str(given.get("name", path.stem)), cases, experiments, tuple(map(str, given.get("shown", ()))))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError(f"{path} is no table of prompts ({error!r}); see docs/studies.md for its form") from error


def _values(case: Case, swap: Swap) -> tuple[str, str]:
    return case.factors[swap.factor], swap.to


def _case(given: Mapping[str, Any]) -> Case:
    swaps = tuple(
        Swap(factor=str(one["factor"]), to=str(one["to"]), answer=str(one["answer"]), prompt=one.get("prompt"))
        for one in given.get("swaps", ())
    )
    places = given.get("places", {}).items()
    return Case(
        prompt=str(given["prompt"]),
        answer=str(given["answer"]),
        split=str(given["split"]),
        cluster=str(given["cluster"]),
        factors={str(name): str(value) for name, value in given["factors"].items()},
        places={str(name): place if isinstance(place, int) else str(place) for name, place in places},
        swaps=swaps,
        group=str(given.get("group", "all")),
    )


def _experiment(given: Mapping[str, Any]) -> Experiment:
    hops = {str(name): tuple(map(str, places)) for name, places in given["hops"].items()}
    operations = tuple(map(str, given.get("operations", ("swap",))))
    return Experiment(
        name=str(given["name"]),
        factor=str(given["factor"]),
        hops=hops,
        operations=operations,
        compares_methods=bool(given.get("compares_methods", False)),
        saves_graphs=bool(given.get("saves_graphs", False)),
        claim=str(given.get("claim", "")),
    )


def _default(cases: Sequence[Case]) -> Iterator[Experiment]:
    for factor in dict.fromkeys(swap.factor for case in cases for swap in case.swaps):
        having = [case.places for case in cases if factor in case.factors]
        shared = [place for place in having[0] if all(place in places for places in having)] if having else []
        places = (*shared, LAST)
        hops: dict[str, tuple[str, ...]] = {f"at {place}": (place,) for place in places}
        if shared:
            hops["at all places"] = places
        yield Experiment(factor, factor, hops, saves_graphs=True)


def _check(table: Table, experiment: Experiment) -> None:
    factor, where = experiment.factor, f"table {table.name}, {experiment.name}"
    wrong = [case.split for case in table.cases if case.split not in SPLITS]
    if wrong:
        raise InputError(f"{where}: a split is one of {', '.join(SPLITS)}, got {wrong[0]!r}")
    if not experiment.hops or not all(experiment.hops.values()):
        raise InputError(f"{where}: expected places to change features at, got none; name some under hops")
    unknown = [one for one in experiment.operations if one not in OPERATIONS]
    if unknown or "swap" not in experiment.operations:
        got = ", ".join(experiment.operations) or "none"
        raise InputError(f"{where}: expected operations among {', '.join(OPERATIONS)}, with swap, got {got}")
    if experiment.claim and experiment.claim not in experiment.hops:
        known_hops = ", ".join(experiment.hops)
        raise InputError(f"{where}: the claim is about one of its hops ({known_hops}), got {experiment.claim!r}")
    selected = {split: table.select(split, factor) for split in SPLITS}
    empty = [split for split, cases in selected.items() if not cases]
    if empty:
        raise InputError(f"{where}: expected cases of each split, got none to {empty[0]}; add some")
    clusters = [{case.cluster for case in cases} for cases in selected.values()]
    shared = clusters[0] & clusters[1] | clusters[0] & clusters[2] | clusters[1] & clusters[2]
    if shared:
        raise InputError(
            f"{where}: {min(shared)!r} is in two splits; what features or strengths are chosen on must not be scored"
        )
    known = {case.factors[factor] for case in selected["find"]}
    asked = {case.factors[factor] for case in (*selected["tune"], *selected["score"])}
    asked |= {swap.to for split in ("tune", "score") for case in selected[split] for swap in case.swaps_of(factor)}
    if len(known) < 2 or asked - known:
        lacking = ", ".join(sorted(asked - known)[:3]) or "a second value"
        raise InputError(f"{where}: features are found by contrast; add cases of split find for {lacking}")
    for cases in selected.values():
        for case in cases:
            lacking_places = [place for place in experiment.places if place != LAST and place not in case.places]
            if lacking_places:
                raise InputError(f"{where}: {case.prompt!r} does not say where its {lacking_places[0]!r} is; add it")
