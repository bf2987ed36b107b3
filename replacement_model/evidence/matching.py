"""Positions to test labels at: where a feature is active, and as many like them where it is not.

A negative is matched to its positive by position in the context and by how frequent its token is in the text, so that
neither alone can tell them apart: "active late in the text" or "active at rare words" predicts nothing here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from jaxtyping import Bool, Int

from replacement_model.evidence.activity import active_in
from replacement_model.evidence.contexts import Batch, Contexts
from replacement_model.evidence.grouping import mixed, smallest_of_each
from replacement_model.model import ReplacementModel

__all__ = ["Key", "MatchOptions", "Matched", "Place", "match_positions", "prefixes_of"]

EXACT_POSITIONS = 16  # from here on four bins to each doubling
N_FREQUENCIES = 64
LAYER_SHIFT = 40  # layer and index of a feature in one number

Key: TypeAlias = tuple[int, int]
"""(layer, feature_idx)"""
Place: TypeAlias = tuple[int, int]
"""(context, position)"""


@dataclass(frozen=True, slots=True)
class MatchOptions:
    """How many positions.

    Attributes:
        n_positive: active positions of a feature, those with the smallest hashes of their prefixes: a uniform choice.
        n_pool: candidates for negatives, for each pair of position and token frequency.
        batch_tokens: run together.
    """

    n_positive: int = 50
    n_pool: int = 64
    batch_tokens: int = 8192


@dataclass(frozen=True, slots=True)
class Matched:
    """The positions of one feature; `negatives[i]` is matched to `positives[i]`.

    Attributes:
        n_exact: how many negatives are of the same position bin and frequency bin; the rest are of the nearest ones.
    """

    positives: tuple[Place, ...]
    negatives: tuple[Place, ...]
    n_exact: int


@dataclass(frozen=True, slots=True, eq=False)
class _Places:
    """Positions of a text; `group` is what they are chosen for."""

    group: Int[np.ndarray, "n"]
    prefix: Int[np.ndarray, "n"]
    context: Int[np.ndarray, "n"]
    pos: Int[np.ndarray, "n"]
    cell: Int[np.ndarray, "n"]

    @classmethod
    def none(cls) -> "_Places":
        return cls(*(np.empty(0, np.int64) for _ in cls.__slots__))

    def taking(self, other: "_Places", count: int) -> "_Places":
        """Of both, the `count` of smallest hash in each group."""
        joined = _Places(*(np.concatenate([getattr(one, name) for one in (self, other)]) for name in self.__slots__))
        return joined.only(smallest_of_each(joined.group, joined.prefix, count))

    def only(self, chosen: Int[np.ndarray, "k"] | Bool[np.ndarray, "n"]) -> "_Places":
        return _Places(*(getattr(self, name)[chosen] for name in self.__slots__))

    def place(self, index: int) -> Place:
        return int(self.context[index]), int(self.pos[index])


def prefixes_of(contexts: Contexts, batch_tokens: int = 8192) -> Int[np.ndarray, "n"]:
    """Hashes of all prefixes of a text, sorted: eight bytes for each distinct one."""
    found = [batch.prefix_hashes()[batch.counted] for batch in contexts.batches(batch_tokens)]
    return np.unique(np.concatenate([np.empty(0, np.int64), *found]))


def match_positions(
    model: ReplacementModel,
    contexts: Contexts,
    keys: list[Key],
    seen: Int[np.ndarray, "m"],
    options: MatchOptions,
) -> dict[Key, Matched]:
    """Positives and matched negatives of each feature.

    Args:
        model: host and transcoder.
        contexts: the text.
        keys: features.
        seen: sorted hashes of prefixes that are left out, because the labels were made from them.
        options: how many.
    """
    cells = _Cells.of(contexts, options.batch_tokens)
    pool = _Places.none()
    for batch in contexts.batches(options.batch_tokens):
        context, pos = np.nonzero(batch.counted)
        found = cells.places(batch, context + batch.first, pos, None)
        pool = pool.taking(found.only(~np.isin(found.prefix, seen)), options.n_pool)
    positives, hits = _activity(model, contexts, keys, seen, cells, pool, options)
    by_cell = {int(cell): np.flatnonzero(pool.group == cell) for cell in np.unique(pool.group)}
    return {key: _matched(_number(key), positives, hits, pool, by_cell) for key in keys}


@dataclass(frozen=True, slots=True, eq=False)
class _Cells:
    """The pair of position bin and frequency bin of every position."""

    frequency_bin: Int[np.ndarray, "d_vocab"]

    @classmethod
    def of(cls, contexts: Contexts, batch_tokens: int) -> "_Cells":
        counts = np.zeros(int(contexts.token_ids.max()) + 1, np.int64)
        for batch in contexts.batches(batch_tokens):
            counts += np.bincount(batch.token_ids[batch.counted], minlength=len(counts))
        return cls(np.log2(np.maximum(counts, 1)).astype(np.int64))

    def places(
        self,
        batch: Batch,
        context: Int[np.ndarray, "n"],
        pos: Int[np.ndarray, "n"],
        group: Int[np.ndarray, "n"] | None,
    ) -> _Places:
        """Positions of a batch; their group is the cell unless one is given."""
        row = context - batch.first
        late = EXACT_POSITIONS + 4 * np.log2(np.maximum(pos, 1) / EXACT_POSITIONS)
        position_bin = np.where(pos < EXACT_POSITIONS, pos, late).astype(np.int64)
        cell = position_bin * N_FREQUENCIES + self.frequency_bin[batch.token_ids[row, pos]]
        prefix = batch.prefix_hashes()[row, pos]
        return _Places(cell if group is None else group, prefix, context, pos, cell)


def _activity(
    model: ReplacementModel,
    contexts: Contexts,
    keys: list[Key],
    seen: Int[np.ndarray, "m"],
    cells: _Cells,
    pool: _Places,
    options: MatchOptions,
) -> tuple[_Places, dict[int, Int[np.ndarray, "h"]]]:
    """Positives, grouped by feature; and for each feature the places of the pool at which it is active."""
    chosen = {layer: np.array(sorted(i for at, i in keys if at == layer)) for layer in sorted({at for at, _ in keys})}
    positives, hits = _Places.none(), []
    width = int(np.diff(contexts.offsets).max())
    codes = pool.context * width + pool.pos
    order = np.argsort(codes)
    for batch in contexts.batches(options.batch_tokens):
        for layer, activity in active_in(model, batch, dict(chosen)).items():
            number = (np.int64(layer) << LAYER_SHIFT) + activity.feature_idx
            found = cells.places(batch, activity.context, activity.pos, number)
            positives = positives.taking(found.only(~np.isin(found.prefix, seen)), options.n_positive)
            code = found.context * width + found.pos
            at = np.minimum(np.searchsorted(codes[order], code), max(0, len(order) - 1))
            there = codes[order][at] == code if len(order) else np.zeros(len(code), bool)
            hits.append(np.stack([number[there], order[at[there]]]))
    joined = np.concatenate([np.empty((2, 0), np.int64), *hits], axis=1)
    joined = joined[:, np.argsort(joined[0], kind="stable")]
    numbers, starts = np.unique(joined[0], return_index=True)
    parts = np.split(joined[1], starts[1:]) if len(starts) else []
    return positives, dict(zip(numbers.tolist(), parts, strict=True))


def _matched(
    number: int,
    positives: _Places,
    hits: Mapping[int, Int[np.ndarray, "h"]],
    pool: _Places,
    by_cell: Mapping[int, Int[np.ndarray, "c"]],
) -> Matched:
    """One feature's positives, each with the next unused candidate of its cell, or of the nearest that has any."""
    active = hits.get(number, np.empty(0, np.int64))
    # Another order for each feature, so that not all share the same few negatives.
    shuffle = mixed(pool.prefix.view(np.uint64) ^ mixed(np.array([number])))
    left = {
        cell: idx[np.argsort(shuffle[idx])][::-1].tolist()
        for cell, places in by_cell.items()
        if len(idx := np.setdiff1d(places, active, assume_unique=True))
    }
    begin, end = np.searchsorted(positives.group, [number, number + 1])
    pairs, n_exact = [], 0
    for index in range(begin, end):
        cell = _nearest_cell(int(positives.cell[index]), left)
        if cell is None:
            break
        n_exact += cell == positives.cell[index]
        pairs.append((positives.place(index), pool.place(left[cell].pop())))
        if not left[cell]:
            del left[cell]
    return Matched(tuple(p for p, _ in pairs), tuple(n for _, n in pairs), int(n_exact))


def _nearest_cell(cell: int, left: Mapping[int, list[int]]) -> int | None:
    """The cell with candidates that is nearest, by frequency first, then by position."""
    if cell in left:
        return cell
    position, frequency = divmod(cell, N_FREQUENCIES)

    def distance(other: int) -> tuple[int, int, int]:
        return abs(other % N_FREQUENCIES - frequency), abs(other // N_FREQUENCIES - position), other

    return min(left, key=distance, default=None)


def _number(key: Key) -> int:
    return (key[0] << LAYER_SHIFT) + key[1]
