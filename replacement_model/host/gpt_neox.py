"""GPT-NeoX (Pythia): attention and MLP in parallel unless the config says not; fused projection, head by head."""

from torch import nn

from replacement_model.host.config import DECODER_CONFIG, check_config, names
from replacement_model.host.decoder import detached
from replacement_model.host.pieces import Block, Host, Norm

__all__ = ["gpt_neox_host"]

# Dropouts, and the rotary embedding of a part of each head, which acts inside the pattern.
GPT_NEOX_CONFIG = DECODER_CONFIG | names(
    "attention_probs_dropout_prob classifier_dropout hidden_dropout hidden_dropout_prob layer_norm_eps "
    "partial_rotary_factor rotary_emb_base rotary_pct use_parallel_residual"
)


def gpt_neox_host(model: nn.Module) -> Host:
    """Pieces of `GPTNeoXForCausalLM`."""
    check_config(model.config, GPT_NEOX_CONFIG)
    decoder, config = model.gpt_neox, model.config
    unembedding = model.get_output_embeddings()  # `embed_out` before transformers 5
    return Host(
        model=model,
        blocks=tuple(
            _block(layer, config.num_attention_heads, config.use_parallel_residual) for layer in decoder.layers
        ),
        final_norm=_layer_norm(decoder.final_layer_norm),
        W_E=decoder.embed_in.weight.detach(),
        W_U=unembedding.weight.detach(),
        b_U=detached(unembedding.bias),
    )


def _layer_norm(module: nn.Module) -> Norm:
    return Norm(module, eps=module.eps, centres=True)


def _block(layer: nn.Module, n_heads: int, parallel: bool) -> Block:
    fused, output = layer.attention.query_key_value, layer.attention.dense
    by_head = fused.weight.detach().unflatten(0, (n_heads, 3, -1))  # [n_heads, 3, d_head, d_model]
    return Block(
        module=layer,
        attn=layer.attention,
        mlp=layer.mlp,
        attn_norm=_layer_norm(layer.input_layernorm),
        mlp_norm=_layer_norm(layer.post_attention_layernorm),
        W_V=by_head[:, 2].flatten(0, 1),
        W_O=output.weight.detach(),
        n_heads=n_heads,
        n_kv_heads=n_heads,
        b_V=None if fused.bias is None else fused.bias.detach().unflatten(0, (n_heads, 3, -1))[:, 2].flatten(),
        b_O=detached(output.bias),
        parallel=parallel,
    )
