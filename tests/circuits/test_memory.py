import pytest

from circuits.memory import MemoryPlan, parse_bytes, plan_memory
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


def test_large_budgets_hold_the_decoder_rows_and_batches_stay_bounded() -> None:
    plan = plan_memory(10**12, store_bytes=1000, row_bytes=500, target_bytes=10)
    assert plan.cache_rows
    assert plan == plan_memory(10**15, store_bytes=1000, row_bytes=500, target_bytes=10)


def test_batches_shrink_before_the_decoder_rows_are_gathered_anew() -> None:
    assert plan_memory(1000 + 500 + 35, 1000, 500, 10) == MemoryPlan(3, True)
    assert plan_memory(1000 + 500 + 10, 1000, 500, 10) == MemoryPlan(1, True)
    assert plan_memory(1000 + 500 + 9, 1000, 500, 100) == MemoryPlan(5, False)
    assert plan_memory(1000 + 100, 1000, 500, 100) == MemoryPlan(1, False)


def test_what_cannot_fit_says_what_is_needed_and_what_to_do() -> None:
    mib = 2**20
    with pytest.raises(InputError, match=r"at least 30 MiB.*budget is 29 MiB.*lower max_feature_nodes"):
        plan_memory(29 * mib, store_bytes=20 * mib, row_bytes=mib, target_bytes=10 * mib)
