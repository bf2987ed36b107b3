import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from circuits import Circuit, Graph, load_circuit, load_graph, prune
from circuits.studies.folder import StudyFolder
from circuits.studies.inputs import model_inputs
from replacement_model import ReplacementModel
from replacement_model.errors import InputError
from replacement_model.hashing import sha256
from replacement_model.pocket import MODEL_DIR, TRANSCODER_DIRS

SETTINGS = {"quick": True, "seeds": (1, 2)}
INPUTS = {"model/model.safetensors": "0" * 64}


def opened(path: Path, settings: dict | None = None, inputs: dict | None = None) -> StudyFolder:
    return StudyFolder.open(path, "a-study", SETTINGS if settings is None else settings, inputs or INPUTS)


def never() -> None:
    pytest.fail("computed although it was kept")


def test_a_piece_is_computed_once_and_is_what_the_file_gives_back(tmp_path: Path) -> None:
    value = {"pair": (1, 0.1), "text": "é <b>"}
    with opened(tmp_path) as folder:
        first = folder.piece("one", lambda: value)
        assert first == {"pair": [1, 0.1], "text": "é <b>"}
        assert folder.piece("one", never) == first
    with opened(tmp_path) as folder:
        assert folder.piece("one", never) == first


def test_nothing_of_a_failed_computation_is_kept(tmp_path: Path) -> None:
    with opened(tmp_path) as folder:
        with pytest.raises(ZeroDivisionError):
            folder.piece("one", lambda: 1 / 0)
        assert sorted(path.name for path in tmp_path.rglob("*")) == [".lock", "study.json"]
        assert folder.piece("one", lambda: 2) == 2


@pytest.mark.parametrize(
    "value", [float("nan"), {1, 2}, {"a": object()}, "\ud800"], ids=["nan", "set", "object", "half"]
)
def test_what_json_cannot_hold_is_refused(tmp_path: Path, value: object) -> None:
    with opened(tmp_path) as folder, pytest.raises(InputError, match="one: expected plain values"):
        folder.piece("one", lambda: value)


