"""The pocket model's transcoders: where they read and write, what they are trained on, and how."""

from collections.abc import Callable
from dataclasses import replace

import torch
from transformers import Gemma3ForCausalLM

from replacement_model.pocket.contexts import Contexts, distinct_contexts
from replacement_model.pocket.corpus import Corpus
from replacement_model.pocket.language_model import TASK_SHARES
from replacement_model.training import (
    ActivationDataset,
    HookPoint,
    TranscoderTrainingConfig,
    collect_activations,
    train_transcoder,
)
from replacement_model.transcoder import DecoderSite, EncoderTap, Transcoder

__all__ = [
    "CLT_CONFIG",
    "PLT_CONFIG",
    "activation_dataset",
    "hook_points",
    "train_pocket_transcoder",
    "training_contexts",
]

CLT_CONFIG = TranscoderTrainingConfig(d_transcoder=2048, k=8, cross_layer=True, steps=2500, lr=0.015)
PLT_CONFIG = replace(CLT_CONFIG, cross_layer=False)
FREQUENCY_POWER = 0.5
"""Contexts are drawn by frequency to this power: evenly would drown "the capital" in sums, by frequency alone the
reverse.
"""


def hook_points(n_layers: int) -> tuple[tuple[HookPoint, ...], tuple[HookPoint, ...]]:
    """Where encoders read (the MLP's input) and what decoders reconstruct (what is added to the residual stream)."""
    layers = [f"model.layers.{layer}" for layer in range(n_layers)]
    return (
        tuple(HookPoint(f"{layer}.pre_feedforward_layernorm") for layer in layers),
        tuple(HookPoint(f"{layer}.post_feedforward_layernorm") for layer in layers),
    )


def training_contexts(corpus: Corpus) -> Contexts:
    """The distinct prefixes of training prompts: nothing of the validation and test prompts that they do not share."""
    prompts = corpus.select("train")
    counts: dict[str, int] = {}
    for prompt in prompts:
        counts[prompt.task] = counts.get(prompt.task, 0) + 1
    weights = [TASK_SHARES[prompt.task] / counts[prompt.task] for prompt in prompts]
    return distinct_contexts(prompts, weights, corpus.vocabulary)


def activation_dataset(model: Gemma3ForCausalLM, contexts: Contexts) -> ActivationDataset:
    """Inputs and targets of every layer at `contexts`."""
    reads, writes = hook_points(model.config.num_hidden_layers)
    both = collect_activations(model.model, contexts.token_ids, contexts.keep, _inner(*reads, *writes))
    return ActivationDataset(both[: len(reads)], both[len(reads) :], contexts.frequency**FREQUENCY_POWER)


def train_pocket_transcoder(
    data: ActivationDataset,
    config: TranscoderTrainingConfig,
    generator: torch.Generator,
    progress: Callable[[str, int, int], None] | None = None,
) -> Transcoder:
    """Train on `data` from `activation_dataset`; the result is named pocket-clt or pocket-plt."""
    return train_transcoder(
        data,
        config,
        generator,
        encoder_tap=EncoderTap.MLP_IN,
        decoder_site=DecoderSite.POST_NORM,
        name="pocket-clt" if config.cross_layer else "pocket-plt",
        progress=progress,
    )


def _inner(*points: HookPoint) -> list[HookPoint]:
    # The inner model is run, not the causal one: no logits are needed here.
    return [HookPoint(point.module.removeprefix("model."), point.reads_input) for point in points]
