import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from circuits import attribute, load_graph, prune, save_circuit, save_graph
from replacement_model import ReplacementModel

PROMPT = "the opposite of small is"
QUICK = ("--features", "3", "--most-ablations", "10")


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("traced") / "small.safetensors"
    save_circuit(prune(attribute(ReplacementModel.from_pretrained("pocket"), PROMPT)), path)
    return path


def test_checks_a_graph_and_writes_everything(orrery, traced: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    outcome = orrery("check", traced, *QUICK, "-o", folder)
    assert outcome.code == 0
    for text in ("holds", "Direct effects", "Another transcoder", "What must be exact is exact"):
        assert text in outcome.stdout
    assert sorted(path.name for path in folder.iterdir()) == ["check.json", "check.pdf", "check.svg", "summary.md"]
    content = json.loads((folder / "check.json").read_text(encoding="utf-8"))
    assert content["holds"]
    assert content["each"][0]["comparison"]["second"]["transcoder"] == "pocket-plt"
    assert (folder / "check.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.slow
def test_prompts_are_traced_first_and_give_intervals(orrery) -> None:
    arguments = ("check", PROMPT, "the opposite of empty is", "-t", "plt", *QUICK, "--json")
    found = json.loads(orrery(*arguments).stdout)
    assert json.loads(orrery(*arguments).stdout) == found
    assert [one["transcoder"] for one in found["each"]] == ["pocket-plt"] * 2
    assert found["each"][0]["comparison"]["second"]["transcoder"] == "pocket-clt"
    assert found["ablation"]["n_prompts"] == 2
    assert found["files"] == []


def test_a_corrupted_graph_fails(orrery, traced: Path, tmp_path: Path) -> None:
    graph = load_graph(traced)
    adjacency = graph.adjacency.copy()
    strongest = int(np.abs(adjacency.data).argmax())
    adjacency.data[strongest] *= 1.1
    wrong = tmp_path / "wrong.safetensors"
    save_graph(replace(graph, adjacency=adjacency), wrong)
    outcome = orrery("check", wrong, *QUICK, "--other-transcoder", "none")
    assert outcome.code == 1
    assert "FAILS" in outcome.stdout
    assert "Another transcoder" not in outcome.stdout


@pytest.mark.slow
def test_a_feature_as_target_is_not_compared(orrery, tmp_path: Path) -> None:
    path = tmp_path / "feature.safetensors"
    orrery("trace", PROMPT, "--target", "feature:2:7", "-o", path)
    found = json.loads(orrery("check", path, *QUICK, "--json").stdout)
    assert found["holds"]
    assert (found["each"][0]["comparison"], found["each"][0]["ablation"]) == (None, None)


def test_bad_calls_are_refused(refuse, graph_file: Path, traced: Path, tmp_path: Path) -> None:
    refuse("check", graph_file, says="traced with model and transcoder; say where they are with --model")
    refuse("check", graph_file, "-m", "pocket", says="traced with transcoder transcoder, this is pocket-clt")
    refuse("check", graph_file, traced, says="graphs of one model and transcoder are checked together")
    refuse("check", tmp_path / "none.safetensors", says="none.safetensors")
    refuse("check", traced, "-o", traced, says="is a file; name a folder")


def test_nothing_is_half_written(orrery, traced: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr("viz.figures.figure_bytes", interrupted)
    outcome = orrery("check", traced, *QUICK, "--other-transcoder", "none", "-o", tmp_path / "out")
    assert outcome.code == 130
    assert not (tmp_path / "out").exists()


def test_graph_json_cannot_be_checked(orrery, refuse, tmp_path: Path) -> None:
    orrery("trace", "the opposite of small is", "-o", tmp_path / "small.json")
    refuse("check", tmp_path / "small.json", says="read from graph JSON, which has neither; trace the prompt again")
