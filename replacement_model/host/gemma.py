"""Gemma 2 and Gemma 3 (text): four RMSNorms a layer with gain 1 + weight, embeddings times sqrt(d_model), softcaps."""

from torch import nn
from transformers import PretrainedConfig

from replacement_model.host.config import DECODER_CONFIG, check_config, names
from replacement_model.host.decoder import BlockNorms, decoder_host, rms_norm
from replacement_model.host.pieces import Host

__all__ = ["gemma_host", "gemma_multimodal_host"]

# Attention softcaps, scalings, layer kinds and local RoPE act only inside the pattern; the final softcap is in Host.
GEMMA_CONFIG = DECODER_CONFIG | names(
    "_sliding_window_pattern attn_logit_softcapping cache_implementation final_logit_softcapping "
    "query_pre_attn_scalar rope_local_base_freq sliding_window_pattern"
)
# Around the text model; images are never given, so that nothing of it runs.
MULTIMODAL_CONFIG = names(
    "boi_token_id boi_token_index bos_token_id eoi_token_id eoi_token_index eos_token_id image_token_id "
    "image_token_index initializer_range mm_tokens_per_image pad_token_id text_config tie_word_embeddings vision_config"
)


def gemma_host(model: nn.Module) -> Host:
    """Pieces of `Gemma2ForCausalLM` and `Gemma3ForCausalLM`."""
    check_config(model.config, GEMMA_CONFIG)
    return _host(model, model.model, model.config.final_logit_softcapping)


def gemma_multimodal_host(model: nn.Module) -> Host:
    """Pieces of the text part of `Gemma3ForConditionalGeneration`, which caps no logits, whatever its config says."""
    check_config(model.config, MULTIMODAL_CONFIG)
    check_config(model.config.text_config, GEMMA_CONFIG)
    return _host(model, model.model.language_model, None)


def _host(model: nn.Module, decoder: nn.Module, logit_softcap: float | None) -> Host:
    return decoder_host(
        model,
        norms=_norms,
        decoder=decoder,
        gain_offset=1.0,
        embed_scale=_embed_scale(decoder),
        logit_softcap=logit_softcap,
    )


def _norms(layer: nn.Module, config: PretrainedConfig) -> BlockNorms:
    eps = config.rms_norm_eps
    return BlockNorms(
        attn_norm=rms_norm(layer.input_layernorm, eps, gain_offset=1.0),
        attn_post_norm=rms_norm(layer.post_attention_layernorm, eps, gain_offset=1.0),
        mlp_norm=rms_norm(layer.pre_feedforward_layernorm, eps, gain_offset=1.0),
        mlp_post_norm=rms_norm(layer.post_feedforward_layernorm, eps, gain_offset=1.0),
    )


def _embed_scale(decoder: nn.Module) -> float:
    """sqrt(d_model), rounded as the model rounds it: a model cast to float64 keeps a float32 root."""
    tokens = decoder.embed_tokens
    scale = getattr(tokens, "embed_scale", None)
    # Gemma 2 before transformers 5 scales outside of the module; a model without weights holds no value to read.
    if scale is None or scale.is_meta:
        return float(decoder.config.hidden_size**0.5)
    return float(scale.to(tokens.weight.dtype))
