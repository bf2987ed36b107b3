"""Running the pocket model with its MLPs zeroed at a position, replaced by a transcoder, or steered by its features.

Attention and norms are live, as in the experiments that test a circuit; the attribution engine, which freezes them, is
checked against the host elsewhere.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import Gemma3ForCausalLM

from replacement_model.transcoder import ActiveFeatures, Transcoder

__all__ = ["FeatureEdit", "features_edited", "mlps_replaced", "mlps_zeroed", "next_logits"]

FeatureEdit = Callable[[int, Float[Tensor, "prompt pos d_transcoder"]], Float[Tensor, "prompt pos d_transcoder"]]
"""(layer, activations) -> the activations to use instead."""


@contextmanager
def mlps_zeroed(model: Gemma3ForCausalLM, pos: Int[Tensor, "prompt"]) -> Iterator[None]:
    """Within the block, no MLP adds anything to the residual stream at `pos` of each prompt."""

    def zero(_layer: int, _inputs: Tensor, output: Tensor) -> Tensor:
        output = output.clone()
        output[torch.arange(len(pos)), pos] = 0
        return output

    with _mlp_outputs(model, zero):
        yield


@contextmanager
def mlps_replaced(model: Gemma3ForCausalLM, transcoder: Transcoder) -> Iterator[None]:
    """Within the block, `transcoder` writes in place of every MLP; at <bos>, whose features are ignored, the MLP stays.

    Args:
        model: the host.
        transcoder: one that reads the MLP's input and writes what is added to the residual stream.
    """
    acts: dict[int, ActiveFeatures] = {}

    def replace(layer: int, inputs: Tensor, output: Tensor) -> Tensor:
        flat = inputs.flatten(0, 1)  # [prompt * pos, d_model]
        acts[layer] = transcoder.active_features(layer, flat)
        written = transcoder.reconstruct(acts, layer, flat).view_as(output)
        return torch.cat([output[:, :1], written[:, 1:]], dim=1)

    with _mlp_outputs(model, replace):
        yield


@contextmanager
def features_edited(model: Gemma3ForCausalLM, transcoder: Transcoder, edit: FeatureEdit) -> Iterator[None]:
    """Within the block, every MLP's output is shifted by what `edit` changes in the features; later layers respond.

    Args:
        model: the host.
        transcoder: as in `mlps_replaced`.
        edit: gets the activations that the (already shifted) model gives, returns those wanted.
    """
    changes: dict[int, ActiveFeatures] = {}

    def shift(layer: int, inputs: Tensor, output: Tensor) -> Tensor:
        acts = transcoder.encode(layer, inputs.flatten(0, 1)).unflatten(0, inputs.shape[:2])
        changes[layer] = ActiveFeatures.of((edit(layer, acts) - acts).flatten(0, 1))
        # The decoder is linear: the change of what it writes needs neither its bias nor its input.
        written = transcoder.reconstruct(changes, layer, inputs.flatten(0, 1)) - transcoder.b_dec[layer]
        return output + written.view_as(output)

    with _mlp_outputs(model, shift):
        yield


@torch.no_grad()
def next_logits(
    model: Gemma3ForCausalLM, token_ids: Int[Tensor, "prompt pos"], last: Int[Tensor, "prompt"]
) -> Float[Tensor, "prompt d_vocab"]:
    """Logits of the token that follows position `last` of each prompt."""
    hidden = model.model(input_ids=token_ids, use_cache=False).last_hidden_state
    return model.lm_head(hidden[torch.arange(len(last)), last])


@contextmanager
def _mlp_outputs(model: Gemma3ForCausalLM, change: Callable[[int, Tensor, Tensor], Tensor]) -> Iterator[None]:
    """Within the block, what each MLP adds to the residual stream is change(layer, MLP input, unchanged output)."""
    inputs: dict[int, Tensor] = {}

    def remember(layer: int) -> Any:
        return lambda _module, _args, output: inputs.__setitem__(layer, output)

    def write(layer: int) -> Any:
        return lambda _module, _args, output: change(layer, inputs[layer], output)

    with ExitStack() as hooks:
        for index, layer in enumerate(model.model.layers):
            hooks.callback(layer.pre_feedforward_layernorm.register_forward_hook(remember(index)).remove)
            hooks.callback(layer.post_feedforward_layernorm.register_forward_hook(write(index)).remove)
        yield
