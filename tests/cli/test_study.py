"""`orrery study`: folders that an interrupted run continues, what is said at the end, and what is refused."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from circuits.cli import studying
from circuits.studies.folder import StudyFolder
from replacement_model import ReplacementModel
from replacement_model.pocket import MODEL_DIR, TRANSCODER_DIRS
from viz.reports import Report, Section, Text

STUDIES = ("multi-step", "hallucination")


@dataclass(frozen=True)
class Tiny:
    """A study's result."""

    sizes: Mapping[str, int]

    def to_dict(self) -> dict[str, Any]:
        return {"sizes": dict(self.sizes)}


def run(
    folder: StudyFolder, models: Mapping[str, ReplacementModel], prompts: Path | None, quick: bool, progress: Any
) -> Tiny:
    sizes = {}
    for number, (short, model) in enumerate(models.items()):
        progress("Measuring", number + 1, len(models))
        sizes[short] = folder.piece(f"size-{short}", lambda model=model: model.transcoder.n_layers)
    return Tiny(sizes)


def report(result: Tiny, folder: StudyFolder) -> Report:
    return Report("Sizes", f"There are **{sum(result.sizes.values())}** layers.", (Section("All", (Text("x"),)),))


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """A study that takes no time, in place of both."""
    monkeypatch.setattr(studying, "_study", lambda name: (run, report))


@pytest.mark.usefixtures("tiny")
def test_a_study_writes_its_folder_and_says_what_it_found(orrery, tmp_path: Path) -> None:
    outcome = orrery("study", "multi-step", "-o", tmp_path / "out", "--quick")
    assert outcome.code == 0
    assert "There are 6 layers." in outcome.stdout
    for name in ("report.html", "report.md", "results.json", "study.json"):
        assert f"{tmp_path / 'out' / name}: " in outcome.stderr
    assert json.loads((tmp_path / "out" / "results.json").read_text()) == {"sizes": {"clt": 3, "plt": 3}}
    facts = json.loads((tmp_path / "out" / "study.json").read_text())
    assert facts["study"] == "multi-step"
    assert facts["settings"] == {
        "quick": True,
        "model": "pocket",
        "transcoders": {"clt": "pocket/clt", "plt": "pocket/plt"},
        "prompts": "of the pocket model",
    }
    names = {"model/model.safetensors", "model/tokenizer.json", "transcoder/plt/labels.json", "prompts/states.json"}
    assert names < facts["inputs"].keys()
    written = (tmp_path / "out" / "report.md").read_text()
    assert "`orrery study multi-step --output FOLDER --quick`" in written
    assert str(tmp_path) not in written


@pytest.mark.usefixtures("tiny")
def test_the_same_command_goes_on(orrery, tmp_path: Path) -> None:
    assert orrery("study", "hallucination", "-o", tmp_path, "-t", "clt").code == 0
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()}
    (tmp_path / "report.md").unlink()
    piece = tmp_path / "pieces" / "size-clt.json"
    piece.write_bytes(piece.read_bytes()[:-5])
    outcome = orrery("study", "hallucination", "-o", tmp_path, "-t", "clt", "--json")
    assert "going on with" in outcome.stderr
    found = json.loads(outcome.stdout)
    assert found["summary"] == "There are **3** layers."
    assert all(Path(path).is_file() for path in found["files"])
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.usefixtures("tiny")
def test_a_folder_of_something_else_is_refused(orrery, refuse, tmp_path: Path) -> None:
    assert orrery("study", "multi-step", "-o", tmp_path / "out", "-t", "plt").code == 0
    refuse("study", "multi-step", "-o", tmp_path / "out", "-t", "plt", "--quick", says="quick was false, is now true")
    refuse("study", "hallucination", "-o", tmp_path / "out", "-t", "plt", says="study was multi-step, is now hallucin")
    refuse("study", "multi-step", "-o", tmp_path, "-t", "plt", says="holds out and no study.json")
    refuse("study", "multi-step", "-o", tmp_path / "out" / "study.json", "-t", "plt", says="cannot write to")


@pytest.mark.usefixtures("tiny")
def test_another_model_needs_its_own_prompts_and_transcoder(orrery, refuse, tmp_path: Path) -> None:
    table = tmp_path / "prompts.json"
    model = ("-m", MODEL_DIR)
    refuse(
        "study", "multi-step", *model, says="prompts are for the pocket model; .* name a table of prompts: --prompts"
    )
    refuse("study", "multi-step", *model, "--prompts", table, says="no transcoder given for .*--transcoder")
    clt, plt = (str(TRANSCODER_DIRS[short]) for short in ("clt", "plt"))
    refuse(
        "study", "multi-step", *model, "--prompts", table, "-t", clt, says="expected a table of prompts at .*found no"
    )
    table.write_text("{}")
    twice = ("-t", f"A={clt}", "-t", f"a={plt}")
    refuse("study", "multi-step", *model, "--prompts", table, *twice, says="two transcoders would be called 'a'")
    outcome = orrery(
        "study", "multi-step", *model, "--prompts", table, "-t", clt, "-t", f"Other={plt}", "-o", tmp_path / "out"
    )
    assert outcome.code == 0
    facts = json.loads((tmp_path / "out" / "study.json").read_text())
    assert facts["settings"]["transcoders"] == {"clt": "clt", "other": "plt"}
    assert facts["settings"]["prompts"] == "prompts.json"
    assert str(tmp_path) not in json.dumps(facts)


def test_tables_of_prompts_are_checked(refuse, tmp_path: Path) -> None:
    table = tmp_path / "prompts.json"
    for name, content in zip(STUDIES, ("{", "[]"), strict=True):
        table.write_text(content)
        refuse("study", name, "--prompts", table, "-t", "clt", "-o", tmp_path / name, says=r"prompts\.json")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
@pytest.mark.parametrize("name", STUDIES)
def test_killed_again_and_again_it_ends_with_the_same_bytes(
    name: str, tmp_path: Path, run_fresh: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    assert run_fresh("study", name, "--quick", "-o", str(straight)).returncode == 0
    command = [sys.executable, "-m", "circuits.cli", "study", name, "--quick", "-o", str(killed)]
    n_pieces = len(list((straight / "pieces").iterdir()))
    for share in (0.2, 0.6):
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            while len(list(killed.glob("pieces/[!.]*"))) < share * n_pieces and process.poll() is None:
                time.sleep(0.02)
            os.kill(process.pid, signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL
        assert not (killed / "report.html").exists()
    outcome = run_fresh("study", name, "--quick", "-o", str(killed))
    assert (outcome.returncode, "going on with" in outcome.stderr) == (0, True)
    assert contents(killed).keys() == contents(straight).keys()
    assert contents(killed) == contents(straight)
    assert {"report.md", "report.html", "results.json", "study.json", "interventions.json"} <= contents(killed).keys()
    again = run_fresh("replay", str(killed / "interventions.json"), "--json")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["largest_difference"] < 1e-6
