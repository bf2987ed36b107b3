"""What is known of one feature, as a value and as the JSON object that feature viewers read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from replacement_model.errors import WeightsError

__all__ = ["Example", "FeatureEvidence", "Neighbour", "Quantile", "cantor_pair"]


@dataclass(frozen=True, slots=True)
class Example:
    """A context in which the feature is active.

    Attributes:
        tokens: their texts, exactly as the tokenizer gives them.
        acts: the feature's activation at each token.
        peak: position of the activation for which the example was chosen.
    """

    tokens: tuple[str, ...]
    acts: tuple[float, ...]
    peak: int


@dataclass(frozen=True, slots=True)
class Quantile:
    """Examples from one range of activations, strongest first."""

    name: str
    examples: tuple[Example, ...]


@dataclass(frozen=True, slots=True)
class Neighbour:
    """Another feature, and the cosine between what the two write."""

    layer: int
    feature_idx: int
    cosine: float


@dataclass(frozen=True, slots=True)
class FeatureEvidence:
    """Where a feature is active and what it does; fields that a file does not have are empty or None.

    Attributes:
        quantiles: examples, the strongest first, then samples of weaker ones.
        top_logits, bottom_logits: tokens that it raises and lowers most, furthest first.
        top_effects, bottom_effects: by how much, per unit of activation, up to the denominators of norms.
        act_min, act_max: smallest and largest activation.
        histogram: number of active positions in each bin.
        histogram_edges: of the bins, one more than these; empty for equal widths from `act_min` to `act_max`.
        frequency: share of positions at which it is active.
        nearest: the features that write most alike, of its own layer and of others.
    """

    layer: int
    feature_idx: int
    quantiles: tuple[Quantile, ...] = ()
    top_logits: tuple[str, ...] = ()
    bottom_logits: tuple[str, ...] = ()
    top_effects: tuple[float, ...] = ()
    bottom_effects: tuple[float, ...] = ()
    act_min: float | None = None
    act_max: float | None = None
    histogram: tuple[int, ...] = ()
    histogram_edges: tuple[float, ...] = ()
    frequency: float | None = None
    nearest: tuple[Neighbour, ...] = ()

    @property
    def examples(self) -> tuple[Example, ...]:
        """The examples of all ranges."""
        return tuple(example for quantile in self.quantiles for example in quantile.examples)

    def to_json(self) -> dict[str, Any]:
        """The feature file of the front-ends; `layer`, `feature`, `*_effects`, `*_edges` and `nearest` are our own."""
        return {
            "index": cantor_pair(self.layer, self.feature_idx),
            "layer": self.layer,
            "feature": self.feature_idx,
            "examples_quantiles": [_quantile_json(quantile) for quantile in self.quantiles],
            "top_logits": list(self.top_logits),
            "bottom_logits": list(self.bottom_logits),
            "top_logit_effects": list(self.top_effects),
            "bottom_logit_effects": list(self.bottom_effects),
            "act_min": self.act_min,
            "act_max": self.act_max,
            "histogram": list(self.histogram),
            "histogram_edges": list(self.histogram_edges),
            "activation_frequency": self.frequency,
            "nearest": [[other.layer, other.feature_idx, other.cosine] for other in self.nearest],
        }

    @classmethod
    def from_json(cls, layer: int, feature_idx: int, value: Mapping[str, Any]) -> "FeatureEvidence":
        """What a feature file says, ours or that of another program.

        Raises:
            WeightsError: it is no feature file.
        """
        try:
            return _read(layer, feature_idx, value)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise WeightsError(
                f"the record of feature {layer}/{feature_idx} is not a feature file ({error!r}); download it again"
            ) from error


def cantor_pair(layer: int, feature_idx: int) -> int:
    """One integer for a layer and a feature's index, as the front-ends compute it."""
    return (layer + feature_idx) * (layer + feature_idx + 1) // 2 + feature_idx


def _quantile_json(quantile: Quantile) -> dict[str, Any]:
    examples = [
        {
            "tokens": list(example.tokens),
            "tokens_acts_list": list(example.acts),
            "train_token_ind": example.peak,
            "is_repeated_datapoint": False,
        }
        for example in quantile.examples
    ]
    return {"quantile_name": quantile.name, "examples": examples}


def _read(layer: int, feature_idx: int, value: Mapping[str, Any]) -> FeatureEvidence:
    quantiles = value.get("examples_quantiles") or ()
    return FeatureEvidence(
        layer=layer,
        feature_idx=feature_idx,
        quantiles=tuple(
            Quantile(str(one["quantile_name"]), tuple(_example(example) for example in one["examples"]))
            for one in quantiles
        ),
        top_logits=_texts(value.get("top_logits")),
        bottom_logits=_texts(value.get("bottom_logits")),
        top_effects=_floats(value.get("top_logit_effects")),
        bottom_effects=_floats(value.get("bottom_logit_effects")),
        act_min=_number(value.get("act_min")),
        act_max=_number(value.get("act_max")),
        histogram=tuple(int(count) for count in value.get("histogram") or ()),
        histogram_edges=_floats(value.get("histogram_edges")),
        frequency=_number(value.get("activation_frequency")),
        nearest=tuple(Neighbour(int(a), int(b), float(c)) for a, b, c in value.get("nearest") or ()),
    )


def _example(value: Mapping[str, Any]) -> Example:
    tokens, acts = tuple(str(token) for token in value["tokens"]), _floats(value["tokens_acts_list"])
    if len(tokens) != len(acts):
        raise ValueError(f"{len(tokens)} tokens with {len(acts)} activations")
    strongest = max(range(len(acts)), key=acts.__getitem__, default=0)
    given = value.get("train_token_ind")
    return Example(tokens, acts, strongest if given is None else int(given))


def _texts(values: Sequence[Any] | None) -> tuple[str, ...]:
    """Tokens, given alone or in pairs with a number."""
    return tuple(str(one[0] if isinstance(one, list) else one) for one in values or ())


def _floats(values: Sequence[Any] | None) -> tuple[float, ...]:
    return tuple(float(one) for one in values or ())


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
