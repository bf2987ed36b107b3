"""Llama 3 and Qwen 3: two RMSNorms a layer; Qwen's query and key norms act only inside the pattern."""

from torch import nn

from replacement_model.host.config import DECODER_CONFIG, check_config
from replacement_model.host.decoder import BlockNorms, decoder_host, rms_norm
from replacement_model.host.pieces import Host

__all__ = ["llama_host"]


def llama_host(model: nn.Module) -> Host:
    """Pieces of `LlamaForCausalLM` and `Qwen3ForCausalLM`."""
    check_config(model.config, DECODER_CONFIG)
    eps = model.config.rms_norm_eps

    def norms(layer: nn.Module) -> BlockNorms:
        attn_norm, mlp_norm = layer.input_layernorm, layer.post_attention_layernorm
        return BlockNorms(attn_norm=rms_norm(attn_norm, eps), mlp_norm=rms_norm(mlp_norm, eps))

    return decoder_host(model, norms, rms_norm(model.model.norm, eps))
