import json
import shutil
from pathlib import Path

import pytest

from circuits import load_circuit
from replacement_model.evidence.folder import write_index, write_layer
from replacement_model.evidence.record import FeatureEvidence
from viz import Annotations, save_annotations

needs_dot = pytest.mark.skipif(shutil.which("dot") is None, reason="runs where Graphviz's dot is installed")
SUFFIXES = {
    "dot": [".dot"],
    "json": [".json"],
    "graphml": [".graphml"],
    "csv": [".edges.csv", ".nodes.csv"],
    "graph": [".safetensors"],
    "svg": [".svg"],
    "pdf": [".pdf"],
    "png": [".png"],
    "html": [".html"],
}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=needs_dot) if n in ("svg", "pdf", "png") else n for n in SUFFIXES]
)
def test_every_format_is_written_and_named(orrery, graph_file: Path, tmp_path: Path, name: str) -> None:
    outcome = orrery("export", graph_file, "--to", name, "-o", tmp_path / "out", "--json")
    expected = [str(tmp_path / "out" / f"graph{suffix}") for suffix in SUFFIXES[name]]
    assert sorted(json.loads(outcome.stdout)["files"]) == expected
    assert all(Path(path).stat().st_size > 100 for path in expected)
    assert all(path in outcome.stderr.replace("\n", "") for path in expected)


def test_the_ending_of_the_output_names_the_format(orrery, graph_file: Path, tmp_path: Path) -> None:
    assert orrery("export", graph_file, "-o", tmp_path / "a.graphml").code == 0
    assert (tmp_path / "a.graphml").read_text().startswith("<?xml")


def test_without_output_the_file_lies_beside_the_graph(orrery, graph_file: Path) -> None:
    orrery("export", graph_file, "--to", "dot")
    assert graph_file.with_suffix(".dot").is_file()


def test_a_circuit_keeps_its_thresholds_unless_told_otherwise(orrery, graph_file: Path, tmp_path: Path) -> None:
    circuit, copy = tmp_path / "circuit.safetensors", tmp_path / "copy.safetensors"
    orrery("prune", graph_file, "--node-threshold", "0.5", "-o", circuit)
    orrery("export", circuit, "-o", copy)
    assert load_circuit(copy).node_threshold == 0.5
    orrery("export", circuit, "-o", copy, "--edge-threshold", "0.9")
    assert (load_circuit(copy).node_threshold, load_circuit(copy).edge_threshold) == (0.8, 0.9)


def test_no_format_is_refused(refuse, graph_file: Path) -> None:
    refuse("export", graph_file, says="say what to write: --to")


def test_an_unknown_format_is_refused(refuse, graph_file: Path) -> None:
    refuse("export", graph_file, "--to", "svg,gif", says="unknown format .gif.; choose from")


def test_a_format_that_contradicts_the_ending_is_refused(refuse, graph_file: Path, tmp_path: Path) -> None:
    refuse(
        "export", graph_file, "--to", "dot", "-o", tmp_path / "a.json", says="is one json file, --format asks for dot"
    )


def test_overwriting_the_input_is_refused(refuse, graph_file: Path) -> None:
    before = graph_file.read_bytes()
    refuse("export", graph_file, "--to", "graph", says="written over itself")
    assert graph_file.read_bytes() == before


def test_a_picture_without_graphviz_is_refused_before_anything_is_read(refuse, graph_file: Path, monkeypatch) -> None:
    monkeypatch.setenv("PATH", "")
    refuse("export", graph_file, "--to", "svg", says="needs Graphviz.*install")


def test_graph_json_is_a_graph_too(orrery, refuse, graph_file: Path, tmp_path: Path) -> None:
    exported = tmp_path / "graph.json"
    orrery("export", graph_file, "-o", exported)
    for name in ("dot", "graphml", "csv", "graph", "json"):
        assert orrery("export", exported, "--to", name, "-o", tmp_path / "again").code == 0
    assert load_circuit(tmp_path / "again" / "graph.safetensors").edges.nnz > 0
    assert orrery("info", exported).code == 0
    assert orrery("group", exported, "--groups", "2", "-o", tmp_path / "supernodes.json").code == 0
    refuse("export", exported, "--to", "json", says="written over itself")


def test_damaged_graph_json_is_refused(refuse, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"nodes": []}')
    refuse(
        "export", tmp_path / "x.json", "-o", tmp_path / "x.dot", says="cannot be read as graph JSON: expected metadata"
    )
    (tmp_path / "x.json").write_text("{")
    refuse("export", tmp_path / "x.json", "-o", tmp_path / "x.dot", says="x.json is not JSON")


