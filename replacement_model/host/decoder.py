"""Pieces of the decoder layout that Llama began and most families share: `model.layers`, `self_attn`, `mlp`."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn
from transformers import PretrainedConfig

from replacement_model.host.pieces import Block, Host, Norm

__all__ = ["BlockNorms", "decoder_host", "rms_norm"]


@dataclass(frozen=True, slots=True, eq=False)
class BlockNorms:
    """The norms of one layer, under the names of `Block`."""

    attn_norm: Norm
    mlp_norm: Norm
    attn_post_norm: Norm | None = None
    mlp_post_norm: Norm | None = None


def rms_norm(module: nn.Module, eps: float, gain_offset: float = 0.0) -> Norm:
    """An RMSNorm: no centring, no bias."""
    return Norm(module, eps=eps, gain_offset=gain_offset, centres=False)


def decoder_host(
    model: nn.Module, norms: Callable[[nn.Module], BlockNorms], final_norm: Norm, embed_scale: float = 1.0
) -> Host:
    """The pieces of a `...ForCausalLM` with separate value projections; `norms` finds the norms of a layer."""
    config = model.config
    decoder = model.model
    return Host(
        model=model,
        blocks=tuple(_block(layer, norms(layer), config) for layer in decoder.layers),
        final_norm=final_norm,
        W_E=decoder.embed_tokens.weight.detach(),
        W_U=model.lm_head.weight.detach(),
        embed_scale=embed_scale,
        b_U=None if model.lm_head.bias is None else model.lm_head.bias.detach(),
        logit_softcap=getattr(config, "final_logit_softcapping", None),
    )


def _block(layer: nn.Module, norms: BlockNorms, config: PretrainedConfig) -> Block:
    value, output = layer.self_attn.v_proj, layer.self_attn.o_proj
    return Block(
        module=layer,
        attn=layer.self_attn,
        mlp=layer.mlp,
        attn_norm=norms.attn_norm,
        mlp_norm=norms.mlp_norm,
        W_V=value.weight.detach(),
        W_O=output.weight.detach(),
        n_heads=config.num_attention_heads,
        n_kv_heads=config.num_key_value_heads,
        b_V=None if value.bias is None else value.bias.detach(),
        b_O=None if output.bias is None else output.bias.detach(),
        attn_post_norm=norms.attn_post_norm,
        mlp_post_norm=norms.mlp_post_norm,
    )
