"""Documents cut into contexts that the model can read, as token ids on disk.

A context begins as the transcoder's training texts did, with the special token or the chat prefix; features there are
ignored, as in a trace. The ids stay in a file, so a text of any length is read in bounded memory and in any order.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from replacement_model.errors import InputError
from replacement_model.evidence.grouping import mixed
from replacement_model.evidence.texts import Text
from replacement_model.formats.files import atomic_path, read_json, write_json
from replacement_model.hashing import sha256
from replacement_model.model import ReplacementModel

__all__ = ["Batch", "Contexts", "open_contexts", "write_contexts"]

DOCUMENTS_AT_ONCE = 256
TOKENS_NAME, OFFSETS_NAME, NOTE_NAME = "tokens.i32", "offsets.i64", "contexts.json"


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Contexts that are run together, padded on the right; causal attention never sees the padding.

    Attributes:
        first: number of the first context.
        n_ignored: leading positions without features.
    """

    first: int
    token_ids: Int[np.ndarray, "context pos"]
    lengths: Int[np.ndarray, "context"]
    n_ignored: int

    @property
    def counted(self) -> Bool[np.ndarray, "context pos"]:
        """Positions that have features: neither ignored nor padding."""
        pos = np.arange(self.token_ids.shape[1])
        return (pos >= self.n_ignored) & (pos < self.lengths[:, None])

    def prefix_hashes(self) -> Int[np.ndarray, "context pos"]:
        """A number for all that the model has read at each position: the tokens up to it."""
        hashes, ids = np.empty(self.token_ids.shape, np.uint64), self.token_ids.astype(np.uint64)
        before = np.zeros(len(ids), np.uint64)
        for pos in range(ids.shape[1]):
            before = hashes[:, pos] = mixed(before ^ mixed(ids[:, pos]))
        return hashes.view(np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Contexts:
    """Contexts in files.

    Attributes:
        token_ids: of all contexts, one after the other.
        offsets: context `i` is `token_ids[offsets[i] : offsets[i + 1]]`.
        n_ignored: leading positions of each without features.
        n_documents: documents that they were cut from.
        digest: SHA-256 of the token ids.
    """

    token_ids: Int[np.ndarray, "n_tokens"]
    offsets: Int[np.ndarray, "n_offsets"]
    n_ignored: int
    n_documents: int
    digest: str

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def n_positions(self) -> int:
        """Positions that have features."""
        return int(np.maximum(np.diff(self.offsets) - self.n_ignored, 0).sum())

    def ids(self, context: int) -> list[int]:
        """Token ids of one context."""
        return [int(i) for i in self.token_ids[self.offsets[context] : self.offsets[context + 1]]]

    def batches(self, batch_tokens: int, first: int = 0) -> Iterator[Batch]:
        """All contexts from `first` on, as many at a time as fit into `batch_tokens` with their padding."""
        lengths = np.diff(self.offsets)
        while first < len(self):
            widest = np.maximum.accumulate(lengths[first : first + batch_tokens])
            fits = widest * np.arange(1, len(widest) + 1) <= batch_tokens
            last = first + max(1, int(fits.sum()))
            yield self._batch(first, last, int(widest[last - first - 1]))
            first = last

    def _batch(self, first: int, last: int, width: int) -> Batch:
        lengths = np.diff(self.offsets[first : last + 1])
        rows = np.zeros((last - first, width), np.int64)
        rows[np.arange(width) < lengths[:, None]] = self.token_ids[self.offsets[first] : self.offsets[last]]
        return Batch(first, rows, lengths, self.n_ignored)


def write_contexts(
    model: ReplacementModel, text: Text, folder: Path, length: int, max_contexts: int | None = None
) -> Contexts:
    """Cut a text into contexts of at most `length` tokens and keep them in `folder`; a document begins a new one.

    Raises:
        InputError: there is no text, no tokenizer, a word that it does not know, or no room for text in a context.
    """
    documents = text.documents()
    first = next(documents, None)
    if first is None:
        raise InputError(f"{text.name} holds no text; give a file with at least a few words")
    head, n_ignored = _head(model, first)
    if length <= max(len(head), n_ignored):
        raise InputError(f"contexts of {length} tokens leave no room for text; choose at least {len(head) + 2}")
    n_documents, offsets = 0, [0]
    with atomic_path(folder / TOKENS_NAME) as temporary, temporary.open("wb") as file:
        for ids in _all_ids(model, chain([first], documents), head):
            n_documents += 1
            pieces = [head + ids[at : at + length - len(head)] for at in range(0, len(ids), length - len(head))]
            if max_contexts is not None:
                pieces = pieces[: max_contexts + 1 - len(offsets)]
            for piece in pieces:
                file.write(np.array(piece, "<i4").tobytes())
                offsets.append(offsets[-1] + len(piece))
            if len(offsets) - 1 == max_contexts:
                break
    with atomic_path(folder / OFFSETS_NAME) as temporary:
        temporary.write_bytes(np.array(offsets, "<i8").tobytes())
    digest = sha256(folder / TOKENS_NAME)
    write_json(folder / NOTE_NAME, {"n_ignored": n_ignored, "n_documents": n_documents, "sha256": digest})
    return open_contexts(folder)


def open_contexts(folder: Path) -> Contexts:
    """What `write_contexts` wrote to `folder`."""
    note: dict[str, Any] = read_json(folder / NOTE_NAME)
    return Contexts(
        token_ids=np.memmap(folder / TOKENS_NAME, "<i4", "r"),
        offsets=np.fromfile(folder / OFFSETS_NAME, "<i8"),
        n_ignored=note["n_ignored"],
        n_documents=note["n_documents"],
        digest=note["sha256"],
    )


def _head(model: ReplacementModel, document: str) -> tuple[list[int], int]:
    """What every context begins with, and how many positions of it are ignored."""
    if model.tokenizer is None:
        raise InputError("text needs a tokenizer and this model has none; load the model from its folder")
    prefix = model.transcoder.prefix
    if prefix:
        return list(prefix), len(prefix)
    prompt = model.read_prompt(document)
    first = int(prompt.token_ids[0])
    return ([first] if first in model.tokenizer.all_special_ids else []), prompt.n_ignored_pos


def _all_ids(model: ReplacementModel, documents: Iterator[str], head: list[int]) -> Iterator[list[int]]:
    """Token ids of each document, without special tokens in front."""
    tokenizer: Any = model.tokenizer
    unknown, number = tokenizer.unk_token_id, 0
    while texts := list(islice(documents, DOCUMENTS_AT_ONCE)):
        for ids in tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]:
            number += 1
            if unknown is not None and unknown in ids:
                _refuse(model, texts[(number - 1) % DOCUMENTS_AT_ONCE], number)
            yield ids[len(head) :] if head and ids[: len(head)] == head else ids


def _refuse(model: ReplacementModel, text: str, number: int) -> None:
    """Say which word of a document the tokenizer does not know, if it is one that it should."""
    try:
        model.read_prompt(text)
    except InputError as error:
        raise InputError(f"document {number}: {error}") from error
