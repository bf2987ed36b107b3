"""A random Gemma 2 in bfloat16 and per-layer transcoders for it, written a layer at a time.

Entries of the streams are near 1 and attention is peaked, as in a trained model. Every feature of a layer has the same
threshold, set on the prompt.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import yaml
from jaxtyping import Float
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoModelForCausalLM, Gemma2Config, Gemma2ForCausalLM

__all__ = ["SHAPES", "LongShape", "write_long"]

SEED, BOS = 0, 2
DECODER_NORM, SHARPNESS = 0.3, 1.7
SAMPLED_POSITIONS = 128  # the threshold is the quantile there


@dataclass(frozen=True, slots=True)
class LongShape:
    """Sizes of a Gemma 2 and of its transcoders."""

    n_layers: int
    d_model: int
    d_mlp: int
    n_heads: int
    n_kv_heads: int
    d_head: int
    d_vocab: int
    d_transcoder: int


SHAPES = {
    "gemma2_2b": LongShape(26, 2304, 9216, 8, 4, 256, 256_000, 16_384),
    "tiny": LongShape(3, 32, 64, 4, 2, 8, 300, 128),
}


def write_long(shape: LongShape, n_pos: int, l0: float, folder: Path) -> tuple[int, ...]:
    """Writes `model` and `plt` into `folder`, unless they are there for the same settings; returns the prompt.

    Args:
        shape: sizes of the model.
        n_pos: length of the prompt.
        l0: active features at each layer and position.
        folder: where to write.
    """
    rng = torch.Generator().manual_seed(SEED)
    prompt = (BOS, *torch.randint(10, shape.d_vocab, (n_pos - 1,), generator=rng).tolist())
    if not (folder / "model" / "config.json").is_file():
        _write_model(shape, max(n_pos, 8192), folder / "model")
    plt, settings = folder / "plt", json.dumps({"n_pos": n_pos, "l0": l0})
    written = plt / "settings.json"
    if written.is_file() and written.read_text() == settings:
        return prompt
    plt.mkdir(parents=True, exist_ok=True)
    written.unlink(missing_ok=True)
    for layer, inputs in _mlp_inputs(folder / "model", prompt):
        save_file(_transcoder_layer(shape, layer, inputs, l0), plt / f"layer_{layer}.safetensors")
    hooks = {"feature_input_hook": "mlp.hook_in", "feature_output_hook": "hook_mlp_out"}
    config = {"model_kind": "transcoder_set", "model_name": "random-gemma-2", "scan": "random", **hooks}
    (plt / "config.yaml").write_text(yaml.safe_dump(config))
    written.write_text(settings)
    return prompt


def _write_model(shape: LongShape, max_pos: int, folder: Path) -> None:
    """One shard a layer, and one for the embedding."""
    config = Gemma2Config(
        num_hidden_layers=shape.n_layers,
        hidden_size=shape.d_model,
        intermediate_size=shape.d_mlp,
        num_attention_heads=shape.n_heads,
        num_key_value_heads=shape.n_kv_heads,
        head_dim=shape.d_head,
        query_pre_attn_scalar=shape.d_head,
        vocab_size=shape.d_vocab,
        max_position_embeddings=max_pos,
        dtype="bfloat16",
    )
    with torch.device("meta"):
        model = Gemma2ForCausalLM(config)
    folder.mkdir(parents=True)
    shards: dict[str, dict[str, torch.Size]] = {}
    for name, parameter in model.named_parameters():
        shard = name.split(".")[2] if ".layers." in name else "rest"
        shards.setdefault(f"model-{shard}.safetensors", {})[name] = parameter.shape
    for index, (file_name, parameters) in enumerate(shards.items()):
        rng = torch.Generator().manual_seed(SEED + 1 + index)
        tensors = {name: _random(name, size, rng) for name, size in parameters.items()}
        save_file(tensors, folder / file_name, metadata={"format": "pt"})
    weight_map = {name: file_name for file_name, parameters in shards.items() for name in parameters}
    index_file = folder / "model.safetensors.index.json"
    index_file.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    config.architectures = ["Gemma2ForCausalLM"]
    config.save_pretrained(folder)


def _random(name: str, size: torch.Size, rng: torch.Generator) -> Tensor:
    values = torch.empty(size, dtype=torch.bfloat16)
    if values.ndim == 1:
        return values.normal_(std=0.1, generator=rng)  # Gemma adds 1 to its gains
    scale = SHARPNESS if "q_proj" in name or "k_proj" in name else 1.0
    return values.normal_(std=scale * size[1] ** -0.5, generator=rng)


@torch.no_grad()
def _mlp_inputs(folder: Path, prompt: tuple[int, ...]) -> Iterator[tuple[int, Float[Tensor, "pos d_model"]]]:
    """What each layer's MLP reads on the prompt, at some positions."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto", attn_implementation="eager")
    chosen = torch.linspace(1, len(prompt) - 1, min(SAMPLED_POSITIONS, len(prompt) - 1)).round().long()
    inputs: list[Tensor] = []
    for layer in model.model.layers:
        layer.mlp.register_forward_pre_hook(lambda _, arguments: inputs.append(arguments[0][0, chosen].float()))
    model(torch.tensor([prompt]), logits_to_keep=1, use_cache=False)
    del model
    return enumerate(inputs)


def _transcoder_layer(
    shape: LongShape, layer: int, inputs: Float[Tensor, "pos d_model"], l0: float
) -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(SEED - 1 - layer)

    def random(*size: int, std: float) -> Tensor:
        return torch.empty(size, dtype=torch.bfloat16).normal_(std=std, generator=rng)

    W_enc = random(shape.d_transcoder, shape.d_model, std=shape.d_model**-0.5)
    b_enc = random(shape.d_transcoder, std=0.1)
    pre_acts = torch.addmm(b_enc.float(), inputs, W_enc.float().T).flatten()
    threshold = float(pre_acts.kthvalue(pre_acts.numel() - round(l0 * len(inputs))).values)
    return {
        "W_enc": W_enc,
        "b_enc": b_enc,
        "W_dec": random(shape.d_transcoder, shape.d_model, std=DECODER_NORM * shape.d_model**-0.5),
        "b_dec": random(shape.d_model, std=0.1),
        "activation_function.threshold": torch.full((shape.d_transcoder,), threshold),
    }
