"""The reference model and its transcoders: random, seeded, written in layouts that both tools load.

Scales are chosen so that the graph is not trivial: attention is peaked, gains differ from one, the softmax has a few
likely tokens, and the transcoder leaves errors of the size of the MLP's output. Speed does not depend on training, only
on shapes and on which features are active.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import yaml
from jaxtyping import Float
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks.flops import Sites
from benchmarks.shapes import ModelShape

__all__ = ["BOS", "Reference", "write_reference", "write_tokenizer"]

Streams = list[Float[Tensor, "pos d_model"]]  # one a layer

SEED = 0
SPECIAL_TOKENS = ("<pad>", "<eos>", "<bos>", "<unk>")
BOS = SPECIAL_TOKENS.index("<bos>")
DECODER_NORM = 0.45
BIAS_STD = 0.1
THRESHOLD_WINDOW = 5  # ranks around the wanted one in which the widest gap is looked for


@dataclass(frozen=True, slots=True)
class Reference:
    """A prompt (<bos> first), the model's folder, and by kind each transcoder's folder and its active features."""

    token_ids: tuple[int, ...]
    model: Path
    transcoders: dict[str, Path]
    active: dict[str, Sites]


@dataclass(frozen=True, slots=True)
class Encoder:
    """One layer's encoder, with the same threshold for every feature."""

    W_enc: Float[Tensor, "d_transcoder d_model"]
    b_enc: Float[Tensor, "d_transcoder"]
    threshold: float


def write_reference(shape: ModelShape, kinds: tuple[str, ...], folder: Path) -> Reference:
    """Writes the model, and one transcoder for each of `kinds` (`clt`, `plt`), into `folder`."""
    generator = torch.Generator().manual_seed(SEED)
    model = _random_llama(shape, generator)
    prompt = torch.randint(len(SPECIAL_TOKENS), shape.d_vocab, (shape.n_pos - 1,), generator=generator)
    token_ids = (BOS, *prompt.tolist())
    model.save_pretrained(folder / "model")
    write_tokenizer(shape.d_vocab, folder / "model")
    streams = _encoder_inputs(model, token_ids)
    transcoders = {kind: folder / kind for kind in kinds}
    active = {}
    for kind, path in transcoders.items():
        path.mkdir(parents=True, exist_ok=True)
        encoders = [_encoder(stream, shape, generator) for stream in streams[kind]]
        WRITERS[kind](shape, encoders, generator, path)
        active[kind] = _active_sites(streams[kind], encoders)
    return Reference(token_ids, folder / "model", transcoders, active)


def _random_llama(shape: ModelShape, generator: torch.Generator) -> LlamaForCausalLM:
    config = LlamaConfig(
        num_hidden_layers=shape.n_layers,
        hidden_size=shape.d_model,
        intermediate_size=shape.d_mlp,
        num_attention_heads=shape.n_heads,
        num_key_value_heads=shape.n_kv_heads,
        head_dim=shape.d_head,
        vocab_size=shape.d_vocab,
        max_position_embeddings=2048,
        bos_token_id=BOS,
        eos_token_id=SPECIAL_TOKENS.index("<eos>"),
        pad_token_id=SPECIAL_TOKENS.index("<pad>"),
        tie_word_embeddings=False,
    )
    model = LlamaForCausalLM(config).float().eval()
    for name, weight in model.named_parameters():
        weight.requires_grad_(False)
        if "norm" in name:
            weight.copy_(1 + 0.1 * torch.randn(weight.shape, generator=generator))
        else:
            weight.normal_(std=_std(name, weight), generator=generator)
    return model


def _std(name: str, weight: Tensor) -> float:
    """Entries near 1 in the residual stream and the values, queries and keys with peaked patterns, logits near 4."""
    if "embed_tokens" in name:
        return 1.0
    scale = 4.0 if "lm_head" in name else 1.4 if "q_proj" in name or "k_proj" in name else 1.0
    return scale * weight.shape[1] ** -0.5


def _encoder_inputs(model: LlamaForCausalLM, token_ids: tuple[int, ...]) -> dict[str, Streams]:
    """What encoders read on the prompt, by kind: the stream before the MLP's norm (clt) or after it (plt)."""
    streams: dict[str, Streams] = {"clt": [], "plt": []}

    def keep(module: torch.nn.Module, arguments: tuple[Tensor], output: Tensor) -> None:
        streams["clt"].append(arguments[0][0])
        streams["plt"].append(output[0])

    handles = [layer.post_attention_layernorm.register_forward_hook(keep) for layer in model.model.layers]
    with torch.no_grad():
        model(torch.tensor([token_ids]))
    for handle in handles:
        handle.remove()
    return streams


