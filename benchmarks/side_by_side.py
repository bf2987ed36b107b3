"""Two or more tools doing the same thing in turn, so that what disturbs the machine disturbs them all."""

from collections.abc import Callable, Mapping
from statistics import median
from typing import Any

__all__ = ["side_by_side"]

OURS = "own"


def side_by_side(calls: Mapping[str, Callable[[], dict[str, Any]]], repeats: int) -> dict[str, Any]:
    """Runs every call once for its memory (a warm-up too), then all in turn, `repeats` times, for their seconds.

    Args:
        calls: by tool, ours as `own`; each returns the `seconds` and `extra_bytes` of `measure`.
        repeats: timed calls of each.

    Returns:
        Seconds and bytes by tool, and those of the others as multiples of ours.
    """
    extra_bytes = {name: call()["extra_bytes"] for name, call in calls.items()}
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            seconds[name].append(call()["seconds"])
    medians = {name: median(times) for name, times in seconds.items()}
    others = [name for name in calls if name != OURS]
    return {
        "seconds": seconds,
        "median_seconds": medians,
        "extra_bytes": extra_bytes,
        "times_ours": {name: medians[name] / medians[OURS] for name in others},
        "bytes_times_ours": {name: extra_bytes[name] / extra_bytes[OURS] for name in others},
    }
