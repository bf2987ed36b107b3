"""Loads a local Hugging Face checkpoint and a local transcoder into the peer.

The peer's own loaders know models by their name on the hub, so the configuration is written out here; the weights go
through its conversions. Its loaders of transcoders leave out what its classes can do: the activation `topk` is set from
the config, and a cross-layer transcoder's skips come from `skips/skips.safetensors` (`W_skip`, used x @ W_skip).
"""

from pathlib import Path
from typing import Any

import torch
import yaml
from circuit_tracer.replacement_model.replacement_model_nnsight import NNSightReplacementModel
from circuit_tracer.replacement_model.replacement_model_transformerlens import TransformerLensReplacementModel
from circuit_tracer.transcoder import TranscoderSet
from circuit_tracer.transcoder.activation_functions import TopK
from circuit_tracer.transcoder.cross_layer_transcoder import (
    CrossLayerTranscoder,
    load_clt,
    load_gemma_scope_2_clt,
)
from circuit_tracer.transcoder.single_layer_transcoder import load_transcoder_set
from safetensors.torch import load_file
from transformer_lens import HookedTransformerConfig, loading_from_pretrained
from transformers import AutoConfig, AutoTokenizer, PretrainedConfig

__all__ = ["load", "load_nnsight"]

DEVICE = torch.device("cpu")


def load(model_dir: Path, transcoder_dir: Path, dtype: torch.dtype = torch.float32) -> TransformerLensReplacementModel:
    """The peer's replacement model, everything in memory (no lazy reading of encoders or decoders)."""
    config = _hooked_config(AutoConfig.from_pretrained(model_dir), dtype)
    model = TransformerLensReplacementModel(config, AutoTokenizer.from_pretrained(model_dir), move_to_device=False)
    weights = loading_from_pretrained.get_pretrained_state_dict(str(model_dir), config, dtype=dtype)
    model.load_and_process_state_dict(weights, fold_ln=False, center_writing_weights=False, center_unembed=False)
    if (
        config.model_name == "gemma3_text"
    ):  # else it shares one RoPE table between local and global layers (golden/README.md)
        model._deduplicate_attention_buffers = lambda: None
    model._configure_replacement_model(_transcoders(transcoder_dir, dtype))
    return model


def load_nnsight(model_dir: Path, transcoder_dir: Path) -> NNSightReplacementModel:
    """The peer's replacement model on its other back-end: the Hugging Face model itself, in float32."""
    transcoders = _transcoders(transcoder_dir, torch.float32)
    return NNSightReplacementModel.from_pretrained_and_transcoders(str(model_dir), transcoders, device=DEVICE)


def _transcoders(path: Path, dtype: torch.dtype) -> TranscoderSet | CrossLayerTranscoder:
    common = {"device": DEVICE, "dtype": dtype, "lazy_encoder": False, "lazy_decoder": False}
    if not (path / "config.yaml").is_file():
        return _gemma_scope(path, {**common, "scan": "gemma-scope", "feature_output_hook": "hook_mlp_out"})
    config = yaml.safe_load((path / "config.yaml").read_text())
    common |= {name: config[name] for name in ("feature_input_hook", "feature_output_hook", "scan")}
    if config["model_kind"] == "cross_layer_transcoder":
        return _with_skips(load_clt(str(path), **common), path / "skips" / "skips.safetensors", dtype)
    n_layers = len(list(path.glob("layer_*.safetensors")))
    paths = {layer: str(path / f"layer_{layer}.safetensors") for layer in range(n_layers)}
    loaded = load_transcoder_set(paths, **common)
    if config.get("activation") == "topk":
        for transcoder in loaded:
            transcoder.activation_function = TopK(config["k"])
    return loaded


def _gemma_scope(path: Path, common: dict[str, Any]) -> TranscoderSet | CrossLayerTranscoder:
    """Gemma Scope's own files, for fewer than ten layers; where they read and write is known from the suite."""
    crossing = sorted(path.glob("params_layer_*.safetensors"))
    if crossing:
        paths = dict(enumerate(map(str, crossing))) | {len(crossing): ""}  # its loader stops before the last one
        return load_gemma_scope_2_clt(paths, feature_input_hook="mlp.hook_in", **common)
    suite_1 = sorted(path.glob("layer_*/*/*/params.npz"))
    if suite_1:
        hooks = {"special_load_fn": "gemma-scope", "feature_input_hook": "ln2.hook_normalized"}
        return load_transcoder_set(dict(enumerate(map(str, suite_1))), **hooks, **common)
    suite_2 = sorted(path.glob("layer_*/params.safetensors"))
    hooks = {"special_load_fn": "gemma-scope-2", "feature_input_hook": "mlp.hook_in"}
    return load_transcoder_set(dict(enumerate(map(str, suite_2))), **hooks, **common)


