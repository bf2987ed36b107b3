import json
from pathlib import Path

import pytest

from circuits import load_circuit


def test_prunes_shows_and_writes(orrery, graph_file: Path, tmp_path: Path) -> None:
    outcome = orrery("prune", graph_file, "--node-threshold", "0.7", "-o", tmp_path / "new" / "circuit.safetensors")
    assert outcome.code == 0
    assert "two words" in outcome.stdout
    assert "wrote" in outcome.stderr
    assert load_circuit(tmp_path / "new" / "circuit.safetensors").node_threshold == 0.7


def test_thresholds_change_the_circuit(orrery, graph_file: Path) -> None:
    def features(threshold: str) -> int:
        outcome = orrery("prune", graph_file, "--node-threshold", threshold, "--json")
        return json.loads(outcome.stdout)["counts"]["features"]

    assert features("0.5") < features("1")


def test_a_circuit_can_be_pruned_again_more_loosely(orrery, graph_file: Path, tmp_path: Path) -> None:
    tight = tmp_path / "tight.safetensors"
    orrery("prune", graph_file, "--node-threshold", "0.5", "-o", tight)
    again = json.loads(orrery("prune", tight, "--node-threshold", "1", "--json").stdout)
    assert (
        again["counts"] == json.loads(orrery("prune", graph_file, "--node-threshold", "1", "--json").stdout)["counts"]
    )


def test_json_is_all_of_stdout_and_names_the_file(orrery, graph_file: Path, tmp_path: Path) -> None:
    outcome = orrery("prune", graph_file, "--json", "-o", tmp_path / "c.safetensors")
    assert json.loads(outcome.stdout)["files"] == [str(tmp_path / "c.safetensors")]


@pytest.mark.parametrize("option", ["--node-threshold", "--edge-threshold"])
@pytest.mark.parametrize("value", ["-0.1", "1.5", "nan"])
def test_thresholds_outside_0_to_1_are_refused(refuse, graph_file: Path, option: str, value: str) -> None:
    refuse("prune", graph_file, option, value, says=f"{option} must be between 0 and 1, it is {value}")


def test_a_missing_graph_is_refused(refuse, tmp_path: Path) -> None:
    refuse("prune", tmp_path / "none.safetensors", says="found none; check the path")


def test_a_truncated_graph_is_refused(refuse, graph_file: Path) -> None:
    graph_file.write_bytes(graph_file.read_bytes()[:-40])
    refuse("prune", graph_file, says="is damaged")


def test_an_output_that_cannot_be_written_is_refused_and_leaves_nothing(
    refuse, graph_file: Path, tmp_path: Path
) -> None:
    before = sorted(tmp_path.rglob("*"))
    refuse("prune", graph_file, "-o", graph_file / "below-a-file.safetensors", says="cannot write to .* choose another")
    assert sorted(tmp_path.rglob("*")) == before


def test_graph_json_is_pruned_by_the_edges_in_it(orrery, graph_file: Path, tmp_path: Path) -> None:
    exported, again = tmp_path / "graph.json", tmp_path / "again.safetensors"
    orrery("export", graph_file, "-o", exported, "--node-threshold", "1", "--edge-threshold", "1")
    outcome = orrery("prune", exported, "--node-threshold", "0.5", "-o", again)
    assert outcome.code == 0
    assert "books not in the file" in outcome.stdout
    assert "computed from the edges in it" in " ".join(outcome.stdout.split())
    assert load_circuit(again).graph.read_from["producer"] == "Orrery"
    assert (
        json.loads(orrery("prune", exported, "--json").stdout)["read_from"]["not_in_file"][0]
        == "edges that were pruned"
    )
