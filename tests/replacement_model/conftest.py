"""Tiny random hosts of every architecture, transcoders of every kind for them, and prompts."""

from collections.abc import Callable, Iterator
from pathlib import Path

import jaxtyping
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import nn
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from replacement_model.activation import Activation
from replacement_model.transcoder import DecoderSite, EncoderTap, Transcoder, TranscoderLayer

D_MODEL, N_LAYERS, D_VOCAB, D_TRANSCODER = 24, 4, 40, 30
ARCHITECTURES = ("gemma2", "gemma3", "gpt2", "llama", "qwen3")
GROUPED = {
    "hidden_size": D_MODEL,
    "num_hidden_layers": N_LAYERS,
    "vocab_size": D_VOCAB,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,  # not d_model / n_heads
    "intermediate_size": 20,
    "max_position_embeddings": 32,
    "pad_token_id": 0,
}
LOCAL_AND_GLOBAL = {
    "sliding_window": 3,
    "layer_types": ["sliding_attention", "full_attention"] * (N_LAYERS // 2),
    "query_pre_attn_scalar": 6,
}


def build_model(architecture: str, dtype: torch.dtype = torch.float32, seed: int = 0, **changes: object) -> nn.Module:
    """A tiny model with no parameter at its initial value: norms, biases and softcaps all matter."""
    match architecture:
        case "gemma2":
            # Eager, because transformers 4.57 leaves Gemma 2's attention softcap out of sdpa, its default.
            caps = {"attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0, "attn_implementation": "eager"}
            model = Gemma2ForCausalLM(Gemma2Config(**{**GROUPED, **LOCAL_AND_GLOBAL, **caps, **changes}))
        case "gemma3":
            model = Gemma3ForCausalLM(Gemma3TextConfig(**{**GROUPED, **LOCAL_AND_GLOBAL, **changes}))
        case "llama":
            biases = {"attention_bias": True, "tie_word_embeddings": False}
            model = LlamaForCausalLM(LlamaConfig(**{**GROUPED, **biases, **changes}))
        case "qwen3":
            model = Qwen3ForCausalLM(Qwen3Config(**{**GROUPED, "attention_bias": True, **changes}))
        case _:
            sizes = {"n_embd": D_MODEL, "n_layer": N_LAYERS, "n_head": 4, "n_positions": 32, "vocab_size": D_VOCAB}
            special = {"bos_token_id": 0, "eos_token_id": 0}
            model = GPT2LMHeadModel(GPT2Config(**{**sizes, **special, **changes}))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            # Norms begin at their constant; matrices are drawn by transformers from the global generator.
            parameter.copy_(parameter + 0.3 * noise if parameter.ndim == 1 else noise / parameter.shape[1] ** 0.5)
    return model.to(dtype).eval()


def build_transcoder(
    *,
    cross_layer: bool = True,
    kind: str = "relu",
    skip: bool = False,
    absent: tuple[int, ...] = (),
    tap: EncoderTap = EncoderTap.MLP_IN,
    site: DecoderSite = DecoderSite.MLP_OUT,
    dtype: torch.dtype = torch.float32,
    seed: int = 1,
) -> Transcoder:
    """A random transcoder for the tiny models; `absent` layers have none."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator).to(dtype)

    def activation() -> Activation:
        if kind == "jumprelu":
            return Activation(kind, threshold=normal(D_TRANSCODER).abs() * 0.5)
        return Activation(kind, k=3 if kind in ("topk", "batchtopk") else None)

    def layer(index: int) -> TranscoderLayer:
        return TranscoderLayer(
            W_enc=normal(D_TRANSCODER, D_MODEL) / D_MODEL**0.5,
            b_enc=normal(D_TRANSCODER) * 0.2,
            W_dec=(normal(D_TRANSCODER, N_LAYERS - index if cross_layer else 1, D_MODEL) / D_TRANSCODER**0.5).unbind(1),
            activation=activation(),
            W_skip=normal(D_MODEL, D_MODEL) * 0.1 if skip else None,
        )

    return Transcoder(
        layers=tuple(None if index in absent else layer(index) for index in range(N_LAYERS)),
        b_dec=normal(N_LAYERS, D_MODEL),
        cross_layer=cross_layer,
        encoder_tap=tap,
        decoder_site=site,
        name="random",
    )


@pytest.fixture(scope="session")
def make_model() -> Callable[..., nn.Module]:
    """Builds a tiny random model: `make_model("gemma3", torch.float64, **config_changes)`."""
    return build_model


@pytest.fixture(scope="session")
def make_transcoder() -> Callable[..., Transcoder]:
    """Builds a random transcoder for the tiny models."""
    return build_transcoder


@pytest.fixture(params=ARCHITECTURES)
def architecture(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def token_ids() -> torch.Tensor:
    """Longer than the local layers' window."""
    return torch.tensor([1, 7, 3, 22, 39, 5, 7, 30])


@pytest.fixture
def without_shape_checks() -> Iterator[None]:
    """Runs as a user does, without the shape checks that the tests add: the library notices wrong shapes itself."""
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


def build_tokenizer(
    words: tuple[str, ...] = ("the", "capital", "of", "Texas", "is", "Austin"), template: str | None = "<bos> $A"
) -> PreTrainedTokenizerFast:
    """Word-level, special tokens first; `template` says what it puts around a text by itself."""
    special = ("<bos>", "<eos>", "<pad>", "<unk>")
    ids = {word: index for index, word in enumerate((*special, *words))}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if template is not None:
        used = [(token, ids[token]) for token in special if token in template.split()]
        tokenizer.post_processor = processors.TemplateProcessing(single=template, special_tokens=used)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>", unk_token="<unk>"
    )


@pytest.fixture(scope="session")
def make_tokenizer() -> Callable[..., PreTrainedTokenizerFast]:
    """Builds a word-level tokenizer: ids 0-3 are <bos> <eos> <pad> <unk>, then the words."""
    return build_tokenizer


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A saved tiny Gemma 3 with a tokenizer."""
    folder = tmp_path / "checkpoint"
    build_model("gemma3").save_pretrained(folder)
    build_tokenizer().save_pretrained(folder)
    return folder
