"""From text or token ids to what the model reads, with every decision recorded."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from replacement_model.errors import InputError

__all__ = ["Prompt", "read_prompt"]


@dataclass(frozen=True, slots=True, eq=False)
class Prompt:
    """A prompt as the model reads it.

    Attributes:
        text: what was asked, or the decoded ids.
        token_ids: with the special token in front.
        tokens: the string of every id.
        n_ignored_pos: leading positions whose features are not traced (1 if the prompt starts with a special token).
        prepended: id of the special token that was put in front here, None where the prompt had one already.
    """

    text: str
    token_ids: Int[Tensor, "pos"]
    tokens: tuple[str, ...]
    n_ignored_pos: int
    prepended: int | None


def read_prompt(
    prompt: str | Sequence[int] | Tensor, tokenizer: PreTrainedTokenizerBase | None, d_vocab: int, prepend: bool = True
) -> Prompt:
    """Tokenise `prompt`; a special token is put in front unless it starts with one.

    Args:
        prompt: text, or token ids.
        tokenizer: the model's; may be None for token ids.
        d_vocab: ids must be below it.
        prepend: False leaves the prompt alone and ignores no position.

    Raises:
        InputError: the prompt is empty, a word is unknown to the tokenizer, or an id is outside the vocabulary.
    """
    if isinstance(prompt, str):
        if tokenizer is None:
            raise InputError("text needs a tokenizer and this model has none; give token ids instead")
        ids = _encode(prompt, tokenizer)
    else:
        ids = _whole_numbers(prompt)
    if not ids or (isinstance(prompt, str) and not prompt.strip()):
        raise InputError("the prompt is empty; give some text, or token ids")
    asked, special, prepended = ids, _special_ids(tokenizer), None
    if prepend and special and ids[0] not in special:
        prepended = special[0]
        ids = [prepended, *ids]
    wrong = [token_id for token_id in ids if not 0 <= token_id < d_vocab]
    if wrong:
        raise InputError(
            f"token id {wrong[0]} is outside the model's vocabulary (0 to {d_vocab - 1}); use the model's own tokenizer"
        )
    n_ignored = 1 if prepend and (ids[0] in special or not special) else 0
    if len(ids) <= n_ignored:
        raise InputError("the prompt holds nothing but a special token; give some text")
    tokens = tuple(_decode([token_id], tokenizer) for token_id in ids)
    text = prompt if isinstance(prompt, str) else _decode(asked, tokenizer)
    return Prompt(text, torch.tensor(ids), tokens, n_ignored, prepended)


def _whole_numbers(prompt: Sequence[int] | Tensor) -> list[int]:
    try:
        given = torch.as_tensor(prompt)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"token ids must be whole numbers, got {prompt!r}") from error
    if given.numel() and (given.is_floating_point() or given.is_complex() or given.dtype == torch.bool):
        raise InputError(f"token ids must be whole numbers, got {given.dtype}")
    if given.ndim > 2 or (given.ndim == 2 and len(given) > 1):
        raise InputError(f"token ids of shape {tuple(given.shape)} are several prompts; trace one prompt at a time")
    return [int(token_id) for token_id in given.reshape(-1)]


def _encode(text: str, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    begun = tokenizer.bos_token is not None and text.lstrip().startswith(str(tokenizer.bos_token))  # a chat template's
    ids = list(tokenizer(text, add_special_tokens=not begun)["input_ids"])
    if ids and ids[-1] == tokenizer.eos_token_id and not text.rstrip().endswith(str(tokenizer.eos_token)):
        ids = ids[:-1]  # a tokenizer that closes every text would have the model explain what follows its end
    unknown_id = tokenizer.unk_token_id
    if unknown_id is not None and unknown_id in ids and unknown_id not in _special_ids(tokenizer):
        words = [word for word in text.split() if unknown_id in tokenizer(word, add_special_tokens=False)["input_ids"]]
        listed = ", ".join(repr(word) for word in words) or "part of the prompt"
        raise InputError(f"the model's vocabulary does not have {listed}; rephrase the prompt with words that it knows")
    return ids


def _special_ids(tokenizer: PreTrainedTokenizerBase | None) -> list[int]:
    """Ids of bos, pad and eos, in the order in which they are candidates for the first position."""
    if tokenizer is None:
        return []
    found = (tokenizer.bos_token_id, tokenizer.pad_token_id, tokenizer.eos_token_id)
    return [token_id for token_id in found if token_id is not None]


def _decode(ids: list[int], tokenizer: PreTrainedTokenizerBase | None) -> str:
    if tokenizer is None:
        return " ".join(str(token_id) for token_id in ids)
    return str(tokenizer.decode(ids))
