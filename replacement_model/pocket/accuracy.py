"""How often the model answers right, task by task."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import Gemma3ForCausalLM

from replacement_model.pocket.corpus import encode
from replacement_model.pocket.prompts import Prompt
from replacement_model.pocket.substitution import next_logits

__all__ = ["TaskAccuracy", "accuracy_by_task", "answer_ids", "answer_logits", "last_positions"]

BATCH_SIZE = 512


@dataclass(frozen=True, slots=True)
class TaskAccuracy:
    """Share of one group's prompts whose most probable next token is the answer, and the answer's mean probability."""

    task: str
    subset: str
    split: str
    n_prompts: int
    accuracy: float
    mean_probability: float


def last_positions(prompts: Sequence[Prompt]) -> Int[Tensor, "prompt"]:
    """Position of each prompt's last word, <bos> being 0."""
    return torch.tensor([len(prompt.words) for prompt in prompts])


def answer_logits(
    model: Gemma3ForCausalLM, prompts: Sequence[Prompt], vocabulary: Sequence[str]
) -> Float[Tensor, "prompt d_vocab"]:
    """Logits of the next token after each prompt."""
    batches = [prompts[start : start + BATCH_SIZE] for start in range(0, len(prompts), BATCH_SIZE)]
    return torch.cat([next_logits(model, encode(batch, vocabulary), last_positions(batch)) for batch in batches])


def answer_ids(prompts: Sequence[Prompt], vocabulary: Sequence[str]) -> Int[Tensor, "prompt"]:
    """Token id of each prompt's answer."""
    token_ids = {word: index for index, word in enumerate(vocabulary)}
    return torch.tensor([token_ids[prompt.answer] for prompt in prompts])


def accuracy_by_task(
    logits: Float[Tensor, "prompt d_vocab"], prompts: Sequence[Prompt], vocabulary: Sequence[str]
) -> tuple[TaskAccuracy, ...]:
    """Accuracy of each (task, subset, split), in order of first appearance."""
    answers = answer_ids(prompts, vocabulary)
    right = (logits.argmax(-1) == answers).double()
    probability = logits.double().softmax(-1)[torch.arange(len(prompts)), answers]
    groups: dict[tuple[str, str, str], list[int]] = {}
    for index, prompt in enumerate(prompts):
        groups.setdefault((prompt.task, prompt.subset, prompt.split), []).append(index)
    return tuple(
        TaskAccuracy(*key, len(rows), right[rows].mean().item(), probability[rows].mean().item())
        for key, rows in groups.items()
    )
