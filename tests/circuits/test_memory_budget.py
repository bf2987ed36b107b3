"""A memory budget is kept: measured as anonymous memory, in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from circuits.memory import parse_bytes

BUDGETS = ("1GiB", "240MiB", "130MiB")


@pytest.mark.skipif(sys.platform != "linux", reason="runs on Linux, whose /proc tells anonymous memory")
def test_anonymous_memory_stays_within_the_budget_and_the_graph_is_the_same(repository: Path) -> None:
    command = [sys.executable, str(repository / "tests" / "fixtures" / "budget_probe.py"), *BUDGETS]
    paths = os.pathsep.join([str(repository), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=300)
    found = json.loads(answer.stdout.splitlines()[-1])
    for budget, one in zip(BUDGETS, found, strict=True):
        assert one["peak_bytes"] <= parse_bytes(budget)
        assert one["features"] == found[0]["features"]
        np.testing.assert_allclose(one["edge_sums"], found[0]["edge_sums"], rtol=1e-4)
    assert found[0]["batch_size"] > found[-1]["batch_size"]
    assert [one["rows_in_file"] for one in found] == [False, False, True]
