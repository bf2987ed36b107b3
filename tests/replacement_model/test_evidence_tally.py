"""Tallies of parts of a text merge into that of the whole, with a bounded number of examples."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replacement_model.evidence.activity import Activity
from replacement_model.evidence.contexts import Batch
from replacement_model.evidence.counts import Counts, bin_edge, bin_of
from replacement_model.evidence.tally import Tally, load_tallies, save_tallies

N_POS, N_FEATURES = 5, 3


def batch_of(rng: np.random.Generator, first: int, n_contexts: int) -> tuple[Batch, Activity]:
    """Few distinct tokens, so that prefixes recur; the activation depends on the prefix alone, as in a causal model."""
    ids = rng.integers(0, 2, (n_contexts, N_POS))
    batch = Batch(first, ids, np.full(n_contexts, N_POS), 0)
    found = []
    for row, tokens in enumerate(ids.tolist()):
        for pos in range(N_POS):
            for idx in range(N_FEATURES):
                value = hash_free_value(tuple(tokens[: pos + 1]), idx)
                if value > 0:
                    found.append((first + row, pos, idx, value))
    context, pos, feature_idx, acts = np.array(found, np.float64).reshape(-1, 4).T
    return batch, Activity(
        context.astype(np.int64), pos.astype(np.int64), feature_idx.astype(np.int64), acts.astype(np.float32)
    )


def hash_free_value(prefix: tuple[int, ...], idx: int) -> float:
    code = sum((token + 1) * 3**place for place, token in enumerate(prefix)) * (idx + 2)
    return max(0, code % 11 - 5) / 4


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**32), sizes=st.lists(st.integers(1, 9), min_size=1, max_size=4))
def test_merging_part_by_part_equals_a_loop_over_everything(seed, sizes):
    rng, n_top, n_sample = np.random.default_rng(seed), 2, 3
    parts, first = [], 0
    for size in sizes:
        parts.append(batch_of(rng, first, size))
        first += size
    merged = Tally.merged([Tally.empty()], n_top, n_sample)
    for batch, activity in parts:
        merged = Tally.merged([merged, Tally.of(activity, batch)], n_top, n_sample)
    at_once = Tally.merged([Tally.of(activity, batch) for batch, activity in parts], n_top, n_sample)
    for name in ("counts", "examples"):
        one, other = getattr(merged, name), getattr(at_once, name)
        assert all(np.array_equal(getattr(one, part), getattr(other, part)) for part in type(one).__slots__)
    for idx in range(N_FEATURES):
        check_feature(merged, idx, parts, n_top, n_sample)


def check_feature(tally: Tally, idx: int, parts, n_top: int, n_sample: int) -> None:
    tokens = {batch.first + row: tuple(ids) for batch, _ in parts for row, ids in enumerate(batch.token_ids.tolist())}
    hashes = {batch.first + row: values for batch, _ in parts for row, values in enumerate(batch.prefix_hashes())}
    found, values = {}, []
    for context, ids in tokens.items():
        acts = [hash_free_value(ids[: pos + 1], idx) for pos in range(N_POS)]
        values += [act for act in acts if act]
        peak = acts.index(max(acts))
        if acts[peak]:
            found.setdefault(ids[: peak + 1], (context, peak, acts[peak], int(hashes[context][peak]), acts))
    strongest = sorted(found.values(), key=lambda one: (-one[2], one[3]))[:n_top]
    sampled = sorted(found.values(), key=lambda one: one[3])[:n_sample]
    got = tally.examples.of_feature(idx)
    rows = zip(got.context.tolist(), got.peak.tolist(), got.peak_act.tolist(), got.prefix.tolist(), strict=True)
    rows = [(*row, got.acts_of(number, N_POS).tolist()) for number, row in enumerate(rows)]
    assert [rows[i] for i in got.strongest(n_top)] == strongest
    assert [rows[i] for i in got.sample(n_sample)] == sampled
    assert len(rows) <= n_top + n_sample
    counts, edges = tally.counts.histogram(idx)
    assert counts == tuple(sum(low <= v < high for v in values) for low, high in pairwise(edges))
    assert tally.counts.extremes(idx) == ((min(values), max(values)) if values else (0.0, 0.0))


def test_hashes_are_equal_exactly_where_prefixes_are():
    ids = np.random.default_rng(0).integers(0, 3, (400, 6))
    hashes = Batch(0, ids, np.full(400, 6), 0).prefix_hashes()
    seen: dict = {}
    for row, tokens in enumerate(ids.tolist()):
        for pos in range(6):
            seen.setdefault(tuple(tokens[: pos + 1]), set()).add(int(hashes[row, pos]))
    assert all(len(found) == 1 for found in seen.values())
    assert len(set.union(*seen.values())) == len(seen)


def test_bins_hold_what_lies_between_their_edges_also_below_zero():
    acts = np.array([1e-30, 0.3, 1.0, 1.24, 1.25, 7.9, 8.0, 3e38, -0.3, -1.1], np.float32)
    low, high = bin_edge(bin_of(acts)), bin_edge(bin_of(acts) + 1)
    assert all((low <= acts) & (acts <= high))
    assert np.array_equal(low[acts > 0] == acts[acts > 0], np.array([0, 0, 1, 0, 1, 0, 1, 0], bool))
    counts = Counts.of(np.zeros(3, np.int64), np.array([-0.3, 0.3, 0.3], np.float32))
    histogram, edges = counts.histogram(0)
    assert (histogram[0], histogram[-1], sum(histogram)) == (1, 2, 3)
    assert list(edges) == sorted(edges)


def test_a_checkpoint_is_read_back_bit_by_bit(tmp_path: Path):
    batch, activity = batch_of(np.random.default_rng(1), 0, 6)
    tallies = {2: Tally.of(activity, batch), 5: Tally.empty()}
    save_tallies(tmp_path / "tallies.safetensors", tallies, 6)
    loaded, n_done = load_tallies(tmp_path / "tallies.safetensors", [2, 5])
    assert n_done == 6
    for layer, tally in tallies.items():
        for name in ("counts", "examples"):
            one, other = getattr(tally, name), getattr(loaded[layer], name)
            for part in type(one).__slots__:
                a, b = getattr(one, part), getattr(other, part)
                assert (a.dtype, a.tobytes()) == (b.dtype, b.tobytes())


@pytest.mark.parametrize("n_ignored", [0, 1, 4])
def test_padding_and_ignored_positions_are_not_counted(n_ignored):
    batch = Batch(0, np.zeros((2, 4), np.int64), np.array([4, 2]), n_ignored)
    expected = [[pos >= n_ignored and pos < length for pos in range(4)] for length in (4, 2)]
    assert batch.counted.tolist() == expected
