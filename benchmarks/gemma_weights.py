"""Random Gemma 3 models, and transcoders for them in Gemma Scope 2's layout, of the published sizes."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors.torch import save_file
from torch import Tensor
from transformers import Gemma3ForCausalLM, Gemma3TextConfig

from benchmarks.weights import BOS, write_tokenizer

__all__ = ["CASES", "GemmaCase", "read_prompt", "write_case"]

SEED = 0
PROMPT_NAME = "prompt.json"


@dataclass(frozen=True, slots=True)
class GemmaCase:
    """A Gemma 3 text model and a transcoder for it; `l0` features are active at each layer and position."""

    n_layers: int
    d_model: int
    d_mlp: int
    d_transcoder: int
    l0: float
    max_feature_nodes: int | None
    n_pos: int = 16
    n_heads: int = 4
    d_head: int = 256
    d_vocab: int = 262_144
    dtype: str = "float32"  # of the transcoder; the model is in bfloat16
    affine: bool = True

    @property
    def transcoder_dtype(self) -> torch.dtype:
        dtype: torch.dtype = getattr(torch, self.dtype)
        return dtype


CASES = {
    "270m": GemmaCase(18, 640, 2048, d_transcoder=14_560, l0=50, max_feature_nodes=4096),
    "1b": GemmaCase(26, 1152, 6912, d_transcoder=10_080, l0=50, max_feature_nodes=4096),
    # 8 GiB = 18 layers * 9,811 features * 640 * (1 encoder + 18 decoder rows) * 4 bytes; 18 * 15 * 7.4 active
    "8gib": GemmaCase(18, 640, 2048, d_transcoder=9_811, l0=7.4, max_feature_nodes=None),
    "270m-plain": GemmaCase(18, 640, 2048, d_transcoder=14_560, l0=50, max_feature_nodes=1024, affine=False),
    "tiny": GemmaCase(3, 32, 64, d_transcoder=128, l0=6, max_feature_nodes=40, n_pos=6, d_head=8, d_vocab=300),
}


def write_case(case: GemmaCase, folder: Path) -> tuple[int, ...]:
    """Writes `model` and `clt` into `folder`; returns the prompt."""
    rng = torch.Generator().manual_seed(SEED)
    model = _random_gemma(case, rng)
    prompt = (BOS, *torch.randint(10, case.d_vocab, (case.n_pos - 1,), generator=rng).tolist())
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder / "model")
    write_tokenizer(case.d_vocab, folder / "model")
    clt = folder / "clt"
    clt.mkdir()
    for layer, inputs in enumerate(_mlp_inputs(model, prompt)):
        save_file(_clt_layer(case, layer, inputs, rng), clt / f"params_layer_{layer}.safetensors")
    (clt / "config.json").write_text(json.dumps(_clt_config(case)))
    (folder / PROMPT_NAME).write_text(json.dumps(prompt))
    return prompt


def read_prompt(folder: Path) -> tuple[int, ...] | None:
    """The prompt of what `write_case` wrote into `folder`, None if it wrote nothing there."""
    path = folder / PROMPT_NAME
    return tuple(json.loads(path.read_text())) if path.is_file() else None


def _random_gemma(case: GemmaCase, rng: torch.Generator) -> Gemma3ForCausalLM:
    config = Gemma3TextConfig(
        num_hidden_layers=case.n_layers,
        hidden_size=case.d_model,
        intermediate_size=case.d_mlp,
        num_attention_heads=case.n_heads,
        num_key_value_heads=1,
        head_dim=case.d_head,
        vocab_size=case.d_vocab,
        query_pre_attn_scalar=case.d_head,
        sliding_window=512,
        max_position_embeddings=4096,
    )
    model = Gemma3ForCausalLM._from_config(config, dtype=torch.bfloat16).eval()
    for weight in model.parameters():
        weight.requires_grad_(False)
        std = 0.1 if weight.ndim == 1 else weight.shape[-1] ** -0.5
        weight.normal_(std=std, generator=rng)
    return model


def _mlp_inputs(model: Gemma3ForCausalLM, prompt: tuple[int, ...]) -> list[Float[Tensor, "pos d_model"]]:
    """What the MLPs read on the prompt, without <bos>."""
    found: list[Tensor] = []

    def keep(module: torch.nn.Module, arguments: tuple[Tensor], output: Tensor) -> None:
        found.append(output[0, 1:].float())

    handles = [layer.pre_feedforward_layernorm.register_forward_hook(keep) for layer in model.model.layers]
    with torch.no_grad():
        model(torch.tensor([prompt]))
    for handle in handles:
        handle.remove()
    return found


def _clt_layer(case: GemmaCase, layer: int, inputs: Tensor, rng: torch.Generator) -> dict[str, Tensor]:
    width, d_model, dtype = case.d_transcoder, case.d_model, case.transcoder_dtype
    w_enc = (torch.randn(d_model, width, generator=rng) * d_model**-0.5).to(dtype)
    pre_acts = inputs @ w_enc.float()
    threshold = pre_acts.flatten().kthvalue(pre_acts.numel() - round(case.l0 * len(inputs))).values
    w_dec = torch.empty(width, case.n_layers, d_model, dtype=dtype)
    for rows in w_dec.split(1024):
        rows.copy_(torch.randn(rows.shape, generator=rng) * (0.3 * d_model**-0.5))
        rows[:, :layer] = 0
    tensors = {
        "w_enc": w_enc,
        "b_enc": torch.zeros(width, dtype=dtype),
        "threshold": threshold.expand(width).contiguous().to(dtype),
        "w_dec": w_dec,
        "b_dec": torch.randn(d_model, generator=rng).to(dtype) * 0.1,
    }
    if case.affine:
        skip = torch.randn(d_model, d_model, generator=rng) * (0.1 * d_model**-0.5)
        tensors["affine_skip_connection"] = skip.to(dtype)
    return tensors


def _clt_config(case: GemmaCase) -> dict[str, Any]:
    return {
        "hf_hook_point_in": "model.layers.{all}.pre_feedforward_layernorm.output",
        "hf_hook_point_out": "model.layers.{all}.post_feedforward_layernorm.output",
        "width": case.d_transcoder * case.n_layers,
        "model_name": "google/gemma-3-random",
        "architecture": "jump_relu",
        "l0": case.l0,
        "affine_connection": case.affine,
        "type": "clt",
    }
