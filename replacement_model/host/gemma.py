"""Gemma 2 and Gemma 3 (text): four RMSNorms a layer with gain 1 + weight, embeddings times sqrt(d_model), softcaps."""

from torch import nn

from replacement_model.host.config import DECODER_CONFIG, check_config, names
from replacement_model.host.decoder import BlockNorms, decoder_host, rms_norm
from replacement_model.host.pieces import Host

__all__ = ["gemma_host"]

# Attention softcaps, scalings, layer kinds and local RoPE act only inside the pattern; the final softcap is in Host.
GEMMA_CONFIG = DECODER_CONFIG | names(
    "_sliding_window_pattern attn_logit_softcapping cache_implementation final_logit_softcapping "
    "query_pre_attn_scalar rope_local_base_freq sliding_window_pattern"
)


def gemma_host(model: nn.Module) -> Host:
    """Pieces of `Gemma2ForCausalLM` and `Gemma3ForCausalLM`."""
    check_config(model.config, GEMMA_CONFIG)
    eps = model.config.rms_norm_eps

    def norms(layer: nn.Module) -> BlockNorms:
        return BlockNorms(
            attn_norm=rms_norm(layer.input_layernorm, eps, gain_offset=1.0),
            attn_post_norm=rms_norm(layer.post_attention_layernorm, eps, gain_offset=1.0),
            mlp_norm=rms_norm(layer.pre_feedforward_layernorm, eps, gain_offset=1.0),
            mlp_post_norm=rms_norm(layer.post_feedforward_layernorm, eps, gain_offset=1.0),
        )

    final_norm = rms_norm(model.model.norm, eps, gain_offset=1.0)
    return decoder_host(model, norms, final_norm, embed_scale=_embed_scale(model))


def _embed_scale(model: nn.Module) -> float:
    """sqrt(d_model), rounded as the model rounds it: a model cast to float64 keeps a float32 root."""
    tokens = model.model.embed_tokens
    scale = getattr(tokens, "embed_scale", None)
    # Gemma 2 before transformers 5 scales outside of the module; a model without weights holds no value to read.
    if scale is None or scale.is_meta:
        return float(model.config.hidden_size**0.5)
    return float(scale.to(tokens.weight.dtype))
