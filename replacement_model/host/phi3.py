"""Phi 3: queries, keys and values in one projection, one after the other; partial rotary acts inside the pattern."""

from torch import Tensor, nn

from replacement_model.host.config import DECODER_CONFIG, check_config, names
from replacement_model.host.decoder import decoder_host, detached
from replacement_model.host.pieces import Host

__all__ = ["phi3_host"]

# Dropouts, and shapes of the rotary embedding; a bias of the unembedding is read from its module.
PHI3_CONFIG = DECODER_CONFIG | names(
    "embd_pdrop full_attn_mod interpolate_factor lm_head_bias original_max_position_embeddings partial_rotary_factor "
    "resid_pdrop"
)


def phi3_host(model: nn.Module) -> Host:
    """Pieces of `Phi3ForCausalLM`."""
    check_config(model.config, PHI3_CONFIG)
    return decoder_host(model, values=_fused_values)


def _fused_values(attn: nn.Module) -> tuple[Tensor, Tensor | None]:
    fused, n_values = attn.qkv_proj, attn.num_key_value_heads * attn.head_dim
    bias = detached(fused.bias)
    return fused.weight.detach()[-n_values:], None if bias is None else bias[-n_values:]
