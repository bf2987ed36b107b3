import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from circuits import load_circuit
from replacement_model.pocket import MODEL_DIR, TRANSCODER_DIRS

PROMPT = "the capital of the state containing Dallas is"
STEM = "the-capital-of-the-state-containing-dallas-is"


def test_a_new_process_prints_the_summary_and_nothing_of_the_libraries(run_fresh) -> None:
    done = run_fresh("trace", PROMPT)
    assert done.returncode == 0
    assert PROMPT in done.stdout
    assert "Austin" in done.stdout
    assert [line for line in done.stderr.splitlines() if line] == [
        "Nothing was written; add -o FOLDER for the picture and the graph."
    ]


@pytest.mark.slow
def test_the_first_run_says_that_kernels_are_compiled(run_fresh, tmp_path: Path) -> None:
    done = run_fresh("trace", PROMPT, NUMBA_CACHE_DIR=str(tmp_path))
    assert done.returncode == 0
    assert "compiling" in done.stderr
    assert "compiling" not in run_fresh("trace", PROMPT, NUMBA_CACHE_DIR=str(tmp_path)).stderr


def test_a_closed_pipe_makes_no_noise() -> None:
    command = [sys.executable, "-m", "circuits.cli", "trace", PROMPT, "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert "Traceback" not in process.stderr.read()
        assert process.wait(timeout=120) in (0, 1)


def test_json_is_all_of_stdout(orrery) -> None:
    found = json.loads(orrery("trace", PROMPT, "--json").stdout)
    assert found["prompt"] == PROMPT
    assert found["targets"][0]["label"].strip() == "Austin"
    assert found["books_residual"] <= 1e-5
    assert found["files"] == []


@pytest.mark.skipif(shutil.which("dot") is None, reason="runs where Graphviz's dot is installed")
def test_a_folder_gets_picture_json_and_graph(orrery, tmp_path: Path) -> None:
    outcome = orrery("trace", PROMPT, "-o", tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        f"{STEM}.json",
        f"{STEM}.safetensors",
        f"{STEM}.svg",
    ]
    assert outcome.stderr.count("wrote") == 3
    assert load_circuit(tmp_path / "out" / f"{STEM}.safetensors").graph.metadata.prompt == PROMPT


def test_one_file_by_its_ending(orrery, tmp_path: Path) -> None:
    assert orrery("trace", PROMPT, "-o", tmp_path / "a.dot").code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["a.dot"]


def test_equal_calls_write_equal_bytes(orrery, tmp_path: Path) -> None:
    for name in ("a", "b"):
        orrery("trace", PROMPT, "-o", tmp_path / f"{name}.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


@pytest.mark.parametrize("transcoder", ["clt", "plt"])
def test_both_shipped_transcoders(orrery, transcoder: str) -> None:
    assert transcoder in json.loads(orrery("trace", PROMPT, "-t", transcoder, "--json").stdout)["transcoder"]


@pytest.mark.parametrize(
    ("options", "kind", "label"),
    [
        (("--target", "Austin"), "logit", "Austin"),
        (("--target", "Austin", "--over", "Sacramento"), "difference", "Austin − Sacramento"),
        (("--target", "feature:1:3", "--position", "-2"), "feature", "L1 #3"),
    ],
)
def test_targets(orrery, options: tuple[str, ...], kind: str, label: str) -> None:
    (target,) = json.loads(orrery("trace", PROMPT, *options, "--json").stdout)["targets"]
    assert (target["kind"], target["label"].strip()) == (kind, label)


def test_at_most_so_many_features(orrery) -> None:
    assert (
        json.loads(orrery("trace", PROMPT, "--max-feature-nodes", "20", "--json").stdout)["counts"]["graph_features"]
        == 20
    )


def settings_of(path: Path) -> dict:
    return load_circuit(path).graph.metadata.settings


def test_token_ids_give_the_graph_that_their_text_gives(orrery, tmp_path: Path) -> None:
    orrery("trace", PROMPT, "-o", tmp_path / "text.safetensors")
    ids = load_circuit(tmp_path / "text.safetensors").graph.token_ids.tolist()
    given = ",".join(map(str, ids[1:]))
    orrery("trace", "--ids", given, "-o", tmp_path / "ids.safetensors")
    text, from_ids = (load_circuit(tmp_path / f"{name}.safetensors").graph for name in ("text", "ids"))
    assert from_ids.token_ids.tolist() == ids
    assert (from_ids.adjacency != text.adjacency).nnz == 0
    assert from_ids.metadata.settings["prepended_token_id"] == ids[0]


def test_a_prompt_that_is_left_alone(orrery, tmp_path: Path) -> None:
    orrery("trace", PROMPT, "--no-prepend", "-o", tmp_path / "a.safetensors")
    graph = load_circuit(tmp_path / "a.safetensors").graph
    assert (graph.tokens[0], graph.n_ignored_pos) == ("the", 0)
    assert graph.metadata.settings["prepended_token_id"] is None


def test_positions_that_are_ignored(orrery, tmp_path: Path) -> None:
    orrery("trace", PROMPT, "--ignore-positions", "3", "-o", tmp_path / "a.safetensors")
    graph = load_circuit(tmp_path / "a.safetensors").graph
    assert graph.n_ignored_pos == settings_of(tmp_path / "a.safetensors")["n_ignored_pos"] == 3
    assert graph.features[:, 1].min() == 3


def test_a_chat_goes_through_the_models_template(orrery, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(MODEL_DIR, model)
    path = model / "tokenizer_config.json"
    template = "{{ bos_token }} {% for m in messages %}the {{ m.content }}{% endfor %}"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"chat_template": template}))
    question = PROMPT.removeprefix("the ")
    orrery("trace", "--chat", question, "-m", model, "-t", TRANSCODER_DIRS["clt"], "-o", tmp_path / "a.safetensors")
    graph = load_circuit(tmp_path / "a.safetensors").graph
    assert graph.tokens == ("<bos>", *PROMPT.split())
    assert (graph.metadata.prompt, graph.metadata.settings["chat_template"]) == (question, True)
    assert graph.metadata.settings["prepended_token_id"] is None
