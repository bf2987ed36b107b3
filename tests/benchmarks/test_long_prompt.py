import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.worker import ROOT


@pytest.mark.slow
def test_a_tiny_shape_is_written_traced_and_reported(tmp_path: Path) -> None:
    sizes = ["--shape", "tiny", "--tokens", "40", "--features", "60", "--l0", "5", "--memory", "256MiB"]
    command = [sys.executable, "-m", "benchmarks.long_prompt", *sizes, "--out", str(tmp_path / "out")]
    subprocess.run([*command, "--work", str(tmp_path)], cwd=ROOT, check=True, capture_output=True, timeout=300)
    report = json.loads((tmp_path / "out" / "long_prompt_tiny_40_60.json").read_text())
    found = report["found"]
    assert found["n_active"] == pytest.approx(5 * 39 * 3, rel=0.1)
    assert found["n_attributed"] == 60
    assert 0 < found["n_pruned_edges"] < found["n_edges"]
    assert found["books_residual"] <= 1e-5
    assert 0 < found["trace_bytes"] <= found["peak_bytes"]
    assert found["trace_bytes"] <= 256 * 2**20