def _encoder(stream: Float[Tensor, "pos d_model"], shape: ModelShape, generator: torch.Generator) -> Encoder:
    """An encoder whose threshold lies in a wide gap between pre-activations, which rounding cannot carry across."""
    W_enc = torch.randn(shape.d_transcoder, shape.d_model, generator=generator) * shape.d_model**-0.5
    b_enc = torch.randn(shape.d_transcoder, generator=generator) * BIAS_STD
    n_active = shape.n_active // shape.n_layers
    pre_acts = stream[1:] @ W_enc.T + b_enc  # without <bos>, whose features both tools ignore
    near = pre_acts.flatten().sort(descending=True).values[n_active - THRESHOLD_WINDOW : n_active + THRESHOLD_WINDOW]
    above = int((near[:-1] - near[1:]).argmax())
    return Encoder(W_enc, b_enc, float(near[above] + near[above + 1]) / 2)


def _active_sites(streams: Streams, encoders: list[Encoder]) -> Sites:
    pairs = zip(streams, encoders, strict=True)
    counts = torch.stack([(stream @ one.W_enc.T + one.b_enc > one.threshold).sum(1) for stream, one in pairs]).numpy()
    counts[:, 0] = 0
    layer, pos = np.indices(counts.shape).reshape(2, -1).repeat(counts.flatten(), axis=1)
    return Sites(layer, pos)


def _decoder(shape: ModelShape, n_out: int, generator: torch.Generator) -> Float[Tensor, "d_transcoder n_out d_model"]:
    rows = torch.randn(shape.d_transcoder, n_out, shape.d_model, generator=generator)
    return rows * DECODER_NORM * shape.d_model**-0.5


def _write_clt(shape: ModelShape, encoders: list[Encoder], generator: torch.Generator, path: Path) -> None:
    for layer, encoder in enumerate(encoders):
        tensors = {
            "W_enc": encoder.W_enc,
            "b_enc": encoder.b_enc,
            "b_dec": torch.randn(shape.d_model, generator=generator) * BIAS_STD,
            "threshold": torch.full_like(encoder.b_enc, encoder.threshold),
        }
        save_file({f"{name}_{layer}": tensor for name, tensor in tensors.items()}, path / f"W_enc_{layer}.safetensors")
        W_dec = _decoder(shape, shape.n_layers - layer, generator)
        save_file({f"W_dec_{layer}": W_dec}, path / f"W_dec_{layer}.safetensors")
    _write_config(path, model_kind="cross_layer_transcoder", feature_input_hook="hook_resid_mid")


def _write_plt(shape: ModelShape, encoders: list[Encoder], generator: torch.Generator, path: Path) -> None:
    for layer, encoder in enumerate(encoders):
        tensors = {
            "W_enc": encoder.W_enc,
            "b_enc": encoder.b_enc,
            "W_dec": _decoder(shape, 1, generator)[:, 0].contiguous(),
            "b_dec": torch.randn(shape.d_model, generator=generator) * BIAS_STD,
            "activation_function.threshold": torch.full_like(encoder.b_enc, encoder.threshold),
        }
        save_file(tensors, path / f"layer_{layer}.safetensors")
    _write_config(path, model_kind="transcoder_set", feature_input_hook="mlp.hook_in")


WRITERS = {"clt": _write_clt, "plt": _write_plt}


def _write_config(path: Path, **settings: str) -> None:
    config = {**settings, "feature_output_hook": "hook_mlp_out", "model_name": "random-llama", "scan": "random"}
    (path / "config.yaml").write_text(yaml.safe_dump(config))


def write_tokenizer(d_vocab: int, path: Path) -> None:
    """A word-level vocabulary, in files that transformers 4.57 and 5.x both read."""
    words = [*SPECIAL_TOKENS, *(f"t{index}" for index in range(len(SPECIAL_TOKENS), d_vocab))]
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    tokenizer.save(str(path / "tokenizer.json"))
    names = {f"{word.strip('<>')}_token": word for word in SPECIAL_TOKENS}
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", **names}
    (path / "tokenizer_config.json").write_text(json.dumps(settings))
