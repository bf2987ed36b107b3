"""What is done to features: set, scale, add, ablate, or swap for what they are elsewhere."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor

from replacement_model.errors import InputError
from replacement_model.interventions.features import Feature, FeaturesLike, Supernode, as_features
from replacement_model.prompt import PromptLike

__all__ = ["Intervention", "Measure", "resolve_swaps"]

OPERATIONS = ("set", "scale", "add", "ablate", "swap")

Measure = Callable[[PromptLike, Sequence[Feature]], Sequence[float]]
"""Activations of features, each at one position, on a prompt."""


@dataclass(frozen=True, slots=True, eq=False)
class Intervention:
    """One operation on features. Made by `set`, `scale`, `add`, `ablate` and `swap`.

    Several interventions act in the order in which they are given. "Its activation" is the one that the feature has
    where it is changed: in the edited pass for the modes that recompute, else on the prompt as it is.

    Attributes:
        operation: one of `set`, `scale`, `add`, `ablate`, `swap`.
        features: those that are changed (in a swap: those that go).
        values: one for each feature; what `set` and `add` use, and the factors of `scale`.
        name: for tables; a supernode's name.
        incoming: the features that a swap brings in.
        prompt: where a swap measures the values of `incoming`, each at its own position there or at `read_at`.
        read_at: position in `prompt`.

    Example:
        >>> Intervention.scale("2/-1/1234", -1.0).text
        'scale 2/-1/1234 by -1'
    """

    operation: str
    features: tuple[Feature, ...]
    values: tuple[float, ...]
    name: str | None = None
    incoming: tuple[Feature, ...] = ()
    prompt: PromptLike | None = None
    read_at: int | None = None

    @classmethod
    def set(cls, features: FeaturesLike, value: float | Sequence[float]) -> "Intervention":
        """Give the features this activation, or one each."""
        return cls._simple("set", features, value)

    @classmethod
    def scale(cls, features: FeaturesLike, factor: float | Sequence[float]) -> "Intervention":
        """Multiply their activations."""
        return cls._simple("scale", features, factor)

    @classmethod
    def add(cls, features: FeaturesLike, value: float | Sequence[float]) -> "Intervention":
        """Add to their activations, also where they are inactive."""
        return cls._simple("add", features, value)

    @classmethod
    def ablate(cls, features: FeaturesLike) -> "Intervention":
        """Set them to zero."""
        return cls._simple("ablate", features, 0.0)

    @classmethod
    def swap(
        cls,
        features: FeaturesLike,
        by: FeaturesLike | None = None,
        prompt: PromptLike | None = None,
        read_at: int | None = None,
    ) -> "Intervention":
        """Replace features by others, or by what they are on another prompt.

        Args:
            features: those that go; ablated, unless `by` is None.
            by: those that come, at their own positions; None for `features` themselves.
            prompt: where the values of those that come are measured; None if `by` is a supernode that holds them.
            read_at: position in `prompt`; None for each feature's own, which must then be a single one.

        Raises:
            InputError: there are no values: neither a prompt nor a supernode with activations.
        """
        incoming = as_features(features if by is None else by)
        acts = by.acts if isinstance(by, Supernode) else None
        if (prompt is None) == (acts is None):
            raise InputError("a swap needs values: give the other prompt, or a supernode with acts (not both)")
        outgoing = () if by is None else as_features(features)
        return cls("swap", outgoing, acts or (), _name(features, by), incoming, prompt, read_at)

    @classmethod
    def _simple(cls, operation: str, features: FeaturesLike, value: float | Sequence[float]) -> "Intervention":
        found = as_features(features)
        values = tuple(map(float, value)) if isinstance(value, Sequence) else (float(value),) * len(found)
        if len(values) != len(found):
            raise InputError(
                f"{operation} got {len(values)} values for {len(found)} features; give one value, or one each"
            )
        if not all(abs(number) < float("inf") for number in values):
            raise InputError(f"{operation} needs finite values, got {value}")
        return cls(operation, found, values, _name(features))

    @property
    def text(self) -> str:
        """A line for tables."""
        what = self.name or _listed(self.features or self.incoming)
        if self.operation == "swap":
            return f"swap {what}"
        if self.operation == "ablate":
            return f"ablate {what}"
        word = {"set": "to", "scale": "by", "add": "plus"}[self.operation]
        numbers = sorted(set(self.values))
        shown = f"{numbers[0]:.6g}" if len(numbers) == 1 else f"{numbers[0]:.6g} ... {numbers[-1]:.6g}"
        return f"{self.operation} {what} {word} {shown}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, from which `from_dict` makes it again."""
        prompt = self.prompt.tolist() if isinstance(self.prompt, (np.ndarray, Tensor)) else self.prompt
        return {
            "operation": self.operation,
            "features": [feature.text for feature in self.features],
            "values": list(self.values),
            "name": self.name,
            "incoming": [feature.text for feature in self.incoming],
            "prompt": prompt,
            "read_at": self.read_at,
        }

    @classmethod
    def from_dict(cls, given: dict[str, Any]) -> "Intervention":
        """What `to_dict` gave.

        Raises:
            InputError: it is something else.
        """
        try:
            operation = str(given["operation"])
            features = tuple(map(Feature.parse, given["features"]))
            incoming = tuple(map(Feature.parse, given.get("incoming", ())))
            values = tuple(map(float, given.get("values", ())))
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"expected an intervention with operation, features and values, got {given!r}") from error
        if operation not in OPERATIONS:
            raise InputError(f"operation must be one of {', '.join(OPERATIONS)}, got {operation!r}")
        changed = incoming if operation == "swap" else features
        if not changed or (len(values) != len(changed) and given.get("prompt") is None):
            raise InputError(f"{operation} needs features and one value for each, got {given!r}")
        return cls(operation, features, values, given.get("name"), incoming, given.get("prompt"), given.get("read_at"))


def resolve_swaps(interventions: Sequence[Intervention], measure: Measure) -> tuple[Intervention, ...]:
    """The same without swaps: what goes is ablated, what comes is set to its values."""
    found: list[Intervention] = []
    for one in interventions:
        if one.operation != "swap":
            found.append(one)
            continue
        if one.features:
            found.append(replace(one, operation="ablate", values=(0.0,) * len(one.features), incoming=()))
        read = [feature if one.read_at is None else feature.at(one.read_at) for feature in one.incoming]
        values = one.values if one.prompt is None else tuple(measure(one.prompt, read))
        found.append(replace(one, operation="set", features=one.incoming, values=values, incoming=()))
    return tuple(found)


def _name(features: FeaturesLike, by: FeaturesLike | None = None) -> str | None:
    named = [one.name for one in (features, by) if isinstance(one, Supernode)]
    return " for ".join(named) or None


def _listed(features: Sequence[Feature]) -> str:
    shown = ", ".join(feature.text for feature in features[:3])
    return shown if len(features) <= 3 else f"{shown} and {len(features) - 3} more"
