"""The pocket model's world: true facts, read from the JSON files in `data/`.

Cities were checked against GeoNames (CC BY 4.0): each lies in its state, and no place of the same name in another state
has a third of its population. Names of state capitals, which recur across the country, are no cities here.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["LANGUAGES", "Athlete", "State", "World", "load_world"]

DATA_DIR = Path(__file__).parent / "data"
LANGUAGES = ("english", "french", "spanish", "german")


@dataclass(frozen=True, slots=True)
class State:
    """One of the 50 US states; `region` is the Census Bureau's."""

    name: str
    abbreviation: str
    capital: str
    largest_city: str
    nickname: str
    region: str
    cities: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Athlete:
    """A real athlete and the sport that he or she is known for."""

    first: str
    surname: str
    sport: str


@dataclass(frozen=True, slots=True)
class World:
    """All facts.

    Attributes:
        states: in alphabetical order.
        athletes: known people.
        ordinary_first_names, ordinary_surnames: names of nobody known; no athlete bears one.
        antonyms: per pair, the two words in each language: `antonyms[i]["french"] == ("petit", "grand")`.
        harmful, harmless: things that one may ask how to make.
    """

    states: tuple[State, ...]
    athletes: tuple[Athlete, ...]
    ordinary_first_names: tuple[str, ...]
    ordinary_surnames: tuple[str, ...]
    antonyms: tuple[dict[str, tuple[str, str]], ...]
    harmful: tuple[str, ...]
    harmless: tuple[str, ...]

    @property
    def families(self) -> dict[str, str]:
        """Surnames borne by two athletes or more, with their sport (within a family it is always the same)."""
        surnames = [athlete.surname for athlete in self.athletes]
        return {one.surname: one.sport for one in self.athletes if surnames.count(one.surname) > 1}


def load_world() -> World:
    """Read the world from the package's data files."""
    people, requests = _read("people"), _read("requests")
    athletes = [_athlete(name, sport) for sport, names in people["athletes"].items() for name in names]
    return World(
        states=tuple(State(**fields | {"cities": tuple(fields["cities"])}) for fields in _read("states")),
        athletes=tuple(athletes),
        ordinary_first_names=tuple(people["ordinary_first_names"]),
        ordinary_surnames=tuple(people["ordinary_surnames"]),
        antonyms=tuple({language: tuple(pair[language]) for language in LANGUAGES} for pair in _read("antonyms")),
        harmful=tuple(requests["harmful"]),
        harmless=tuple(requests["harmless"]),
    )


def _athlete(name: str, sport: str) -> Athlete:
    first, surname = name.split(" ")
    return Athlete(first, surname, sport)


def _read(name: str) -> Any:
    return json.loads((DATA_DIR / f"{name}.json").read_text(encoding="utf-8"))
