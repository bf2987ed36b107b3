import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.environment import peer_is_installed
from benchmarks.golden import golden_folder

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not peer_is_installed(), reason="runs once `make test-4.57` has made .venv-4.57"),
    pytest.mark.skipif(not golden_folder().is_dir(), reason="runs where golden/ is (or set ORRERY_GOLDEN)"),
]


def test_quick_run_writes_results(repository: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks", "--quick", "--threads", "1", "--out", str(tmp_path)]
    subprocess.run(command, cwd=repository, check=True, capture_output=True)
    found = json.loads((tmp_path / "quick.json").read_text())
    assert found["peer"]["version"] == "0.5.0"
    assert found["tracing"]["clt"]["times_ours"]["default"] > 0
    assert "Caerii" in (tmp_path / "README.md").read_text()
