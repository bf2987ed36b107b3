"""The corpus: all prompts of the pocket world, and how they become token ids."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch
from jaxtyping import Int
from torch import Tensor

from replacement_model.pocket.arithmetic import addition_prompts
from replacement_model.pocket.entities import entity_prompts
from replacement_model.pocket.geography import geography_prompts
from replacement_model.pocket.language import language_prompts
from replacement_model.pocket.prompts import Prompt
from replacement_model.pocket.refusal import refusal_prompts
from replacement_model.pocket.world import load_world

__all__ = ["BOS", "EOS", "PAD", "SPECIAL_TOKENS", "UNK", "Corpus", "build_corpus", "encode"]

PAD, EOS, BOS, UNK = "<pad>", "<eos>", "<bos>", "<unk>"
SPECIAL_TOKENS = (PAD, EOS, BOS, UNK)
SPLIT_SEED = 7
"""Fixes which prompts are held out; it does not change with the seed of a model, so that seeds can be compared."""


@dataclass(frozen=True, slots=True)
class Corpus:
    """All prompts and the vocabulary, in a fixed order."""

    prompts: tuple[Prompt, ...]
    vocabulary: tuple[str, ...]

    def select(self, split: str) -> tuple[Prompt, ...]:
        """The prompts of one split."""
        return tuple(prompt for prompt in self.prompts if prompt.split == split)


@cache
def build_corpus(split_seed: int = SPLIT_SEED) -> Corpus:
    """Generate every prompt. The same seed always gives the same corpus, in the same order."""
    world = load_world()
    prompts = (
        *geography_prompts(world, split_seed),
        *language_prompts(world, split_seed),
        *addition_prompts(split_seed),
        *entity_prompts(world, split_seed),
        *refusal_prompts(world, split_seed),
    )
    # a dict, not a set: the first occurrence decides a token's id
    words = dict.fromkeys(word for prompt in prompts for word in (*prompt.words, prompt.answer, "."))
    return Corpus(prompts, (*SPECIAL_TOKENS, *words))


def encode(prompts: Sequence[Prompt], vocabulary: Sequence[str]) -> Int[Tensor, "prompt pos"]:
    """Token ids of `<bos> words`, padded on the right with <pad>."""
    token_ids = {word: index for index, word in enumerate(vocabulary)}
    width = 1 + max(len(prompt.words) for prompt in prompts)
    rows = torch.full((len(prompts), width), token_ids[PAD])
    for row, prompt in zip(rows, prompts, strict=True):
        ids = [token_ids[word] for word in (BOS, *prompt.words)]
        row[: len(ids)] = torch.tensor(ids)
    return rows
