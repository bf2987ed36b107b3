"""From text, chat messages or token ids to what the model reads, with every decision recorded."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from replacement_model.chat import is_chat, message_text, render_chat
from replacement_model.errors import InputError

__all__ = ["Prompt", "PromptLike", "read_prompt"]

PromptLike: TypeAlias = str | Sequence[int] | Sequence[Mapping[str, Any]] | np.ndarray | Tensor
"""Text, token ids, or chat messages such as [{"role": "user", "content": "..."}]."""

logger = logging.getLogger(__name__)

LISTED_WORDS = 8  # of those that a vocabulary does not have


@dataclass(frozen=True, slots=True, eq=False)
class Prompt:
    """A prompt as the model reads it.

    Attributes:
        text: what was asked, or the decoded ids.
        token_ids: with the special token in front.
        tokens: the string of every id.
        n_ignored_pos: leading positions whose features are not traced.
        prepended: id of the special token that was put in front here, None where the prompt had one already.
        chat: whether the model's chat template was put around the text.
        prefix: the ids that the transcoder's prompts begin with, where this one does; else empty.
    """

    text: str
    token_ids: Int[Tensor, "pos"]
    tokens: tuple[str, ...]
    n_ignored_pos: int
    prepended: int | None
    chat: bool = False
    prefix: tuple[int, ...] = ()

    def settings(self) -> dict[str, Any]:
        """What was done to the prompt, for the graph's header."""
        return {
            "prepended_token_id": self.prepended,
            "chat_template": self.chat,
            "prefix_token_ids": list(self.prefix),
            "n_ignored_pos": self.n_ignored_pos,
        }


def read_prompt(
    prompt: PromptLike,
    tokenizer: PreTrainedTokenizerBase | None,
    d_vocab: int,
    prepend: bool = True,
    n_ignored_pos: int | None = None,
    prefix: tuple[int, ...] = (),
) -> Prompt:
    """Tokenise `prompt`; a special token is put in front unless it starts with one, and is never there twice.

    Args:
        prompt: text, token ids, or chat messages, which go through the tokenizer's chat template.
        tokenizer: the model's; may be None for token ids.
        d_vocab: ids must be below it.
        prepend: False leaves the prompt alone, adding no special token at all, and ignores no position.
        n_ignored_pos: leading positions whose features are not traced; None for those of `prefix`, or else of the
            special token in front.
        prefix: ids that the transcoder's training prompts began with (Gemma Scope 2 for instruction-tuned models).

    Raises:
        InputError: the prompt is empty, a word is unknown to the tokenizer, an id is outside the vocabulary, the
            model has no chat template, or token ids do not begin with `prefix`.
    """
    chat = is_chat(prompt)
    asked = _ids(prompt, tokenizer, prepend)
    special = _special_ids(tokenizer)
    ids, prepended = _begin(asked, special, isinstance(prompt, str) or chat) if prepend else (asked, None)
    wrong = [token_id for token_id in ids if not 0 <= token_id < d_vocab]
    if wrong:
        raise InputError(
            f"token id {wrong[0]} is outside the model's vocabulary (0 to {d_vocab - 1}); use the model's own tokenizer"
        )
    found = prefix if prefix and tuple(ids[: len(prefix)]) == prefix else ()
    if prefix and not found and prepend:
        _miss_prefix(prefix, tokenizer, is_text=isinstance(prompt, str))
    usual = len(found) or int(ids[0] in special or not special)
    n_ignored = (usual if prepend else 0) if n_ignored_pos is None else n_ignored_pos
    _check_something_left(ids, n_ignored, n_ignored_pos, special)
    return Prompt(
        text=_text_of(prompt, asked, tokenizer),
        token_ids=torch.tensor(ids),
        tokens=tuple(_decode([token_id], tokenizer) for token_id in ids),
        n_ignored_pos=n_ignored,
        prepended=prepended,
        chat=chat,
        prefix=found,
    )


def _ids(prompt: PromptLike, tokenizer: PreTrainedTokenizerBase | None, prepend: bool) -> list[int]:
    if is_chat(prompt):
        # A template brings every special token that the model expects.
        ids = _encode(render_chat(prompt, tokenizer), tokenizer, add_special=False)
    elif isinstance(prompt, str):
        ids = _encode(prompt, tokenizer, add_special=prepend) if prompt.strip() else []
    else:
        ids = _whole_numbers(prompt)
    if not ids:
        raise InputError("the prompt is empty; give some text, or token ids")
    return ids


