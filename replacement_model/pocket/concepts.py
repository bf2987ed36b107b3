"""Which concepts hold in which contexts, as a sparse matrix that features can be scored against.

A concept of the corpus is settled at some word of a prompt and holds from there on. Three readings are offered to a
feature: wherever it holds, at the word that settles it, and at the last word of a question. A context is given a
concept only if every prompt that begins so has it; beside these there are each word itself and each position.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from replacement_model.pocket.contexts import prefixes
from replacement_model.pocket.prompts import Prompt

__all__ = ["ConceptTable", "tabulate_concepts"]

AT_WORD, AT_END = ", at this word", ", at the last word"
MIN_CONTEXTS = 4
"""A concept that holds in fewer contexts cannot be told from chance."""


@dataclass(frozen=True, slots=True, eq=False)
class ConceptTable:
    """What holds where; contexts are in the order of `distinct_contexts`.

    Attributes:
        names: of the concepts.
        holds: `holds[context, concept]` is 1 where the concept holds.
        weights: how much each context counts, one over the square root of the number of contexts that end in its word.
    """

    names: tuple[str, ...]
    holds: csr_array
    weights: np.ndarray


def tabulate_concepts(prompts: Sequence[Prompt]) -> ConceptTable:
    """Concepts of all distinct prefixes of `prompts`."""
    by_prefix: dict[tuple[str, ...], set[str]] = {}
    for prompt in prompts:
        for index, prefix in enumerate(prefixes(prompt)):
            here = set(_concepts_at(prompt, index))
            by_prefix[prefix] = by_prefix.get(prefix, here) & here
    counts = Counter(concept for concepts in by_prefix.values() for concept in concepts)
    names = sorted(name for name, count in counts.items() if count >= MIN_CONTEXTS)
    column = {name: index for index, name in enumerate(names)}
    pairs = [(row, column[c]) for row, held in enumerate(by_prefix.values()) for c in held if c in column]
    rows, columns = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    holds = csr_array((np.ones(len(pairs), np.float32), (rows, columns)), shape=(len(by_prefix), len(names)))
    last_words = [prefix[-1] for prefix in by_prefix]
    n_last = Counter(last_words)
    weights = np.array([n_last[word] for word in last_words], np.float32) ** -0.5
    return ConceptTable(tuple(names), holds, weights)


def _concepts_at(prompt: Prompt, index: int) -> Iterator[str]:
    yield f"word: {prompt.words[index]}"
    yield f"position: {index + 1}"
    last = len(prompt.words) - 1
    for onset, concept in prompt.concepts:
        if onset <= index:
            yield concept
            if onset == index != last:
                yield concept + AT_WORD
            if index == last and onset != last:
                yield concept + AT_END
