import time
from itertools import count

import numpy as np
import pytest

from benchmarks.measure import measure
from benchmarks.side_by_side import side_by_side

MIB = 2**20


def test_the_peak_during_a_call_counts_even_if_it_is_freed() -> None:
    def call() -> int:
        held = np.ones(64 * MIB, dtype=np.uint8)
        time.sleep(0.1)  # longer than the time between two samples
        return int(held.sum())

    result, measured = measure(call)
    assert result == 64 * MIB
    assert 60 * MIB < measured.extra_bytes < 80 * MIB
    assert measured.seconds > 0


def test_memory_held_before_a_call_does_not_count() -> None:
    held = np.ones(64 * MIB, dtype=np.uint8)
    _, measured = measure(lambda: held.sum())
    assert measured.extra_bytes < 4 * MIB


def test_tools_take_turns_after_a_warm_up() -> None:
    clock = count()

    def tool(seconds: float) -> dict[str, float]:
        return {"seconds": seconds * (1 + next(clock) // 2), "extra_bytes": seconds * 10}

    found = side_by_side({"own": lambda: tool(1.0), "peer": lambda: tool(3.0)}, repeats=3)
    assert found["seconds"] == {"own": [2, 3, 4], "peer": [6, 9, 12]}
    assert found["times_ours"] == {"peer": pytest.approx(3)}
    assert found["bytes_times_ours"] == {"peer": pytest.approx(3)}
