"""Prompts of the corpus, with the concepts that hold in them, and the random choices that split them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from random import Random
from typing import TypeVar

__all__ = ["Prompt", "Slot", "compose", "shuffled", "split_names", "word_of"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Slot:
    """What fills a gap of a template: words, and the concepts that are settled once the last of them is read."""

    words: str
    concepts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Prompt:
    """A question and its answer of one word.

    Attributes:
        task, subset: what is asked, and which group of prompts it is scored with.
        split: `train`; `validation` or `test` prompts are seen by neither the model nor the transcoders in training.
        words: one token each, <bos> not included.
        answer: the word that follows.
        concepts: (position in `words`, concept): the concept holds from that position on.
    """

    task: str
    subset: str
    split: str
    words: tuple[str, ...]
    answer: str
    concepts: tuple[tuple[int, str], ...]

    @property
    def text(self) -> str:
        return " ".join(self.words)


def word_of(name: str) -> str:
    """The token of a name: "Salt Lake City" is one word, "Salt_Lake_City"."""
    return name.replace(" ", "_")


def compose(template: str, slots: dict[str, Slot], answer: Slot, task: str, subset: str, split: str) -> Prompt:
    """Fill `{name}` gaps of `template` with `slots`.

    The answer's concepts hold at the last position alone, where the model must have found it.
    """
    words: list[str] = []
    concepts: list[tuple[int, str]] = []
    for piece in template.split():
        if not piece.startswith("{"):
            words.append(piece)
            continue
        slot = slots[piece[1:-1]]
        words.extend(slot.words.split())
        concepts.extend((len(words) - 1, concept) for concept in slot.concepts)
    last = len(words) - 1
    concepts.append((last, f"answer: {answer.words}"))
    concepts.extend((last, concept) for concept in answer.concepts)
    return Prompt(task, subset, split, tuple(words), answer.words, (*concepts, (0, f"task: {task}")))


def shuffled(items: Iterable[T], seed: int, purpose: str) -> list[T]:
    """A copy in random order; each `purpose` draws from its own stream, so that tasks do not disturb each other."""
    order = list(items)
    Random(f"{seed}/{purpose}").shuffle(order)
    return order


def split_names(items: Sequence[T], held_out: float, seed: int, purpose: str) -> dict[T, str]:
    """`train`, `validation` or `test` for each item; the share `held_out` is divided equally between the last two."""
    order = shuffled(items, seed, purpose)
    n_each = round(len(order) * held_out / 2)
    names = ["validation"] * n_each + ["test"] * n_each
    return dict(zip(order, names + ["train"] * (len(order) - len(names)), strict=True))
