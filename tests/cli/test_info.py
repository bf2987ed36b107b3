import json
from pathlib import Path

import pytest

CASES = {"gemma2_plt_relu": ("Gemma2ForCausalLM", "per-layer"), "gpt2_clt_relu": ("GPT2LMHeadModel", "cross-layer")}


def test_a_graph(orrery, graph_file: Path) -> None:
    facts = json.loads(orrery("info", graph_file, "--json").stdout)
    assert (facts["kind"], facts["prompt"], facts["features"], facts["edges"]) == ("graph", "two words", 3, 9)
    assert facts["FVU per layer"] == [0.1, 0.2, None]
    text = orrery("info", graph_file).stdout
    assert "two words" in text
    assert "00ff" in text


@pytest.mark.parametrize("case", CASES)
def test_a_model_and_a_transcoder(orrery, golden_dir: Path, case: str) -> None:
    architecture, kind = CASES[case]
    model = json.loads(orrery("info", golden_dir / case / "model", "--json").stdout)
    assert (model["architecture"], model["layers"], model["host adapter"]) == (architecture, 4, "yes")
    transcoder = json.loads(orrery("info", golden_dir / case / "transcoder", "--json").stdout)
    assert transcoder["kind"].startswith(kind)
    assert transcoder["features per layer"] == [384]


def test_nothing_is_refused(refuse, tmp_path: Path) -> None:
    refuse("info", tmp_path / "none", says="does not exist")
    refuse("info", tmp_path, says="neither a transcoder .* nor a model")


def test_another_safetensors_file_is_refused(refuse, golden_dir: Path) -> None:
    refuse("info", golden_dir / "gpt2_clt_relu" / "model" / "model.safetensors", says="not a graph")


def test_a_model_without_adapter_is_refused(refuse, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "opt", "num_hidden_layers": 1, "vocab_size": 10}))
    refuse("info", tmp_path, says="no host adapter for OPTForCausalLM")


def test_a_config_that_is_no_model_is_refused(refuse, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "no-such-model"}))
    refuse("info", tmp_path, says="transformers cannot build this model")
