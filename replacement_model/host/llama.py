"""Llama 3, Mistral, Qwen 2 and Qwen 3: two RMSNorms a layer; Qwen 3's query and key norms act inside the pattern."""

from torch import nn

from replacement_model.host.config import DECODER_CONFIG, check_config
from replacement_model.host.decoder import decoder_host
from replacement_model.host.pieces import Host

__all__ = ["llama_host"]


def llama_host(model: nn.Module) -> Host:
    """Pieces of `LlamaForCausalLM`, `MistralForCausalLM`, `Qwen2ForCausalLM` and `Qwen3ForCausalLM`."""
    check_config(model.config, DECODER_CONFIG)
    return decoder_host(model)
