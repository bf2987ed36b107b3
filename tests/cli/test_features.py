"""`orrery features` on the pocket model, end to end."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from rich.console import Console
from safetensors.torch import save_file

from circuits import load_circuit
from circuits.cli.feature_view import example_line, feature_text
from replacement_model import ReplacementModel
from replacement_model.evidence import CollectOptions, EvidenceFolder, collect, open_text
from replacement_model.evidence.record import Example, FeatureEvidence, Quantile
from replacement_model.evidence.records import RecordOptions

LINES = "the capital of the state containing Dallas is\nthe capital of the state containing Seattle is\n"


@pytest.fixture
def text_file(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(LINES, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("collected")
    (place / "text.txt").write_text(LINES, encoding="utf-8")
    options = CollectOptions(record=RecordOptions(n_nearest=2))
    collect(ReplacementModel.from_pretrained("pocket"), open_text(str(place / "text.txt")), place / "ev", options)
    return place / "ev"


@pytest.fixture
def folder(collected: Path, tmp_path: Path) -> Path:
    """Evidence on every feature over two prompts, to be labelled."""
    return Path(shutil.copytree(collected, tmp_path / "ev"))


def strongest(folder: Path) -> str:
    """A feature that is active at Dallas."""
    evidence = EvidenceFolder(folder)
    for key in evidence.keys():  # noqa: SIM118
        for example in evidence.get(*key).examples:
            if example.tokens[example.peak] == "Dallas":
                return f"{key[0]}/{key[1]}"
    raise LookupError


def test_collect_then_show_marks_the_active_token(orrery, folder: Path) -> None:
    name = strongest(folder)
    shown = orrery("features", "show", folder, name).stdout
    assert shown.startswith(f"feature {name}\n")
    assert "«Dallas»" in shown
    assert "nearest" in shown
    record = json.loads(orrery("features", "show", folder, name, "--json").stdout)
    assert f"{record['layer']}/{record['feature']}" == name
    assert max(record["examples_quantiles"][0]["examples"][0]["tokens_acts_list"]) == record["act_max"]


def test_labels_by_hand_from_a_file_and_by_a_function(orrery, folder: Path, tmp_path: Path) -> None:
    name = strongest(folder)
    layer, idx = name.split("/")
    table = tmp_path / "labels.csv"
    table.write_text(f"layer,feature_idx,text\n{layer},{idx},imported\n")
    labeller = "replacement_model.evidence.rules:token_label"
    orrery("features", "label", folder, "--labeller", labeller, "--feature", name)
    assert "label     token" in orrery("features", "show", folder, name).stdout
    orrery("features", "label", folder, "--import", table)
    assert "label     imported" in orrery("features", "show", folder, name).stdout
    outcome = orrery("features", "label", folder, "--set", f"{name}=by hand", "--import", table, "--json")
    assert json.loads(outcome.stdout)["labels"] == [{"layer": int(layer), "feature": int(idx), "text": "by hand"}]
    orrery("features", "label", folder, "--labeller", labeller, "--feature", name)
    assert "label     by hand" in orrery("features", "show", folder, name).stdout
    orrery("features", "label", folder, "--labeller", labeller, "--feature", name, "--replace")
    assert "label     token" in orrery("features", "show", folder, name).stdout


def test_the_features_of_a_graph_are_collected(orrery, text_file: Path, tmp_path: Path) -> None:
    graph = tmp_path / "graph.safetensors"
    orrery("trace", "the capital of the state containing Dallas is", "-o", graph, "--node-threshold", "0.3")
    outcome = orrery(
        "features", "collect", text_file, "-o", tmp_path / "ev", "--graph", graph, "--feature", "0/1", "--json"
    )
    facts = json.loads(outcome.stdout)
    assert (outcome.code, facts["n_contexts"], facts["n_positions"]) == (0, 2, 16)
    circuit = load_circuit(graph)
    kept = circuit.graph.features[circuit.node_mask[circuit.graph.layout.feature_nodes]]
    expected = {(int(layer), int(idx)) for layer, _, idx in kept} | {(0, 1)}
    assert set(EvidenceFolder(tmp_path / "ev").keys()) == expected


def test_gemma_scope_examples_are_shown(orrery, tmp_path: Path) -> None:
    tensors = {
        "activations": torch.tensor([[2.0]]),
        "positions": torch.tensor([[1]], dtype=torch.int32),
        "seq_ids": torch.tensor([[0]]),
        "tokens": torch.tensor([[2, 5, 6]], dtype=torch.int32),
    }
    save_file(tensors, tmp_path / "examples.safetensors")
    assert "2 «5» 6" in orrery("features", "show", tmp_path, "7/0").stdout
    assert "<bos> «" in orrery("features", "show", tmp_path, "7/0", "-m", "pocket").stdout


def test_wrong_calls_are_refused(refuse, folder: Path, text_file: Path, tmp_path: Path) -> None:
    refuse("features", "show", folder, "dallas", says="expected a feature as LAYER/INDEX")
    refuse("features", "show", tmp_path, "0/1", says="has no index.json.gz")
    refuse("features", "show", folder, "9/1", says="has layers 0, 1, 2, not 9")
    refuse("features", "label", folder, says="say where labels come from")
    refuse("features", "label", folder, "--set", "0/1", says="expected --set LAYER/INDEX=TEXT")
    refuse("features", "label", folder, "--labeller", "nothing", says="no orrery.labellers named 'nothing'")
    refuse("features", "collect", tmp_path / "none.txt", "-o", tmp_path / "x", says="does not exist")
    refuse("features", "collect", text_file, "-o", folder, says="evidence of another text, options")


def test_scores_of_labels_on_unseen_text(orrery, refuse, tmp_path: Path) -> None:
    folder = tmp_path / "ev"
    some = [part for idx in range(0, 2048, 12) for part in ("--feature", f"1/{idx}")]
    orrery("features", "collect", "pocket:validation", "-o", folder, "--nearest", "0", *some)
    refuse("features", "score", folder, "pocket:test", says="has no labels")
    orrery("features", "label", folder, "--labeller", "replacement_model.evidence.rules:token_label")
    refuse("features", "score", folder, "pocket:validation", says="the labels rest on pocket:validation itself")
    refuse("features", "score", folder, "pocket:test", "--predictor", "x", says="no orrery.predictors named 'x'")
    report = json.loads(orrery("features", "score", folder, "pocket:test", "--json").stdout)
    assert report["tested_on"]["left_out"] == ["pocket:validation"]
    assert len(report["scores"]) > 20
    assert report["balanced_accuracy"]["low"] > report["shuffled"]["high"]
    assert abs(report["shuffled"]["value"] - 0.5) < 0.05
    best = max(report["scores"], key=lambda one: one["balanced_accuracy"])
    name = f"{best['layer']}/{best['feature_idx']}"
    assert f"balanced accuracy {best['balanced_accuracy']:.2f}" in " ".join(
        orrery("features", "show", folder, name).stdout.split()
    )
    label = json.loads(orrery("features", "show", folder, name, "--json").stdout)["label"]
    assert label["f1"] == best["f1"]
    table = orrery("features", "score", folder, "pocket:test", "--rows", "3").stdout
    assert "with another's label 0." in table


def shown(text) -> str:
    console = Console(force_terminal=True, color_system="truecolor", width=200)
    with console.capture() as capture:
        console.print(text)
    return capture.get()


def test_tokens_stay_text_in_the_terminal() -> None:
    tokens = ("[red]a[/red]", "\x1b[31m", "<b>", "\n")
    evidence = FeatureEvidence(
        0, 1, (Quantile("Top", (Example(tokens, (0.0, 1.0, 0.0, 0.0), 1),)),), ("[bold]", "\x07")
    )
    plain = feature_text(evidence, None, 5, marks=True).plain
    assert "[red]a[/red] «\\x1b[31m» <b> ↵" in plain
    assert "[bold], \\x07" in plain
    assert "\x1b" not in plain
    assert "[red]a[/red]" in shown(feature_text(evidence, None, 5, marks=False))


def test_stronger_tokens_are_brighter_and_long_contexts_are_cut() -> None:
    tokens = tuple(f" t{i}" for i in range(100))
    acts = tuple({50: 8.0, 51: 1.0}.get(i, 0.0) for i in range(100))
    line = example_line(Example(tokens, acts, 50), 8.0, marks=False)
    assert line.plain.startswith("       8  …  t26 t27")
    assert line.plain.endswith("t61 t62 …")
    styles = {line.plain[span.start : span.end]: str(span.style) for span in line.spans}
    assert styles["t50"] != styles["t51"]
    assert "not dim black on orange1" in styles["t50"]
