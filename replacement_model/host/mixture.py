"""Mixtures of experts laid out like Llama: GPT-OSS, Mixtral and Qwen 3 MoE.

The transcoder replaces router and experts as a whole. GPT-OSS's attention sinks are left out of the pattern, whose rows
therefore sum to less than one.
"""

from torch import nn

from replacement_model.host.config import DECODER_CONFIG, check_config, names
from replacement_model.host.decoder import decoder_host
from replacement_model.host.pieces import Host

__all__ = ["mixture_host"]

# All of them act inside the MLP, the pattern or training.
MIXTURE_CONFIG = DECODER_CONFIG | names(
    "decoder_sparse_step experts_per_token initial_context_length mlp_only_layers moe_intermediate_size norm_topk_prob "
    "num_experts num_experts_per_tok num_local_experts output_router_logits router_aux_loss_coef router_jitter_noise "
    "swiglu_alpha swiglu_limit"
)


def mixture_host(model: nn.Module) -> Host:
    """Pieces of `GptOssForCausalLM`, `MixtralForCausalLM` and `Qwen3MoeForCausalLM`."""
    check_config(model.config, MIXTURE_CONFIG)
    return decoder_host(model)
