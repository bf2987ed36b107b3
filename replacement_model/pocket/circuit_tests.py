"""Do the MLPs compute the first hop? Held-out accuracy cannot tell; zeroing MLPs and the embeddings' neighbours can."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import Gemma3ForCausalLM

from replacement_model.pocket.accuracy import answer_ids, last_positions
from replacement_model.pocket.corpus import encode
from replacement_model.pocket.prompts import Prompt, word_of
from replacement_model.pocket.substitution import mlps_zeroed, next_logits
from replacement_model.pocket.world import World

__all__ = ["CircuitTests", "city_position", "run_circuit_tests"]


@dataclass(frozen=True, slots=True)
class CircuitTests:
    """Two-hop accuracy with MLPs zeroed, and what the input embeddings already know.

    Attributes:
        n_prompts: two-hop prompts.
        accuracy: of the intact model.
        accuracy_without_city_mlps: with all MLPs zeroed at the city's position.
        accuracy_without_last_mlps: with all MLPs zeroed at the last position.
        nearest_embedding: share of cities whose nearest other city embedding (cosine) is of the same state.
        nearest_embedding_chance: the same for a random other city.
    """

    n_prompts: int
    accuracy: float
    accuracy_without_city_mlps: float
    accuracy_without_last_mlps: float
    nearest_embedding: float
    nearest_embedding_chance: float


def run_circuit_tests(
    model: Gemma3ForCausalLM, prompts: Sequence[Prompt], world: World, vocabulary: Sequence[str]
) -> CircuitTests:
    """Run the tests on two-hop `prompts`."""
    token_ids, last = encode(prompts, vocabulary), last_positions(prompts)
    answers = answer_ids(prompts, vocabulary)
    city = torch.tensor([city_position(prompt) for prompt in prompts])

    def accuracy() -> float:
        return (next_logits(model, token_ids, last).argmax(-1) == answers).double().mean().item()

    intact = accuracy()
    with mlps_zeroed(model, city):
        without_city = accuracy()
    with mlps_zeroed(model, last):
        without_last = accuracy()
    nearest, chance = _nearest_embedding(model.model.embed_tokens.weight.detach(), world, vocabulary)
    return CircuitTests(len(prompts), intact, without_city, without_last, nearest, chance)


def city_position(prompt: Prompt) -> int:
    """Position of the city in a prompt, <bos> being 0."""
    return next(index for index, concept in prompt.concepts if concept == "a city") + 1


def _nearest_embedding(
    embeddings: Float[Tensor, "d_vocab d_model"], world: World, vocabulary: Sequence[str]
) -> tuple[float, float]:
    cities = [(word_of(city), index) for index, state in enumerate(world.states) for city in state.cities]
    rows = torch.tensor([vocabulary.index(city) for city, _ in cities])
    states: Int[Tensor, "city"] = torch.tensor([state for _, state in cities])
    directions = torch.nn.functional.normalize(embeddings[rows].double(), dim=-1)
    cosine = (directions @ directions.T).fill_diagonal_(-2.0)  # [city, city]
    same_state = (states[:, None] == states).double()
    nearest = same_state[torch.arange(len(cities)), cosine.argmax(-1)].mean().item()
    chance = ((same_state.sum() - len(cities)) / (len(cities) * (len(cities) - 1))).item()
    return nearest, chance
