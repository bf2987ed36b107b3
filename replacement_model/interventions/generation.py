"""Greedy continuations, edited as the prompt is; with and without a cache they are the same."""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from replacement_model.activation import Activation
from replacement_model.errors import InputError
from replacement_model.interventions.conditions import Conditions
from replacement_model.interventions.edited import Run
from replacement_model.interventions.effects import logits_of
from replacement_model.interventions.observation import Observation
from replacement_model.interventions.result import Continuation
from replacement_model.model import ReplacementModel

__all__ = ["check_causal", "continued"]


def continued(observed: Observation, run: Run, conditions: Conditions, n_tokens: int, use_cache: bool) -> Continuation:
    """Go on for `n_tokens`, or until the model ends its text."""
    model = observed.model
    token_ids, logits, cache = observed.capture.token_ids, [], None
    chosen: list[int] = []
    stops = _end_ids(model)
    while len(chosen) < n_tokens and not (chosen and chosen[-1] in stops):
        n_done = len(token_ids) - 1 if cache is not None else 0
        done = run(token_ids[n_done:], n_done, cache, use_cache)
        cache = done.cache
        logits.append(logits_of(observed, done, conditions, [done.resid_final.shape[1] - 1], n_done)[0, 0])
        chosen.append(int(logits[-1].argmax()))
        token_ids = torch.cat([token_ids, token_ids.new_tensor([chosen[-1]])])
    tokens = tuple(map(model.token_string, chosen))
    text = " ".join(tokens) if model.tokenizer is None else str(model.tokenizer.decode(chosen))
    return Continuation(tuple(chosen), tokens, text, _stack(logits, observed))


def check_causal(activations: Mapping[int, Activation]) -> None:
    """Raise if some layer's features are chosen over all positions at once.

    Raises:
        InputError: they are, so that what is generated would change what came before.
    """
    for layer, activation in activations.items():
        if activation.kind == "batchtopk":
            raise InputError(
                f"the features of layer {layer} are chosen over all positions at once (batchtopk), so that each "
                "generated token would change those before it; intervene without generating"
            )


def _end_ids(model: ReplacementModel) -> tuple[int, ...]:
    """Tokens that end a text."""
    config: Any = getattr(model.host.model, "generation_config", None)
    ends = getattr(config, "eos_token_id", None)
    return tuple(ends) if isinstance(ends, (list, tuple)) else () if ends is None else (ends,)


def _stack(rows: list[Float[Tensor, "d_vocab"]], observed: Observation) -> Float[Tensor, "n d_vocab"]:
    return torch.stack(rows) if rows else observed.capture.logits[:0]