def _with_skips(transcoder: CrossLayerTranscoder, path: Path, dtype: torch.dtype) -> CrossLayerTranscoder:
    if path.is_file():
        transcoder.W_skip = torch.nn.Parameter(load_file(path)["W_skip"].to(dtype))
        transcoder.skip_connection = True
    return transcoder


def _hooked_config(config: PretrainedConfig, dtype: torch.dtype) -> HookedTransformerConfig:
    kind = config.model_type
    fields = _gpt2_fields(config) if kind == "gpt2" else _rotary_fields(config)
    if kind in ("qwen3", "gemma3_text"):
        fields |= {"use_qk_norm": True}
    if kind in ("gemma2", "gemma3_text"):
        fields |= _gemma_fields(config)
    return HookedTransformerConfig(
        **fields,
        model_name=kind,
        original_architecture=config.architectures[0],
        d_vocab=config.vocab_size,
        device=str(DEVICE),
        dtype=dtype,
        init_weights=False,
    )


def _gpt2_fields(config: PretrainedConfig) -> dict[str, Any]:
    return {
        "n_layers": config.n_layer,
        "d_model": config.n_embd,
        "n_ctx": config.n_positions,
        "n_heads": config.n_head,
        "d_head": config.n_embd // config.n_head,
        "d_mlp": config.n_inner or 4 * config.n_embd,
        "eps": config.layer_norm_epsilon,
        "act_fn": config.activation_function,
        "normalization_type": "LN",
    }


def _rotary_fields(config: PretrainedConfig) -> dict[str, Any]:
    return {
        "n_layers": config.num_hidden_layers,
        "d_model": config.hidden_size,
        "n_ctx": config.max_position_embeddings,
        "n_heads": config.num_attention_heads,
        "n_key_value_heads": config.num_key_value_heads,
        "d_head": config.head_dim,
        "d_mlp": config.intermediate_size,
        "eps": config.rms_norm_eps,
        "act_fn": getattr(config, "hidden_activation", None) or config.hidden_act,
        "normalization_type": "RMS",
        "final_rms": True,
        "gated_mlp": True,
        "positional_embedding_type": "rotary",
        "rotary_dim": config.head_dim,
        "rotary_base": config.rope_theta,
        "rotary_adjacent_pairs": False,
        **_rotary_scaling(getattr(config, "rope_scaling", None) or {}),
    }


def _rotary_scaling(scaling: dict[str, Any]) -> dict[str, Any]:
    match scaling.get("rope_type", "default"):
        case "default":
            return {}
        case "linear":  # of global layers alone, as in Gemma 3
            return {"rotary_scaling_factor": scaling["factor"]}
        case "llama3":
            return {
                "use_NTK_by_parts_rope": True,
                "NTK_by_parts_factor": scaling["factor"],
                "NTK_by_parts_low_freq_factor": scaling["low_freq_factor"],
                "NTK_by_parts_high_freq_factor": scaling["high_freq_factor"],
                "NTK_original_ctx_len": scaling["original_max_position_embeddings"],
            }
    raise ValueError(f"expected RoPE scaling default, linear or llama3, got {scaling}")


def _gemma_fields(config: PretrainedConfig) -> dict[str, Any]:
    return {
        "attn_types": ["local" if kind == "sliding_attention" else "global" for kind in config.layer_types],
        "use_local_attn": True,
        "window_size": config.sliding_window,
        "rotary_base_local": getattr(config, "rope_local_base_freq", None),
        "attn_scale": config.query_pre_attn_scalar**0.5,
        "attn_scores_soft_cap": config.attn_logit_softcapping or -1.0,
        "output_logits_soft_cap": config.final_logit_softcapping or -1.0,
        "use_normalization_before_and_after": True,
    }
