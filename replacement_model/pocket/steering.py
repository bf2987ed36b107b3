"""Does changing the features of one state to another's change the answer? Chosen on some cities, scored on others."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import Gemma3ForCausalLM

from replacement_model.pocket.accuracy import last_positions
from replacement_model.pocket.circuit_tests import city_position
from replacement_model.pocket.corpus import encode
from replacement_model.pocket.prompts import Prompt, word_of
from replacement_model.pocket.substitution import FeatureEdit, features_edited, next_logits
from replacement_model.pocket.world import World
from replacement_model.transcoder import Transcoder

__all__ = ["StateFeatures", "SteeringChoice", "SteeringResult", "choose_steering", "mean_state_features", "steer"]

N_FEATURES, SOURCE_FACTORS, TARGET_FACTORS = (8, 16), (0.0, -1.0), (1.0, 2.0, 3.0)
PLACES = ("last", "city and last")
TARGETS_PER_PROMPT = 2


@dataclass(frozen=True, slots=True)
class SteeringChoice:
    """How a state is swapped for another.

    Attributes:
        n_features: size of a state's supernode: the features, of all layers, most specific to it.
        source_factor: what the activations of the source state's features are multiplied by.
        target_factor: multiple of their mean activation that the target state's features are set to.
        place: positions that are edited, `last` or `city and last`.
    """

    n_features: int
    source_factor: float
    target_factor: float
    place: str


@dataclass(frozen=True, slots=True)
class SteeringResult:
    """Swaps on prompts that the model answers rightly.

    Attributes:
        choice: made on other cities.
        n_swaps: (prompt, target state) pairs.
        swapped: share answered with the target state's capital.
        changed: share whose answer is no longer the source state's.
    """

    choice: SteeringChoice
    n_swaps: int
    swapped: float
    changed: float


@dataclass(frozen=True, slots=True, eq=False)
class StateFeatures:
    """Mean activation of every feature over the prompts of a state, at the city's and at the last position."""

    at_city: Float[Tensor, "state feature"]
    at_last: Float[Tensor, "state feature"]

    def at(self, place: str) -> Float[Tensor, "state feature"]:
        return self.at_city if place == "city" else self.at_last

    def supernode(self, place: str, n_features: int) -> Float[Tensor, "state feature"]:
        """1 for the features most specific to a state (mean activation above that over all states), else 0."""
        means = self.at(place)
        excess = means - means.mean(0)
        top = excess.topk(n_features, dim=-1).indices
        return torch.zeros_like(means).scatter_(-1, top, 1.0) * (excess > 0)


def mean_state_features(
    model: Gemma3ForCausalLM, transcoder: Transcoder, prompts: Sequence[Prompt], world: World, vocabulary: Sequence[str]
) -> StateFeatures:
    """Means over two-hop `prompts`, which need at least one city of every state; features of all layers in one row."""
    acts: list[Tensor] = []

    def record(_layer: int, values: Tensor) -> Tensor:
        acts.append(values)
        return values

    token_ids, last = encode(prompts, vocabulary), last_positions(prompts)
    with features_edited(model, transcoder, record):
        next_logits(model, token_ids, last)
    rows = torch.arange(len(prompts))
    features = torch.cat(acts, dim=-1)  # [prompt, pos, feature]
    states = _states(prompts, world)
    membership = torch.nn.functional.one_hot(states, len(world.states)).T.to(features.dtype)  # [state, prompt]
    membership = membership / membership.sum(-1, keepdim=True)
    city = torch.tensor([city_position(prompt) for prompt in prompts])
    return StateFeatures(membership @ features[rows, city], membership @ features[rows, last])


def choose_steering(
    model: Gemma3ForCausalLM,
    transcoder: Transcoder,
    features: StateFeatures,
    prompts: Sequence[Prompt],
    world: World,
    vocabulary: Sequence[str],
) -> SteeringChoice:
    """The choice with the highest swap rate on `prompts`, whose cities must not be those that are scored."""
    choices = [SteeringChoice(*values) for values in product(N_FEATURES, SOURCE_FACTORS, TARGET_FACTORS, PLACES)]
    results = [steer(model, transcoder, features, prompts, world, vocabulary, choice) for choice in choices]
    return max(results, key=lambda result: result.swapped).choice


def steer(
    model: Gemma3ForCausalLM,
    transcoder: Transcoder,
    features: StateFeatures,
    prompts: Sequence[Prompt],
    world: World,
    vocabulary: Sequence[str],
    choice: SteeringChoice,
) -> SteeringResult:
    """Swap the state in each of `prompts` (two hops to a capital) for `TARGETS_PER_PROMPT` others."""
    capitals = torch.tensor([vocabulary.index(word_of(state.capital)) for state in world.states])
    right = next_logits(model, encode(prompts, vocabulary), last_positions(prompts)).argmax(-1)
    known = [p for p, answer in zip(prompts, right.tolist(), strict=True) if vocabulary[answer] == p.answer]
    source = _states(known, world)
    swapped, changed = [], []
    for target in _targets(source, len(world.states)):
        edit = _swap(features, known, source, target, choice, transcoder)
        with features_edited(model, transcoder, edit):
            answers = next_logits(model, encode(known, vocabulary), last_positions(known)).argmax(-1)
        swapped.append((answers == capitals[target]).double())
        changed.append((answers != capitals[source]).double())
    return SteeringResult(
        choice, len(known) * len(swapped), torch.cat(swapped).mean().item(), torch.cat(changed).mean().item()
    )


def _swap(
    features: StateFeatures,
    prompts: Sequence[Prompt],
    source: Int[Tensor, "prompt"],
    target: Int[Tensor, "prompt"],
    choice: SteeringChoice,
    transcoder: Transcoder,
) -> FeatureEdit:
    rows = torch.arange(len(prompts))
    places = {"last": last_positions(prompts)}
    if choice.place == "city and last":
        places["city"] = torch.tensor([city_position(prompt) for prompt in prompts])
    widths = [0 if layer is None else layer.d_transcoder for layer in transcoder.layers]
    starts = [sum(widths[:layer]) for layer in range(len(widths))]
    supernodes = {place: features.supernode(place, choice.n_features) for place in places}

    def edit(layer: int, acts: Tensor) -> Tensor:
        columns = slice(starts[layer], starts[layer] + widths[layer])
        acts = acts.clone()
        for place, pos in places.items():
            members, means = supernodes[place][:, columns], features.at(place)[:, columns]
            now = acts[rows, pos]
            now = torch.where(members[source] > 0, choice.source_factor * now, now)
            acts[rows, pos] = torch.where(members[target] > 0, choice.target_factor * means[target], now)
        return acts

    return edit


def _states(prompts: Sequence[Prompt], world: World) -> Int[Tensor, "prompt"]:
    index = {f"state: {state.name}": number for number, state in enumerate(world.states)}
    return torch.tensor([next(index[one] for _, one in prompt.concepts if one in index) for prompt in prompts])


def _targets(source: Int[Tensor, "prompt"], n_states: int) -> Iterator[Int[Tensor, "prompt"]]:
    """Other states, by fixed strides that differ from prompt to prompt."""
    for number in range(TARGETS_PER_PROMPT):
        stride = 1 + (torch.arange(len(source)) * 7 + number * 23) % (n_states - 1)
        yield (source + stride) % n_states
