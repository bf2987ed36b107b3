import json
import shutil
from pathlib import Path

import pytest

needs_dot = pytest.mark.skipif(shutil.which("dot") is None, reason="runs where Graphviz's dot is installed")
PROMPT = "the capital of the state containing Dallas is"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_plots_are_written_with_captions(orrery, graph_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    outcome = orrery("export", graph_file, "--figure", "heatmap,curve", "--to", "svg,pdf", "-o", out, "--json")
    stems = ("graph-curve", "graph-heatmap")
    assert names(out) == [f"{stem}{end}" for stem in stems for end in (".caption.tex", ".caption.txt", ".pdf", ".svg")]
    assert sorted(json.loads(outcome.stdout)["files"]) == [str(path) for path in sorted(out.iterdir())]
    assert "prompt: “two words”" in (out / "graph-curve.caption.txt").read_text()


@needs_dot
def test_a_graph_is_as_wide_as_is_said(orrery, graph_file: Path, tmp_path: Path) -> None:
    for width, points in (("column", 234), ("4.5", 324), ("2in", 144)):
        path = tmp_path / "a.svg"
        assert (
            orrery("export", graph_file, "--figure", "graph", "--width", width, "--font", "serif", "-o", path).code == 0
        )
        text = path.read_text()
        assert float(text.split('<svg width="')[1].split("pt")[0]) <= points + 1
        assert "font-family=\"'Times" in text
    assert names(tmp_path) == ["a.caption.txt", "a.svg", "graph.safetensors"]


def test_tikz_is_a_figure_without_being_told(orrery, graph_file: Path, tmp_path: Path) -> None:
    assert orrery("export", graph_file, "-o", tmp_path / "a.tex").code == 0
    assert orrery("export", graph_file, "--to", "tikz", "-o", tmp_path / "out").code == 0
    assert names(tmp_path / "out") == ["graph-graph.caption.tex", "graph-graph.caption.txt", "graph-graph.tex"]
    assert (tmp_path / "a.tex").read_text() == (tmp_path / "out" / "graph-graph.tex").read_text()
    assert orrery("export", graph_file, "--to", "tikz,dot", "-o", tmp_path / "both").code == 0
    assert names(tmp_path / "both") == ["graph.dot", "graph.tex"]


def test_pinned_nodes_are_named_or_those_of_the_annotations(orrery, refuse, graph_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "pins.tex"
    refuse("export", graph_file, "--figure", "pinned", "-o", path, says="found no nodes; name them with --nodes")
    assert orrery("export", graph_file, "--figure", "pinned", "--nodes", "1_4_1", "-o", path).code == 0
    assert "chosen by hand" in path.with_suffix(".caption.txt").read_text()
    named = path.read_text()
    notes = {"schema_version": 1, "pinned": ["1_4_1", "9_9_9"], "labels": {"1/4": "my own label"}}
    (tmp_path / "graph.annotations.json").write_text(json.dumps(notes))
    outcome = orrery("export", graph_file, "--figure", "pinned", "-o", path)
    assert "1 pinned nodes are not in this graph and left out, such as 9_9_9" in outcome.stderr
    assert "my own" in path.read_text()
    assert "my own" not in named
    (tmp_path / "graph.annotations.json").write_text(json.dumps(notes | {"positions": {"1_4_1": [0.25, 0.5]}}))
    assert orrery("export", graph_file, "--figure", "pinned", "-o", path).code == 0
    assert "stand where they were put by hand" in path.with_suffix(".caption.txt").read_text()


def test_supernodes_are_of_a_file_or_of_the_annotations(orrery, refuse, graph_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.tex"
    refuse(
        "export", graph_file, "--figure", "supernodes", "-o", path, says="found no supernodes; give --supernodes FILE"
    )
    notes = {"schema_version": 1, "supernodes": [["mine", "0_7_1", "1_4_1"]]}
    (tmp_path / "graph.annotations.json").write_text(json.dumps(notes))
    assert orrery("export", graph_file, "--figure", "supernodes", "-o", path).code == 0
    assert "mine" in path.read_text()
    other = tmp_path / "supernodes.json"
    other.write_text(json.dumps(notes | {"supernodes": [["other", "0_7_1", "1_4_1"]]}))
    assert orrery("export", graph_file, "--figure", "supernodes", "--supernodes", other, "-o", path).code == 0
    assert "other" in path.read_text()


def test_small_type_is_said(orrery, graph_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.tex"
    assert "hardly be read" not in orrery("export", graph_file, "--figure", "graph", "-o", path).stderr
    outcome = orrery("export", graph_file, "--figure", "graph", "--width", "1.5", "-o", path)
    assert "the smallest type of this figure is 4.2 pt, which can hardly be read" in outcome.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--figure", "pie"], "unknown figure .pie.; choose from graph, supernodes, pinned, heatmap, curve"),
        (["--figure", ","], "unknown figure ',';"),
        (["--figure", "heatmap", "--to", "tikz"], "heatmap is written as svg, pdf, png, not as tikz"),
        (["--figure", "graph", "--to", "csv"], "graph is written as svg, pdf, png, tikz, dot, not as csv"),
        (["--figure", "graph,curve", "-o", "a.pdf"], "is one file, --figure asks for 2; name a folder"),
        (["--figure", "curve", "-o", "a.tex"], "curve is written as svg, pdf, png, not as tikz"),
        (["--figure", "curve", "--to", "svg", "-o", "a.pdf"], "is one pdf file, --format asks for svg"),
        (
            ["--figure", "curve", "--width", "wide"],
            "--width must be column, text or inches from 1.5 to 40, it is 'wide'",
        ),
        (["--figure", "curve", "--width", "nan"], "--width must be column, text or inches"),
        (["--figure", "curve", "--width", "0"], "--width must be column, text or inches"),
        (["--figure", "curve", "--font", "comic"], "--font must be sans or serif, it is 'comic'"),
        (["--figure", "pinned", "--nodes", "7_7_7", "--to", "tikz"], "has no node '7_7_7'; ids are those of its JSON"),
        (["--figure", "graph", "--nodes", "1_4_1"], "--nodes is of --figure pinned, the figures asked for are graph"),
        (["--figure", "curve", "--supernodes", "x.json"], "--supernodes is of --figure supernodes"),
        (["--to", "svg", "--width", "text"], "--width is of figures; add --figure with one of graph"),
        (["--to", "svg", "--title", ""], "--title is of figures"),
        (["--figure", "supernodes", "--supernodes", "none.json", "--to", "tikz"], "expected supernodes at none.json"),
    ],
)
def test_bad_calls_are_refused(refuse, graph_file: Path, monkeypatch, arguments: list[str], says: str) -> None:
    monkeypatch.chdir(graph_file.parent)
    refuse("export", graph_file, *arguments, says=says)
    assert names(graph_file.parent) == ["graph.safetensors"]


def test_damaged_annotations_are_refused(refuse, graph_file: Path) -> None:
    (graph_file.parent / "graph.annotations.json").write_text("{")
    refuse("export", graph_file, "--figure", "graph", "--to", "tikz", says="holds no annotations")


def test_an_intervention_is_drawn(orrery, refuse, tmp_path: Path) -> None:
    path = tmp_path / "new" / "bars.svg"
    call = ("intervene", PROMPT, "-f", "1/-1/1006", "--ablate")
    outcome = orrery(*call, "--figure", path, "--width", "text")
    assert outcome.code == 0
    assert 'width="486pt"' in path.read_text()
    caption = path.with_suffix(".caption.txt").read_text()
    for part in (
        f"after “{PROMPT}”",
        "ablate 1/-1/1006",
        "transcoder: pocket-clt",
        "sha256 of model/model.safetensors",
    ):
        assert part in caption
    refuse(*call, "--figure", tmp_path / "a.gif", says="must be a file that ends in .svg, .pdf, .png")
    refuse(*call, "--font", "serif", says="--font is of figures; add --figure FILE")
