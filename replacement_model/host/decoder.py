"""Pieces of the decoder layout that Llama began and most families share: `model.layers`, `self_attn`, `mlp`."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn
from transformers import PretrainedConfig

from replacement_model.host.pieces import Block, Host, Norm

__all__ = ["BlockNorms", "decoder_host", "detached", "norms_before", "rms_norm"]


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


def norms_before(layer: nn.Module, config: PretrainedConfig) -> BlockNorms:
    """The usual two: one RMSNorm before attention, one before the MLP."""
    eps = config.rms_norm_eps
    return BlockNorms(
        attn_norm=rms_norm(layer.input_layernorm, eps), mlp_norm=rms_norm(layer.post_attention_layernorm, eps)
    )


def detached(tensor: Tensor | None) -> Tensor | None:
    """The weights of a parameter that may be absent."""
    return None if tensor is None else tensor.detach()


def value_projection(attn: nn.Module) -> tuple[Tensor, Tensor | None]:
    """W_V and b_V of a projection of its own."""
    return attn.v_proj.weight.detach(), detached(attn.v_proj.bias)


def decoder_host(
    model: nn.Module,
    norms: Callable[[nn.Module, PretrainedConfig], BlockNorms] = norms_before,
    values: Callable[[nn.Module], tuple[Tensor, Tensor | None]] = value_projection,
    decoder: nn.Module | None = None,
    gain_offset: float = 0.0,
    embed_scale: float = 1.0,
    logit_softcap: float | None = None,
) -> Host:
    """The pieces of a `...ForCausalLM` of this layout.

    Args:
        model: the whole.
        norms: finds the norms of a layer.
        values: W_V and b_V of an attention module.
        decoder: the part with `layers`, `norm` and `embed_tokens`, if it is not `model.model`.
        gain_offset: of the final norm.
        embed_scale: what a token's row is multiplied with.
        logit_softcap: of the unembedding, None where there is none.
    """
    part = model.model if decoder is None else decoder
    config = part.config
    return Host(
        model=model,
        blocks=tuple(_block(layer, norms(layer, config), values, config) for layer in part.layers),
        final_norm=rms_norm(part.norm, config.rms_norm_eps, gain_offset),
        W_E=part.embed_tokens.weight.detach(),
        W_U=model.lm_head.weight.detach(),
        embed_scale=embed_scale,
        b_U=detached(model.lm_head.bias),
        logit_softcap=logit_softcap,
    )


def _block(layer: nn.Module, norms: BlockNorms, values: Callable, config: PretrainedConfig) -> Block:
    W_V, b_V = values(layer.self_attn)
    return Block(
        module=layer,
        attn=layer.self_attn,
        mlp=layer.block_sparse_moe if hasattr(layer, "block_sparse_moe") else layer.mlp,  # Mixtral before 5.x
        attn_norm=norms.attn_norm,
        mlp_norm=norms.mlp_norm,
        W_V=W_V,
        W_O=layer.self_attn.o_proj.weight.detach(),
        n_heads=config.num_attention_heads,
        n_kv_heads=config.num_key_value_heads,
        b_V=b_V,
        b_O=detached(layer.self_attn.o_proj.bias),
        attn_post_norm=norms.attn_post_norm,
        mlp_post_norm=norms.mlp_post_norm,
    )