def _begin(ids: list[int], special: list[int], is_text: bool) -> tuple[list[int], int | None]:
    """The ids with one special token in front, and its id if it was not there."""
    if not special:
        return ids, None
    if ids[0] not in special:
        return [special[0], *ids], special[0]
    while ids[1:2] == ids[:1] == special[:1]:
        if not is_text:
            raise InputError(
                f"the token ids begin with the special token {ids[0]} twice; drop one, or say prepend=False "
                "(--no-prepend) to trace them as they are"
            )
        ids = ids[1:]
    return ids, None


def _miss_prefix(prefix: tuple[int, ...], tokenizer: PreTrainedTokenizerBase | None, is_text: bool) -> None:
    """Refuse ids without the prefix that the transcoder knows; text is traced, with a warning."""
    wanted = _decode(list(prefix), tokenizer)
    marker = _decode([prefix[1] if len(prefix) > 1 else prefix[0]], tokenizer)
    message = (
        f"missing {marker} prefix: this transcoder was trained on prompts that begin with {wanted!r} "
        f"(token ids {', '.join(map(str, prefix))}); give chat messages (--chat)"
    )
    if not is_text:
        raise InputError(f"{message}, or say prepend=False (--no-prepend) to trace the prompt as it is")
    logger.warning("%s; the features may mean something else here", message)


def _check_something_left(ids: list[int], n_ignored: int, asked: int | None, special: list[int]) -> None:
    if 0 <= n_ignored < len(ids):
        return
    if asked is not None:
        raise InputError(
            f"cannot ignore {asked} positions of a prompt of {len(ids)} tokens; choose 0 to {len(ids) - 1}"
        )
    if not special:
        raise InputError(
            "without a tokenizer the first token id counts as the special token, whose features are ignored, so a "
            "prompt of one id leaves nothing to trace; put the model's <bos> id in front, or say prepend=False"
        )
    raise InputError("the prompt holds nothing but a special token; give some text")


def _text_of(prompt: PromptLike, ids: list[int], tokenizer: PreTrainedTokenizerBase | None) -> str:
    if isinstance(prompt, str):
        return prompt
    return message_text(prompt) if is_chat(prompt) else _decode(ids, tokenizer)


def _whole_numbers(prompt: PromptLike) -> list[int]:
    values: Any = prompt.tolist() if isinstance(prompt, np.ndarray) else prompt
    try:
        given = torch.as_tensor(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"token ids must be whole numbers, got {prompt!r}") from error
    if given.numel() and (given.is_floating_point() or given.is_complex() or given.dtype == torch.bool):
        raise InputError(f"token ids must be whole numbers, got {given.dtype}")
    if given.ndim > 2 or (given.ndim == 2 and len(given) > 1):
        raise InputError(f"token ids of shape {tuple(given.shape)} are several prompts; trace one prompt at a time")
    return [int(token_id) for token_id in given.reshape(-1)]


def _encode(text: str, tokenizer: PreTrainedTokenizerBase | None, add_special: bool) -> list[int]:
    if tokenizer is None:
        raise InputError("text needs a tokenizer and this model has none; give token ids instead")
    begun = tokenizer.bos_token is not None and text.lstrip().startswith(str(tokenizer.bos_token))
    text = text.lstrip() if begun else text  # a space before it would be a token of its own
    ids = list(tokenizer(text, add_special_tokens=add_special and not begun)["input_ids"])
    if ids and ids[-1] == tokenizer.eos_token_id and not text.rstrip().endswith(str(tokenizer.eos_token)):
        ids = ids[:-1]  # a tokenizer that closes every text would have the model explain what follows its end
    unknown_id = tokenizer.unk_token_id
    if unknown_id is not None and unknown_id in ids and unknown_id not in _special_ids(tokenizer):
        words = [word for word in text.split() if unknown_id in tokenizer(word, add_special_tokens=False)["input_ids"]]
        listed = ", ".join(repr(word) for word in words[:LISTED_WORDS]) or "part of the prompt"
        if len(words) > LISTED_WORDS:
            listed += f" and {len(words) - LISTED_WORDS} others"
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
