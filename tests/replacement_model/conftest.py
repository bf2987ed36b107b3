"""Tiny random hosts of every architecture, transcoders of every kind for them, and prompts."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tiny_hosts import ARCHITECTURES, WIDE, tiny_host
from tiny_models import tiny_transcoder
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import nn
from transformers import PreTrainedTokenizerFast

from replacement_model.transcoder import Transcoder


def build_model(architecture: str, dtype: torch.dtype = torch.float32, seed: int = 0, **changes: object) -> nn.Module:
    return tiny_host(architecture, dtype, seed, WIDE, **changes)


def build_transcoder(
    kind: str = "relu", absent: tuple[int, ...] = (), dtype: torch.dtype = torch.float32, **choices: object
) -> Transcoder:
    return tiny_transcoder(activation=kind, missing=absent, dtype=dtype, sizes=WIDE, **choices)


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
