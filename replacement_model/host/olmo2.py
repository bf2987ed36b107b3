"""OLMo 2: norms after attention and MLP only, both of which read the residual stream itself."""

from torch import nn
from transformers import PretrainedConfig

from replacement_model.host.config import DECODER_CONFIG, check_config
from replacement_model.host.decoder import BlockNorms, decoder_host, rms_norm
from replacement_model.host.pieces import Host, NoNorm

__all__ = ["olmo2_host"]


def olmo2_host(model: nn.Module) -> Host:
    """Pieces of `Olmo2ForCausalLM`; its query and key norms act inside the pattern."""
    check_config(model.config, DECODER_CONFIG)
    return decoder_host(model, _norms_after)


def _norms_after(layer: nn.Module, config: PretrainedConfig) -> BlockNorms:
    eps, d_model = config.rms_norm_eps, config.hidden_size
    return BlockNorms(
        attn_norm=NoNorm(layer.self_attn, d_model=d_model),
        attn_post_norm=rms_norm(layer.post_attention_layernorm, eps),
        mlp_norm=NoNorm(layer.mlp, d_model=d_model),
        mlp_post_norm=rms_norm(layer.post_feedforward_layernorm, eps),
    )
