"""Attention patterns and norm denominators held at what they were on the prompt, by hooks on the host's own modules.

Only the prompt's positions are held: generated tokens attend and are normalised as the host does it. Every pass within
these blocks begins with the whole prompt; a pass that continues a cache runs outside of them.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from replacement_model.frozen import FrozenBlock, FrozenModel
from replacement_model.host import NoNorm, Norm

__all__ = ["norms_frozen", "patterns_frozen", "replaced", "stream_of"]


@contextmanager
def patterns_frozen(frozen: FrozenModel) -> Iterator[None]:
    """Within the block, every attention mixes the values that it is given with the prompt's own pattern."""
    with ExitStack() as hooks:
        for block in frozen.blocks:
            hook = block.block.attn.register_forward_hook(_mix(block), with_kwargs=True)
            hooks.callback(hook.remove)
        yield


@contextmanager
def norms_frozen(frozen: FrozenModel) -> Iterator[None]:
    """Within the block, every norm on the residual stream's path divides by what it divided the prompt by."""
    with ExitStack() as hooks:
        for norm, scale in _norms(frozen):
            hook = norm.module.register_forward_hook(_divide(norm, scale), with_kwargs=True)
            hooks.callback(hook.remove)
        yield


def stream_of(args: tuple, kwargs: dict[str, Any]) -> Float[Tensor, "batch pos d_model"]:
    """What a module of the host reads."""
    return args[0] if args else kwargs["hidden_states"]


def replaced(output: Any, first: Tensor) -> Any:
    """A module's output with `first` in place of its (first) tensor."""
    return (first, *output[1:]) if isinstance(output, tuple) else first


def _norms(frozen: FrozenModel) -> Iterator[tuple[Norm, Float[Tensor, "pos 1"]]]:
    for held in frozen.blocks:
        block = held.block
        pairs = (
            (block.attn_norm, held.attn_scale),
            (block.attn_post_norm, held.attn_post_scale),
            (block.mlp_norm, held.mlp_scale),
            (block.mlp_post_norm, held.mlp_post_scale),
        )
        for norm, scale in pairs:
            if norm is not None and scale is not None and not isinstance(norm, NoNorm):
                yield norm, scale
    yield frozen.host.final_norm, frozen.final_scale


def _mix(held: FrozenBlock) -> Any:
    def hook(_module: nn.Module, args: tuple, kwargs: dict[str, Any], output: Any) -> Any:
        out = (output[0] if isinstance(output, tuple) else output).clone()
        n_pos = len(held.attn_scale)
        normed = stream_of(args, kwargs)[:, :n_pos].to(held.attn_scale.device, held.attn_scale.dtype)
        out[:, :n_pos] = held.mix(normed).to(out.device, out.dtype)
        return replaced(output, out)

    return hook


def _divide(norm: Norm, scale: Float[Tensor, "pos 1"]) -> Any:
    def hook(_module: nn.Module, args: tuple, kwargs: dict[str, Any], output: Tensor) -> Tensor:
        held = norm.affine(stream_of(args, kwargs)[:, : len(scale)].to(scale.device, scale.dtype), scale)
        return torch.cat([held.to(output.device, output.dtype), output[:, len(scale) :]], dim=1)

    return hook
