from dataclasses import dataclass, replace

import pytest
import torch

import circuits.memory as memory_module
from circuits.memory import MemoryNeeds, MemoryPlan, keeps_patterns, parse_bytes, plan_memory, tensor_bytes
from replacement_model import InputError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("4GiB", 4 * 2**30),
        ("512 MB", 512 * 10**6),
        ("1.5KiB", 1536),
        (" 7 B ", 7),
        ("2TB", 2 * 10**12),
        ("1024", 1024),
        (4096, 4096),
    ],
)
def test_sizes_are_read(text: str | int, expected: int) -> None:
    assert parse_bytes(text) == expected


@pytest.mark.parametrize(
    "text", ["", "four GiB", "4G", "4gib", "-1GiB", "0", "0.0MiB", 0, -5, "1e9", "4GiB free", "iB"]
)
def test_what_is_no_size_is_refused_with_an_example(text: str | int) -> None:
    with pytest.raises(InputError, match="such as 4GiB"):
        parse_bytes(text)


@dataclass(frozen=True, slots=True)
class Record:
    one: torch.Tensor
    other: object


@pytest.fixture
def no_reserve(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_module, "RESERVE", 0)


NEEDS = MemoryNeeds(held=1000, store=500, result=300, decoder_rows=40, buffers=lambda n: 10 * n)


def test_batches_stay_bounded_and_small_decoder_rows_are_held(no_reserve: None) -> None:
    plan = plan_memory(10**6, NEEDS)
    assert plan == plan_memory(10**12, NEEDS)
    assert (plan.cache_rows, plan.rows_in_file) == (True, False)
    assert plan.batch_size < 1000


def test_large_decoder_rows_are_gathered_anew(no_reserve: None) -> None:
    needs = replace(NEEDS, decoder_rows=10**5)
    assert not plan_memory(64 * 10**5 - 1, needs).cache_rows
    assert plan_memory(64 * 10**5, needs).cache_rows


def test_rows_go_to_a_file_before_batches_get_too_small(no_reserve: None) -> None:
    enough = 1000 + 500 + 320
    assert plan_memory(enough, NEEDS) == MemoryPlan(32, cache_rows=False, rows_in_file=False)
    assert plan_memory(enough - 1, NEEDS) == MemoryPlan(81, cache_rows=False, rows_in_file=True)
    assert plan_memory(1000 + 310, NEEDS) == MemoryPlan(31, cache_rows=False, rows_in_file=True)


def test_the_result_needs_its_room_when_the_buffers_are_gone(no_reserve: None) -> None:
    assert plan_memory(1000 + 300, NEEDS).batch_size == 30
    with pytest.raises(InputError):
        plan_memory(1000 + 299, NEEDS)
    with pytest.raises(InputError):
        plan_memory(1000 + 309, replace(NEEDS, buffers=lambda n: 300 + 10 * n))


def test_what_cannot_fit_says_what_is_needed_and_what_to_do() -> None:
    mib = 2**20
    needs = MemoryNeeds(20 * mib, 9 * mib, 2 * mib, mib, lambda n: n * 10 * mib)
    with pytest.raises(InputError, match=r"at least 70 MiB.*budget is 69 MiB.*lower max_feature_nodes"):
        plan_memory(69 * mib, needs)
    assert plan_memory(70 * mib, needs) == MemoryPlan(1, cache_rows=False, rows_in_file=True)


def test_patterns_are_kept_where_they_are_a_small_part() -> None:
    n_bytes = 12 * 100**2 * 4
    assert keeps_patterns(8 * n_bytes, n_patterns=12, n_pos=100, itemsize=4)
    assert not keeps_patterns(8 * n_bytes - 1, n_patterns=12, n_pos=100, itemsize=4)


def test_shared_memory_is_counted_once() -> None:
    whole = torch.zeros(10, 3)
    one, other = Record(whole[2:], None), Record(whole[0], {"nested": (whole.clone(), 3)})
    assert tensor_bytes(one) == whole.nbytes
    assert tensor_bytes(one, other) == 2 * whole.nbytes
