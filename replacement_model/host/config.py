"""Which config attributes an adapter knows: one that it does not know may change the arithmetic, so it is refused."""

from collections.abc import Collection
from typing import Any

from transformers import PretrainedConfig

from replacement_model.errors import UnsupportedModelError

__all__ = ["DECODER_CONFIG", "check_config", "names"]


def names(spaced: str) -> frozenset[str]:
    """The attribute names in a text, separated by spaces."""
    return frozenset(spaced.split())


# Read by the pieces, or acting only inside the MLP, the attention pattern or training, in every decoder like Llama's.
DECODER_CONFIG = names(
    "attention_bias attention_dropout bos_token_id eos_token_id head_dim hidden_act hidden_activation hidden_size "
    "initializer_range intermediate_size layer_types max_position_embeddings max_window_layers mlp_bias "
    "num_attention_heads num_hidden_layers num_key_value_heads pad_token_id pretraining_tp rms_norm_eps "
    "rope_parameters rope_scaling rope_theta sliding_window tie_word_embeddings use_cache use_mrope use_sliding_window "
    "vocab_size"
)
# Set by transformers or by tools that save checkpoints; no effect on the forward pass of a decoder in evaluation mode.
BOOKKEEPING = names(
    "_attn_implementation _attn_implementation_autoset _commit_hash _experts_implementation _name_or_path "
    "_pre_quantization_dtype quantization_config "  # whether the weights can be read is looked at by `place`
    "attn_implementation auto_map cross_attention_hidden_size decoder_start_token_id dtype finetuning_task "
    "forced_bos_token_id forced_eos_token_id is_decoder n_ctx prefix pruned_heads sep_token_id task_specific_params "
    "tf_legacy_loss tokenizer_class torch_dtype torchscript unsloth_fixed unsloth_version use_bfloat16"
)
# Attributes that are fine only at one value, because any other adds a path that the engine does not follow.
REQUIRED: dict[str, tuple[Any, ...]] = {
    "use_bidirectional_attention": (False, None),
    "add_cross_attention": (False, None),
    "is_encoder_decoder": (False, None),
}
# Defaults of generation that transformers 4.57 writes into every config.
GENERATION = names(
    "bad_words_ids begin_suppress_tokens diversity_penalty do_sample early_stopping encoder_no_repeat_ngram_size "
    "exponential_decay_length_penalty length_penalty max_length min_length no_repeat_ngram_size num_beam_groups "
    "num_beams num_return_sequences output_scores remove_invalid_values repetition_penalty return_dict_in_generate "
    "suppress_tokens temperature tie_encoder_decoder top_k top_p typical_p"
)


def check_config(config: PretrainedConfig, known: Collection[str]) -> None:
    """Refuse a config that holds an attribute outside `known`, or a required one at another value.

    Raises:
        UnsupportedModelError: names the attribute and its value.
    """
    values = config.to_dict()
    for name, allowed in REQUIRED.items():
        if values.get(name) not in (*allowed,):
            raise UnsupportedModelError(
                f"{config.model_type}: {name} = {values[name]!r} is not supported, expected {allowed[0]}"
            )
    fine = set(PretrainedConfig().to_dict()) | BOOKKEEPING | GENERATION | set(REQUIRED) | set(known)
    unknown = sorted(set(values) - fine)
    if unknown:
        listed = ", ".join(f"{name} = {values[name]!r}" for name in unknown)
        raise UnsupportedModelError(
            f"{config.model_type}: the adapter does not know the config attribute(s) {listed}; "
            "if they do not change the forward pass, add them to the adapter's known attributes"
        )
