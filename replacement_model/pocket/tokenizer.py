"""The word-level tokenizer: one token per word, digit and sum.

Names of several words are one token, written with underscores: the tokenizer joins "Salt Lake City" itself. Digits
before "+" or "=" are tokens of their own, so that "calc: 36+59=" and "calc : 3 6 + 5 9 =" mean the same.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from replacement_model.formats.files import read_json, write_json
from replacement_model.pocket.corpus import BOS, EOS, PAD, UNK

__all__ = ["build_tokenizer", "save_tokenizer"]


def build_tokenizer(vocabulary: Sequence[str]) -> PreTrainedTokenizerFast:
    """A tokenizer that prepends <bos>; the ids are the positions in `vocabulary`."""
    token_ids = {word: index for index, word in enumerate(vocabulary)}
    tokenizer = Tokenizer(models.WordLevel(token_ids, unk_token=UNK))
    tokenizer.normalizer = normalizers.Sequence([_join(word) for word in _longest_first(vocabulary)])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\d(?=\d*\s*[+=])"), "isolated"),
            pre_tokenizers.Split(Regex(r"[+=:?]|\.(?=\s|$)"), "isolated"),
            pre_tokenizers.WhitespaceSplit(),
        ]
    )
    bos = token_ids[BOS]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A {BOS} $B", special_tokens=[(BOS, bos)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=BOS, eos_token=EOS, pad_token=PAD, unk_token=UNK, padding_side="right"
    )


def save_tokenizer(tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write the tokenizer so that transformers 4.57 reads it too: version 5 notes a class that only it knows."""
    tokenizer.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    config = read_json(path)
    config.pop("backend", None)
    write_json(path, config | {"tokenizer_class": "PreTrainedTokenizerFast"})


def _longest_first(vocabulary: Sequence[str]) -> list[str]:
    names = [word for word in vocabulary if "_" in word]
    return sorted(names, key=lambda word: (-len(word), word))


def _join(word: str) -> normalizers.Replace:
    phrase = re.escape(word).replace("_", r"\s+")
    return normalizers.Replace(Regex(rf"(?<![\w-]){phrase}(?![\w-])"), word)
