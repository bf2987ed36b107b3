"""Running commands in this process, and a graph file for them."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from typer.testing import CliRunner

from circuits import Books, Graph, GraphMetadata, Target, attribute, prune, save_graph
from circuits.cli.app import app
from replacement_model import ReplacementModel


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    code: int
    stdout: str
    stderr: str


@pytest.fixture(scope="session", autouse=True)
def _compiled_kernels() -> None:
    """The kernels are on disk before any command runs, so that none announces their compilation."""
    prune(attribute(ReplacementModel.from_pretrained("pocket"), "the capital of the state containing Dallas is"))


@pytest.fixture
def orrery() -> Callable[..., Outcome]:
    """Runs `orrery ARGUMENTS`."""

    def run(*arguments: str | Path) -> Outcome:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Outcome(result.exit_code, result.stdout, result.stderr)

    return run


@pytest.fixture
def run_fresh() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `orrery ARGUMENTS` in a process of its own, as people do: shapes are not checked there."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "circuits.cli", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=300, env=os.environ | environment)

    return run


@pytest.fixture
def refuse(orrery: Callable[..., Outcome]) -> Callable[..., str]:
    """Runs `orrery ARGUMENTS`, which must end in one line that matches `says`, and returns that line."""

    def run(*arguments: str | Path, says: str) -> str:
        outcome = orrery(*arguments)
        lines = outcome.stderr.splitlines()
        assert (outcome.code, outcome.stdout, len(lines)) == (2, "", 1), outcome
        assert lines[0].startswith("orrery: ")
        assert re.search(says, lines[0]), lines[0]
        return lines[0]

    return run


@pytest.fixture
def graph_file(tmp_path: Path) -> Path:
    """Two tokens, three layers: token -> feature -> feature -> two logits, and a weak feature aside."""
    features = np.array([[0, 1, 7], [0, 1, 9], [1, 1, 4]], dtype=np.int32)
    dense = np.zeros((5, 3 + 3 * 2 + 2))  # rows: features, logits; columns: features, errors, tokens
    dense[0, 10], dense[1, 10] = 2.0, 1.0
    dense[2, 0], dense[2, 1], dense[2, 4] = 3.0, 0.01, 0.2
    dense[3, 2], dense[3, 9], dense[4, 2], dense[4, 8] = 4.0, 0.1, -1.0, 0.05
    sums, zeros = dense.sum(axis=1), np.zeros(5)
    graph = Graph(
        metadata=GraphMetadata("model", "transcoder", "two words", hashes={"model/model.safetensors": "00ff"}),
        tokens=("<bos>", "two"),
        token_ids=np.array([0, 5]),
        n_layers=3,
        n_ignored_pos=1,
        features=features,
        feature_acts=np.array([1.0, 0.5, 2.0]),
        targets=(Target("logit", "yes", 1, 0.9, 3, (11,)), Target("logit", "no", 1, 0.1, 3, (12,))),
        adjacency=sp.csr_array(dense),
        books=Books(sums, zeros, zeros, zeros, 0.0),
        fvu=(0.1, 0.2, float("nan")),
        feature_labels=(None, None, None),
    )
    path = tmp_path / "graph.safetensors"
    save_graph(graph, path)
    return path
