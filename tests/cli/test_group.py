import json
from pathlib import Path

import pytest

from circuits import load_circuit, load_graph, load_grouping


@pytest.fixture
def dallas(orrery, tmp_path: Path) -> Path:
    path = tmp_path / "dallas.safetensors"
    orrery("trace", "the capital of the state containing Dallas is", "-o", path)
    return path


@pytest.mark.slow
def test_groups_the_shipped_models_graphs_with_its_corpus(orrery, dallas: Path, tmp_path: Path) -> None:
    written = tmp_path / "supernodes.json"
    outcome = orrery("group", dallas, "--json", "-o", written, "--export", tmp_path / "grouped.dot")
    facts = json.loads(outcome.stdout)
    assert outcome.code == 0
    assert facts["files"] == [str(written), str(tmp_path / "grouped.dot")]
    assert list(facts["found"]["weights"]) == ["incoming", "outgoing", "decoder", "activation", "labels"]
    assert facts["found"]["n_contexts"] > 500
    content = json.loads(written.read_text(encoding="utf-8"))
    assert content["found"] == facts["found"]
    assert [row[1:] for row in content["supernodes"]] == [one["node_ids"] for one in facts["supernodes"]]
    assert "supernode of" in (tmp_path / "grouped.dot").read_text(encoding="utf-8")
    assert json.loads(orrery("group", dallas, "--json").stdout)["supernodes"] == facts["supernodes"]


def test_shows_members_edges_and_stability(orrery, dallas: Path) -> None:
    outcome = orrery("group", dallas, "--model", "none", "--groups", "3")
    assert outcome.code == 0
    for text in ("in 3 groups", "stability", "Supernodes", "Strongest edges", "Austin", "Within supernodes"):
        assert text in outcome.stdout
    assert "contexts" not in outcome.stdout


def test_a_corpus_of_ones_own(orrery, dallas: Path, tmp_path: Path) -> None:
    texts = tmp_path / "texts.txt"
    texts.write_text("the capital of the state containing Dallas is\n\nthe opposite of small is\n", encoding="utf-8")
    facts = json.loads(orrery("group", dallas, "--texts", texts, "--json").stdout)
    assert facts["found"]["n_contexts"] == 12


def test_supernodes_by_hand_prune_and_export(orrery, dallas: Path, tmp_path: Path) -> None:
    by_hand, graph = tmp_path / "by-hand.json", load_graph(dallas)
    names = [f"{layer}_{idx}_{pos}" for layer, pos, idx in graph.features.tolist()]
    kept = load_circuit(dallas).node_mask
    mine = [name for name, is_kept in zip(names, kept, strict=False) if is_kept]
    lost = next(name for name, is_kept in zip(names, kept, strict=False) if not is_kept)
    by_hand.write_text(
        json.dumps({"schema_version": 1, "supernodes": [["mine", *mine[:3], lost], ["rest", *mine[3:]]]})
    )
    outcome = orrery(
        "group", dallas, "--supernodes", by_hand, "--keep", "0.9", "--export", tmp_path / "g.json", "--json"
    )
    facts = json.loads(outcome.stdout)
    assert "1 nodes of" in outcome.stderr
    assert facts["found"] is None
    assert "rest" in [one["label"] for one in facts["supernodes"]]
    assert {group.label for group in load_grouping(tmp_path / "g.json", graph)} == {
        one["label"] for one in facts["supernodes"]
    }
    again = orrery("group", dallas, "--supernodes", tmp_path / "g.json", "--export", tmp_path / "g.safetensors")
    assert again.code == 0
    assert load_circuit(tmp_path / "g.safetensors").edges.nnz == load_circuit(dallas).edges.nnz


def test_a_graph_of_another_model_needs_no_model(orrery, graph_file: Path) -> None:
    facts = json.loads(orrery("group", graph_file, "--node-threshold", "1", "--json").stdout)
    assert list(facts["found"]["weights"]) == ["incoming", "outgoing"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["-o", "x.svg"], "supernodes are written as .json, --output is x.svg"),
        (["-o", "x.json", "--export", "x.json"], "are both x.json; name two files"),
        (["--supernodes", "x.json", "--groups", "3"], "nothing is searched for; leave out --groups"),
        (["--supernodes", "nowhere.json"], "found no file; write one"),
        (["--texts", "nowhere.txt"], "--texts needs the model"),
        (["--groups", "99"], "groups of 2 features, got 99|groups of 3 features, got 99"),
        (["--model", "pocket"], "traced with transcoder transcoder, this is pocket-clt"),
    ],
)
def test_bad_calls_are_refused(refuse, graph_file: Path, arguments: list[str], says: str) -> None:
    refuse("group", graph_file, *arguments, says=says)


def test_texts_must_be_there(refuse, dallas: Path, tmp_path: Path) -> None:
    refuse("group", dallas, "--texts", "nowhere.txt", says="nowhere.txt does not exist")
    (tmp_path / "empty.txt").write_text("\n")
    refuse("group", dallas, "--texts", tmp_path / "empty.txt", says="holds no text")
