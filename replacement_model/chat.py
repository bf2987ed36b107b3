"""Chat messages as text, through the chat template of the model's tokenizer."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from replacement_model.errors import InputError

__all__ = ["is_chat", "message_text", "render_chat"]

Messages = Sequence[Mapping[str, Any]]


def is_chat(prompt: object) -> TypeGuard[Messages]:
    """Whether `prompt` is a list of messages."""
    return isinstance(prompt, Sequence) and not isinstance(prompt, str) and any(isinstance(m, Mapping) for m in prompt)


def render_chat(messages: Messages, tokenizer: PreTrainedTokenizerBase | None) -> str:
    """The text that the model reads, up to where its answer begins.

    A last message of the assistant is the beginning of that answer, and is left open.

    Raises:
        InputError: there is no template, or it does not take these messages.
    """
    if tokenizer is None or not tokenizer.chat_template:
        what = "chat template" if tokenizer else "tokenizer"
        raise InputError(
            f"chat messages need the model's chat template and this model has no {what}; use an instruction-tuned "
            "model, or give text"
        )
    if not all(isinstance(m, Mapping) and isinstance(m.get("role"), str) and m.get("content") for m in messages):
        raise InputError(
            'each chat message must have a role and some content, such as {"role": "user", "content": "Hello"}'
        )
    answering = messages[-1]["role"] in ("assistant", "model")
    try:
        return str(
            tokenizer.apply_chat_template(
                [_without_bos(message, tokenizer) for message in messages],
                tokenize=False,
                add_generation_prompt=not answering,
                continue_final_message=answering,
            )
        )
    except (TemplateError, ValueError, TypeError, KeyError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"the model's chat template does not take these messages ({reason})") from error


def message_text(messages: Messages) -> str:
    """The messages for people: one alone is its content, several have their roles in front."""
    if len(messages) == 1:
        return str(messages[0]["content"])
    return "\n".join(f"{message['role']}: {message['content']}" for message in messages)


def _without_bos(message: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """The message without a <bos> of its own: the template brings one."""
    content = message["content"]
    if isinstance(content, str) and tokenizer.bos_token:
        while content.lstrip().startswith(str(tokenizer.bos_token)):
            content = content.lstrip().removeprefix(str(tokenizer.bos_token))
    return {**message, "content": content}
