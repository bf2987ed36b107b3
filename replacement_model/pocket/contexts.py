"""Contexts: the distinct beginnings of prompts. A causal model computes the same at a position whatever follows it."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from replacement_model.pocket.corpus import encode
from replacement_model.pocket.prompts import Prompt

__all__ = ["Contexts", "distinct_contexts", "prefixes"]


@dataclass(frozen=True, slots=True, eq=False)
class Contexts:
    """Which (prompt, position) stand for the distinct prefixes of some prompts; <bos> alone is none.

    Attributes:
        token_ids: all prompts, padded on the right.
        keep: marks one occurrence of each prefix; in this order (prompt, then position) activations are collected.
        frequency: how often each kept prefix occurs, given how often each prompt does.
    """

    token_ids: Int[Tensor, "prompt pos"]
    keep: Bool[Tensor, "prompt pos"]
    frequency: Float[Tensor, "context"]


def prefixes(prompt: Prompt) -> list[tuple[str, ...]]:
    """All beginnings of a prompt, from one word to the whole."""
    return [prompt.words[: length + 1] for length in range(len(prompt.words))]


def distinct_contexts(
    prompts: Sequence[Prompt], weights: Sequence[float], vocabulary: Sequence[str], unseen_by: Sequence[Prompt] = ()
) -> Contexts:
    """The distinct prefixes of `prompts`, in order of first appearance.

    Args:
        prompts: where they are taken from.
        weights: how often each prompt occurs.
        vocabulary: gives token ids.
        unseen_by: prefixes of these prompts are left out.
    """
    seen = {prefix for prompt in unseen_by for prefix in prefixes(prompt)}
    token_ids = encode(prompts, vocabulary)
    keep = torch.zeros(token_ids.shape, dtype=torch.bool)
    frequency: dict[tuple[str, ...], float] = {}
    for row, (prompt, weight) in enumerate(zip(prompts, weights, strict=True)):
        for index, prefix in enumerate(prefixes(prompt)):
            if prefix in seen:
                continue
            keep[row, index + 1] = prefix not in frequency
            frequency[prefix] = frequency.get(prefix, 0.0) + weight
    return Contexts(token_ids, keep, torch.tensor(list(frequency.values())))
