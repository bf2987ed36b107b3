import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.worker import ROOT


@pytest.mark.slow
def test_the_tiny_case_is_written_traced_and_reported(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.gemma_scope_2", "--case", "tiny", "--out", str(tmp_path)]
    for _ in range(2):  # the second time with the weights of the first
        command_line = [*command, "--weights", str(tmp_path / "weights")]
        subprocess.run(command_line, cwd=ROOT, check=True, capture_output=True, timeout=300)
    found = json.loads((tmp_path / "gemma_scope_2_tiny.json").read_text())
    own, n_positions = found["own"], found["n_pos"] - 1
    assert own["n_active"] == pytest.approx(found["l0"] * n_positions * found["n_layers"], rel=0.1)
    assert own["n_attributed"] == found["max_feature_nodes"]
    assert own["books_residual"] <= 1e-5
    assert own["transcoder_bytes"] > 0