@pytest.mark.parametrize("name", ["", "../one", "a/b", ".hidden", "a b", "x" * 121, "a\n"])
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    with opened(tmp_path / "study") as folder:
        with pytest.raises(InputError, match="expected a file name"):
            folder.piece(name, never)
        with pytest.raises(InputError, match="expected a file name"):
            folder.write_text(f"../{name}", "")
    assert [path.name for path in tmp_path.iterdir()] == ["study"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: text.replace("0.25", "0.75"),
        lambda text: '{"value": 0.25}',
        lambda text: "[1]",
        lambda text: "\x00" * len(text),
    ],
    ids=["truncated", "empty", "changed", "no hash", "no object", "zeros"],
)
def test_a_damaged_piece_is_computed_again_and_said_so(
    tmp_path: Path, damage: Callable[[str], str], caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "pieces" / "one.json"
    with opened(tmp_path) as folder:
        folder.piece("one", lambda: {"share": 0.25})
        whole = path.read_bytes()
        path.write_text(damage(path.read_text()))
        with caplog.at_level(logging.WARNING):
            assert folder.piece("one", lambda: {"share": 0.25}) == {"share": 0.25}
    assert "one.json is damaged; what it held is computed again" in caplog.text
    assert path.read_bytes() == whole


@pytest.mark.parametrize(
    ("settings", "inputs", "message"),
    [
        ({"quick": False, "seeds": [1, 2]}, None, "settings, quick was true, is now false"),
        ({"quick": True}, None, r"settings, seeds was \[1, 2\], is now absent"),
        (None, {"model/model.safetensors": "f" * 64}, r"model.safetensors was 000000000000..., is now ffffffffffff..."),
        (None, INPUTS | {"labels": "a" * 64}, "inputs, labels was absent, is now aaaaaaaaaaaa..."),
    ],
)
def test_a_folder_of_something_else_is_refused(
    tmp_path: Path, settings: dict | None, inputs: dict | None, message: str
) -> None:
    opened(tmp_path).close()
    with pytest.raises(InputError, match=rf"begun with something else: .*{message}.*delete this one to begin again"):
        opened(tmp_path, settings, inputs)
    with opened(tmp_path) as folder:  # the refusal has let go of it
        assert folder.facts["settings"] == {"quick": True, "seeds": [1, 2]}


def test_another_version_is_refused(tmp_path: Path) -> None:
    opened(tmp_path).close()
    facts = json.loads((tmp_path / "study.json").read_text())
    facts["versions"]["torch"] = "1.0"
    (tmp_path / "study.json").write_text(json.dumps(facts))
    with pytest.raises(InputError, match=r"versions, torch was 1\.0, is now"):
        opened(tmp_path)


def test_another_study_and_a_damaged_record_are_refused(tmp_path: Path) -> None:
    opened(tmp_path).close()
    with pytest.raises(InputError, match="study was a-study, is now b-study"):
        StudyFolder.open(tmp_path, "b-study", SETTINGS, INPUTS)
    (tmp_path / "study.json").write_text("{")
    with pytest.raises(InputError, match=r"cannot be read .* to begin again"):
        opened(tmp_path)


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(InputError, match=r"holds thesis\.tex and no study\.json"):
        opened(tmp_path)
    with pytest.raises(InputError, match="cannot write to"):
        opened(tmp_path / "thesis.tex")


def test_one_process_at_a_time(tmp_path: Path) -> None:
    with opened(tmp_path), pytest.raises(InputError, match="another process is writing"):
        opened(tmp_path)
    opened(tmp_path).close()


def test_what_a_killed_process_was_writing_is_removed(tmp_path: Path) -> None:
    opened(tmp_path).close()
    torn = [tmp_path / "pieces" / ".one.json.ab12_xyz.json", tmp_path / ".report.md.00000000.md"]
    kept = [tmp_path / "pieces" / "one.part.json", tmp_path / ".notes", tmp_path / ".git" / "config"]
    for path in torn + kept:
        path.parent.mkdir(exist_ok=True)
        path.touch()
    opened(tmp_path).close()
    assert [path.exists() for path in torn + kept] == [False, False, True, True, True]


def test_graphs_are_made_once_and_again_if_changed(tmp_path: Path, make_random_graph: Callable[..., Graph]) -> None:
    graph = make_random_graph(0)
    made: list[str] = []

    def make() -> Circuit:
        made.append("circuit")
        return prune(graph)

    with opened(tmp_path) as folder:
        path = folder.graph("texas", make)
        assert path == folder.graph("texas", make) == tmp_path / "graphs" / "texas.safetensors"
        assert len(made) == 1
        first = sha256(path)
        assert load_circuit(path).graph.metadata.prompt == graph.metadata.prompt
        for damage in (path.unlink, lambda: path.write_bytes(path.read_bytes()[:-1])):
            damage()
            assert sha256(folder.graph("texas", make)) == first
        assert len(made) == 3
        assert load_graph(folder.graph("whole", lambda: graph)).tokens == graph.tokens


def test_inputs_are_the_hashes_of_every_file_that_is_read() -> None:
    models = {short: ReplacementModel.from_pretrained("pocket", short) for short in ("clt", "plt")}
    found = model_inputs(models)
    expected = {f"model/{path.name}": sha256(path) for path in MODEL_DIR.iterdir()}
    for short, folder in TRANSCODER_DIRS.items():
        expected |= {f"transcoder/{short}/{path.name}": sha256(path) for path in folder.iterdir()}
    assert found == expected


STUDY = """
import os, random, signal, sys
from pathlib import Path
from circuits.studies.folder import StudyFolder

place, kill_at, when = sys.argv[1], int(sys.argv[2]), sys.argv[3]
moved, replace = 0, Path.replace

def replace_or_die(self, target):
    global moved
    moved += 1
    if moved == kill_at and when == "after":
        replace(self, target)
    if moved == kill_at:
        os.kill(os.getpid(), signal.SIGKILL)
    return replace(self, target)

Path.replace = replace_or_die
with StudyFolder.open(place, "walk", {"steps": 8}, {}) as folder:
    values = [folder.piece(f"step-{i}", lambda i=i: {"x": random.Random(i).random()})["x"] for i in range(8)]
    folder.write_json("results.json", {"sum": sum(values)})
    folder.write_text("report.md", f"# {values[-1]}\\n")
"""


@pytest.mark.slow
def test_killed_at_any_moment_it_goes_on_and_ends_with_the_same_bytes(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}

    def run(place: str, kill_at: int = 0, when: str = "") -> int:
        command = [sys.executable, "-c", STUDY, str(tmp_path / place), str(kill_at), when]
        return subprocess.run(command, env=environment, check=False).returncode

    assert run("straight") == 0
    # Files are written in the order study.json, 8 pieces, results.json, report.md; those that are kept not again.
    moments = [(1, "before", 0), (1, "after", 0), (4, "before", 3), (2, "after", 5), (4, "before", 8), (1, "after", 8)]
    for kill_at, when, n_pieces in moments:
        assert run("killed", kill_at, when) == -signal.SIGKILL
        kept = list((tmp_path / "killed" / "pieces").glob("[!.]*"))
        assert len(kept) == n_pieces
        assert all(json.loads(path.read_text())["value"]["x"] > 0 for path in kept)
    assert not (tmp_path / "killed" / "report.md").exists()
    assert run("killed") == 0
    straight, killed = (
        {str(path.relative_to(place)): path.read_bytes() for path in place.rglob("*") if path.is_file()}
        for place in (tmp_path / "straight", tmp_path / "killed")
    )
    assert len(straight) == 12
    assert straight == killed
