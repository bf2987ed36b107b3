"""`orrery replay`: specifications that `intervene --save-spec` and studies write, run again."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from replacement_model.pocket import MODEL_DIR, TRANSCODER_DIRS

PROMPT = "the capital of the state containing Dallas is"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The text of a specification that the command line wrote."""
    from typer.testing import CliRunner

    from circuits.cli.app import app

    path = tmp_path_factory.mktemp("spec") / "interventions.json"
    arguments = ["intervene", PROMPT, "-f", "1/-1/1006", "--ablate", "-n", "2", "--json", "--save-spec", str(path)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0
    assert f"wrote {path}; run it again with: orrery replay {path}" in result.stderr
    assert json.loads(result.stdout)["continuation_after"] == "Houston ."
    return path.read_text(encoding="utf-8")


@pytest.fixture
def written(tmp_path: Path, saved: str) -> Callable[..., Path]:
    """Writes the specification, changed by a function."""

    def write(change: Callable[[dict[str, Any]], Any] = lambda content: None) -> Path:
        content = json.loads(saved)
        change(content)
        path = tmp_path / "interventions.json"
        path.write_text(json.dumps(content), encoding="utf-8")
        return path

    return write


def test_the_same_comes_of_it(orrery, written) -> None:
    outcome = orrery("replay", written())
    assert outcome.code == 0
    for part in ("Austin 99.8%", "Houston 35.4%", "ablate 1/-1/1006", "after: Houston ."):
        assert part in outcome.stdout
    assert "differs" not in outcome.stdout
    assert "model and transcoder are those that were used (6 files by SHA-256)" in outcome.stderr
    assert "1 of 1 cases came out as expected" in outcome.stderr


def test_a_difference_ends_with_exit_code_1(orrery, written) -> None:
    path = written(lambda content: content["cases"][0]["expected"]["after"][0].__setitem__(1, 0.9))
    outcome = orrery("replay", path, "--json")
    assert outcome.code == 1
    found = json.loads(outcome.stdout)
    assert not found["agrees"]
    assert found["largest_difference"] == pytest.approx(0.9 - 0.3538, abs=1e-3)
    outcome = orrery("replay", path)
    assert (outcome.code, "differs" in outcome.stdout) == (1, True)
    assert orrery("replay", path, "--tolerance", "0.6").code == 0


def test_other_files_are_refused_unless_any_version_will_do(orrery, refuse, written) -> None:
    path = written()
    refuse("replay", path, "-t", "plt", says="'transcoder/transcoder.json' had SHA-256 .*--any-version")
    outcome = orrery("replay", path, "-t", "plt", "--any-version")
    assert outcome.code == 1
    assert "another version: 'transcoder/transcoder.safetensors' was" in outcome.stderr


def test_a_copy_elsewhere_is_the_same(orrery, refuse, written, tmp_path: Path) -> None:
    model, transcoder = tmp_path / "model", tmp_path / "clt"
    shutil.copytree(MODEL_DIR, model)
    shutil.copytree(TRANSCODER_DIRS["clt"], transcoder)
    path = written(lambda content: content.update(model=str(model), transcoder="../clt"))
    refuse("replay", path, says=f"made with '{model}', a folder of another machine; say where it is: --model")
    refuse("replay", path, "-m", model, says="made with '../clt', a folder of another machine; .*--transcoder")
    assert orrery("replay", path, "-m", model, "-t", transcoder).code == 0


def test_cases_are_chosen_by_name(orrery, refuse, written) -> None:
    def double(content: dict[str, Any]) -> None:
        content["cases"].append(content["cases"][0] | {"name": "second\x1b[31m"})

    path = written(double)
    outcome = orrery("replay", path, "--case", "intervention", "--json")
    assert [case["name"] for case in json.loads(outcome.stdout)["cases"]] == ["intervention"]
    assert "\x1b" not in orrery("replay", path).stdout
    refuse("replay", path, "--case", "third", says="there is no case 'third'; the file has 'intervention', 'second")


def test_a_file_without_hashes_is_said_to_be_one(orrery, written) -> None:
    outcome = orrery("replay", written(lambda content: content.update(hashes={})))
    assert outcome.code == 0
    assert "the file has no hashes, so that this may be another version" in outcome.stderr


def test_damaged_files_are_refused(refuse, written, tmp_path: Path) -> None:
    refuse("replay", tmp_path / "none.json", says="none.json cannot be read .*name a file with interventions")
    refuse("replay", written(lambda content: content.pop("cases")), says="the file lacks 'cases'")
    refuse(
        "replay",
        written(lambda content: content["cases"][0]["interventions"][0].update(features=["9/-1/1"])),
        says="case 'intervention': .*layer 9 does not exist",
    )
    refuse("replay", written(), "--tolerance", "-1", says="tolerance of 0 or more")
    path = written()
    path.write_text(path.read_text()[:200])
    refuse("replay", path, says="is no JSON with interventions")
    refuse("intervene", PROMPT, "-f", "1/-1/1", "--ablate", "--save-spec", tmp_path, says="is a folder")
