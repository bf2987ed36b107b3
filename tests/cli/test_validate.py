import json
from pathlib import Path

import pytest


@pytest.fixture
def graph_json(orrery, graph_file: Path, tmp_path: Path) -> Path:
    path = tmp_path / "graph.json"
    orrery("export", graph_file, "-o", path)
    return path


def test_files_without_an_error(orrery, graph_file: Path, graph_json: Path) -> None:
    outcome = orrery("validate", graph_file, graph_json)
    assert (outcome.code, outcome.stderr) == (0, "")
    assert outcome.stdout.splitlines() == [f"{graph_file}: graph: no violation", f"{graph_json}: graph: no violation"]


def test_a_broken_rule_is_one_line_and_exit_1(orrery, graph_json: Path) -> None:
    value = json.loads(graph_json.read_bytes())
    value["links"][0]["target"] = "nowhere"
    del value["metadata"]["scan"]
    graph_json.write_text(json.dumps(value))
    outcome = orrery("validate", graph_json)
    assert outcome.code == 1
    first, second, last = outcome.stdout.splitlines()
    assert first.startswith(
        f"{graph_json}: error: metadata-required at /metadata: expected the key 'scan', got nothing;"
    )
    assert second.startswith(
        f"{graph_json}: error: link-end at /links/0/target: expected the node_id of a node, got 'nowhere'; end links on"
    )
    assert last == f"{graph_json}: graph: 2 errors, 0 warnings"


def test_a_warning_alone_is_no_failure(orrery, graph_json: Path) -> None:
    value = json.loads(graph_json.read_bytes())
    value["qParams"]["pinnedIds"] = ["nowhere"]
    graph_json.write_text(json.dumps(value))
    outcome = orrery("validate", graph_json)
    assert outcome.code == 0
    assert "warning: qparams-known-ids at /qParams/pinnedIds/0" in outcome.stdout


def test_what_cannot_be_read_is_exit_2_and_the_others_are_checked(orrery, graph_json: Path, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{")
    outcome = orrery("validate", tmp_path / "x.json", tmp_path / "absent.json", graph_json)
    assert outcome.code == 2
    assert outcome.stdout == f"{graph_json}: graph: no violation\n"
    assert [line.split()[0] for line in outcome.stderr.splitlines()] == ["orrery:", "orrery:"]


def test_for_programs(orrery, graph_json: Path, tmp_path: Path) -> None:
    value = json.loads(graph_json.read_bytes())
    value["nodes"][0]["ctx_idx"] = 99
    graph_json.write_text(json.dumps(value))
    outcome = orrery("validate", graph_json, tmp_path / "absent.json", "--json")
    found = json.loads(outcome.stdout)
    assert outcome.code == 2
    (file,) = found["files"]
    assert (file["path"], file["kind"], file["errors"]) == (str(graph_json), "graph", 1)
    assert file["violations"][0]["rule"] == "ctx-idx"
    assert file["violations"][0]["where"] == "/nodes/0/ctx_idx"
    assert "absent.json" in found["unreadable"][0]
