"""GPT-2: LayerNorms with biases, a fused query-key-value projection stored (in, out), learned positions."""

from torch import nn

from replacement_model.host.config import check_config, names
from replacement_model.host.pieces import Block, Host, Norm

__all__ = ["gpt2_host"]

GPT2_CONFIG = names(
    "activation_function attn_pdrop bos_token_id embd_pdrop eos_token_id initializer_range layer_norm_epsilon n_embd "
    "n_head n_inner n_layer n_positions pad_token_id reorder_and_upcast_attn resid_pdrop "
    "scale_attn_by_inverse_layer_idx scale_attn_weights summary_activation summary_first_dropout "
    "summary_proj_to_labels summary_type summary_use_proj tie_word_embeddings use_cache vocab_size"
)


def gpt2_host(model: nn.Module) -> Host:
    """Pieces of `GPT2LMHeadModel`."""
    check_config(model.config, GPT2_CONFIG)
    decoder, config = model.transformer, model.config
    return Host(
        model=model,
        blocks=tuple(_block(layer, config.n_embd, config.n_head) for layer in decoder.h),
        final_norm=_layer_norm(decoder.ln_f),
        W_E=decoder.wte.weight.detach(),
        W_U=model.lm_head.weight.detach(),
        W_pos=decoder.wpe.weight.detach(),
    )


def _layer_norm(module: nn.Module) -> Norm:
    return Norm(module, eps=module.eps, centres=True)


def _block(layer: nn.Module, d_model: int, n_heads: int) -> Block:
    fused, output = layer.attn.c_attn, layer.attn.c_proj
    return Block(
        module=layer,
        attn=layer.attn,
        mlp=layer.mlp,
        attn_norm=_layer_norm(layer.ln_1),
        mlp_norm=_layer_norm(layer.ln_2),
        W_V=fused.weight.detach()[:, 2 * d_model :].T,
        W_O=output.weight.detach().T,
        n_heads=n_heads,
        n_kv_heads=n_heads,
        b_V=fused.bias.detach()[2 * d_model :],
        b_O=output.bias.detach(),
    )
