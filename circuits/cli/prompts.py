"""Prompts as they are written on the command line."""

from typing import TYPE_CHECKING

from replacement_model.errors import InputError

if TYPE_CHECKING:
    from replacement_model.prompt import PromptLike

__all__ = ["parse_prompt", "prompt_name"]


def parse_prompt(prompt: str | None, ids: str | None, chat: bool) -> "PromptLike":
    """The prompt from PROMPT, `--ids` and `--chat`.

    Args:
        prompt: text, or what the user says with `chat`.
        ids: whole numbers, separated by commas or spaces, in place of text.
        chat: put the model's chat template around the text.

    Raises:
        InputError: there is no prompt, there are two, or an id is no whole number.
    """
    if (prompt is None) == (ids is None) or (ids is not None and chat):
        raise InputError('give one prompt: some text, or --ids "2,105,2364" for token ids (without --chat)')
    if ids is not None:
        return [_whole_number(part) for part in ids.replace(",", " ").split()]
    if chat and prompt and prompt.strip():
        return [{"role": "user", "content": prompt}]
    return str(prompt)


def prompt_name(prompt: str | None, ids: str | None) -> str:
    """What files are named after."""
    return f"ids {ids}" if prompt is None else prompt


def _whole_number(text: str) -> int:
    if not text.isdecimal():
        raise InputError(f'expected token ids as in --ids "2,105,2364", got {text!r}')
    return int(text)
