"""Which features an intervention is about: one at some positions, or a named set of them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any

from replacement_model.errors import InputError

__all__ = ["Feature", "FeaturesLike", "Supernode", "as_features", "resolve_positions"]

LARGEST_POSITION = 2**31
FORM = re.compile(r"(\d+)/(\*|-?\d+|-?\d*:-?\d*)/(\d+)")


@dataclass(frozen=True, slots=True)
class Feature:
    """A feature at some positions of the prompt.

    Attributes:
        layer: the layer that it reads.
        feature_idx: its index within the layer.
        positions: one position, a range, or None for all whose features are traced. Negative ones count from the
            prompt's end. A range without an end goes on through generated tokens; so does None.

    Example:
        >>> Feature.parse("2/-1/1234")
        Feature(layer=2, feature_idx=1234, positions=-1)
        >>> Feature(2, 1234, slice(3, None)).text
        '2/3:/1234'
    """

    layer: int
    feature_idx: int
    positions: int | slice | None = None

    @classmethod
    def parse(cls, text: str) -> "Feature":
        """From LAYER/POSITIONS/INDEX, where positions are `5`, `-1`, `3:`, `3:6`, or `*` for all.

        Raises:
            InputError: the text has another form.
        """
        found = FORM.fullmatch(text.strip())
        if found is None:
            raise InputError(
                f"expected a feature as LAYER/POSITIONS/INDEX, such as 2/-1/1234 or 2/3:/1234, got {text!r}"
            )
        layer, positions, feature_idx = found.groups()
        return cls(int(layer), int(feature_idx), _parse_positions(positions))

    @property
    def text(self) -> str:
        """What `parse` reads."""
        if isinstance(self.positions, slice):
            ends = ("" if end is None else str(end) for end in (self.positions.start, self.positions.stop))
            positions = ":".join(ends)
        else:
            positions = "*" if self.positions is None else str(self.positions)
        return f"{self.layer}/{positions}/{self.feature_idx}"

    def at(self, positions: int | slice | None) -> "Feature":
        """The same feature at other positions."""
        return replace(self, positions=positions)


@dataclass(frozen=True, slots=True)
class Supernode:
    """A named set of features that stand for one thing.

    Attributes:
        acts: an activation for each, where they were measured; what a swap sets them to.
    """

    name: str
    features: tuple[Feature, ...]
    acts: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.acts is not None and len(self.acts) != len(self.features):
            raise InputError(
                f"supernode {self.name!r} has {len(self.features)} features and {len(self.acts)} activations; give one "
                "each"
            )

    def at(self, positions: int | slice | None) -> "Supernode":
        """The same features at other positions."""
        return replace(self, features=tuple(feature.at(positions) for feature in self.features))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"name": self.name, "features": [feature.text for feature in self.features], "acts": self.acts}


FeaturesLike = Feature | Supernode | str | tuple[int, int, int] | Sequence[Feature | str | tuple[int, int, int]]
"""A feature, its text, a graph's (layer, pos, feature_idx), several of these, or a supernode."""


def as_features(given: FeaturesLike) -> tuple[Feature, ...]:
    """The features, in order.

    Raises:
        InputError: there is none, or one is nothing that names a feature.
    """
    if isinstance(given, Supernode):
        found = given.features
    elif isinstance(given, (Feature, str)) or _is_place(given):
        found = (_as_feature(given),)
    else:
        found = tuple(_as_feature(one) for one in given)
    if not found:
        raise InputError("an intervention needs at least one feature, the set is empty; name some")
    return found


def resolve_positions(feature: Feature, n_pos: int, n_ignored_pos: int) -> tuple[int, int | None]:
    """First position, and the one after the last (None: no end), in a prompt of `n_pos` tokens.

    Ranges begin after the ignored positions, whose features are not traced.

    Raises:
        InputError: it is outside the prompt, ignored, or a range without positions.
    """
    positions = slice(None) if feature.positions is None else feature.positions
    last = f"positions are {n_ignored_pos} to {n_pos - 1}, or -1 for the last"
    if isinstance(positions, int):
        if not -n_pos <= positions < n_pos:
            raise InputError(
                f"{feature.text}: position {positions} is outside the prompt ({last}); a range such as {n_pos}: "
                "reaches generated tokens"
            )
        start = positions % n_pos
        if start < n_ignored_pos:
            raise InputError(f"{feature.text}: the features of position {start} are not traced ({last})")
        return start, start + 1
    if positions.step not in (None, 1):
        raise InputError(f"{feature.text}: a range of positions has no step; give a feature for each position")
    if any(end is not None and abs(end) > LARGEST_POSITION for end in (positions.start, positions.stop)):
        raise InputError(f"{feature.text}: positions are at most {LARGEST_POSITION} ({last})")
    start, stop = (end + n_pos if end is not None and end < 0 else end for end in (positions.start, positions.stop))
    start = max(n_ignored_pos, start or 0)
    if stop is not None and stop <= start:
        raise InputError(f"{feature.text}: the range holds no position of this prompt ({last})")
    return start, stop


def _parse_positions(text: str) -> int | slice | None:
    if text == "*":
        return None
    if ":" not in text:
        return int(text)
    start, stop = (int(end) if end else None for end in text.split(":"))
    return slice(start, stop)


def _is_place(given: object) -> bool:
    return isinstance(given, tuple) and len(given) == 3 and all(isinstance(part, Integral) for part in given)


def _as_feature(given: object) -> Feature:
    if isinstance(given, Feature):
        return given
    if isinstance(given, str):
        return Feature.parse(given)
    if isinstance(given, tuple) and _is_place(given):
        layer, pos, feature_idx = given
        return Feature(int(layer), int(feature_idx), int(pos))
    raise InputError(f"expected a feature such as Feature(2, 1234, -1) or '2/-1/1234', got {given!r}")