def test_a_folder_to_serve(orrery, refuse, graph_file: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    written = json.loads(orrery("export", graph_file, "--site", site, "--json").stdout)["files"]
    assert all(Path(path).is_file() for path in written)
    assert {path.name for path in site.iterdir()} == {"graph-metadata.json", "graph_data", "features", "data"}
    assert orrery("validate", site).code == 0
    refuse("export", graph_file, "--to", "dot", "--features", tmp_path, says="--features are for html and")
    refuse("export", graph_file, "--site", site, "--features", tmp_path, says="has no index.json.gz")


@pytest.fixture
def annotated(graph_file: Path) -> Path:
    """Pins, a supernode and a label beside the graph."""
    notes = Annotations((("pair", "0_7_1", "0_9_1"),), ("1_4_1",), labels={"1/4": "by hand <b>"})
    save_annotations(notes, graph_file)
    return graph_file


def exported(orrery, place: Path, *arguments: str | Path) -> str:
    outcome = orrery("export", *arguments, "-o", place, "--node-threshold", "1", "--edge-threshold", "1")
    assert outcome.code == 0, outcome.stderr
    return place.read_text()


def test_exports_have_the_annotations_beside_the_graph(orrery, annotated: Path, tmp_path: Path) -> None:
    data = json.loads(exported(orrery, tmp_path / "a.json", annotated))
    assert data["qParams"]["supernodes"] == [["pair", "0_7_1", "0_9_1"]]
    assert data["qParams"]["pinnedIds"] == ["1_4_1", "0_7_1", "0_9_1"]
    assert [node["clerp"] for node in data["nodes"] if node["node_id"] == "1_4_1"] == ["by hand <b>"]
    assert "by hand" in exported(orrery, tmp_path / "a.graphml", annotated)
    page = exported(orrery, tmp_path / "a.html", annotated)
    assert page.count('["pair","0_7_1","0_9_1"]') == 1
    assert "by hand \\u003cb\\u003e" in page


def test_graph_json_keeps_its_own_supernodes_and_pins(orrery, annotated: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs.json"
    content = json.loads(exported(orrery, theirs, annotated))
    content["qParams"]["supernodes"] = [["pair", "0_7_1", "0_9_1", "9_9_9"], ["again", "0_7_1"], ["gone", "8_8_8"], 7]
    theirs.write_text(json.dumps(content))
    data = json.loads(exported(orrery, tmp_path / "again.json", theirs))
    assert data["qParams"]["supernodes"] == [["pair", "0_7_1", "0_9_1"]]
    assert "1_4_1" in data["qParams"]["pinnedIds"]
    page = exported(orrery, tmp_path / "b.html", theirs)
    assert '["pair","0_7_1","0_9_1"' in page
    assert '"pinned":["1_4_1"' in page


def test_other_annotations_and_supernodes_can_be_named(orrery, refuse, annotated: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.annotations.json"
    save_annotations(Annotations((("all", "0_7_1", "0_9_1", "1_4_1"),)), other)
    data = json.loads(exported(orrery, tmp_path / "a.json", annotated, "--annotations", other))
    assert (data["qParams"]["supernodes"][0][0], len(data["qParams"]["pinnedIds"])) == ("all", 3)
    data = json.loads(exported(orrery, tmp_path / "b.json", annotated, "--supernodes", other))
    assert (data["qParams"]["supernodes"][0][0], data["qParams"]["pinnedIds"][0]) == ("all", "1_4_1")
    assert "all" in exported(orrery, tmp_path / "b.graphml", annotated, "--supernodes", other)
    assert '["all","0_7_1"' in exported(orrery, tmp_path / "b.html", annotated, "--supernodes", other)
    refuse("export", annotated, "--to", "json", "--annotations", tmp_path / "x", says="expected annotations at")


def test_evidence_goes_into_the_page(orrery, refuse, graph_file: Path, tmp_path: Path) -> None:
    records = [None, None, None, None, FeatureEvidence(1, 4, frequency=0.25)]
    write_index(tmp_path / "e", {1: write_layer(tmp_path / "e" / "layer_1.bin", records)})
    assert '"activation_frequency":0.25' in exported(
        orrery, tmp_path / "a.html", graph_file, "--features", tmp_path / "e"
    )
    refuse(
        "export", graph_file, "--to", "json", "--features", tmp_path / "e", says="are for html and the files of --site"
    )


def test_supernodes_by_hand_are_read_from_annotations(orrery, annotated: Path) -> None:
    outcome = orrery("group", annotated, "--supernodes", annotated.with_name("graph.annotations.json"), "--json")
    assert outcome.code == 0, outcome.stderr
    assert '"pair"' in outcome.stdout
