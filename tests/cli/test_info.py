import json
import shutil
from pathlib import Path

import pytest
from fake_hub import COMMIT, lay_out_cache

from circuits.cli.options import PLACES
from replacement_model.pocket import MODEL_DIR, TRANSCODER_DIRS
from replacement_model.transcoder import DecoderSite, EncoderTap

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


def test_a_model_without_adapter_is_for_a_trace_to_try(orrery, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "opt", "num_hidden_layers": 1, "vocab_size": 10}))
    facts = json.loads(orrery("info", tmp_path, "--json").stdout)
    assert facts["architecture"] == "OPTForCausalLM"
    assert facts["host adapter"].startswith("none; with its weights")


def test_a_config_that_is_no_model_is_refused(refuse, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "no-such-model"}))
    refuse("info", tmp_path, says=r"transformers cannot load this model's config\.json")


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pocket model's config alone, and its transcoder, as the hub's client caches them."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    config = (MODEL_DIR / "config.json").read_bytes()
    clt = {f"clt/{path.name}": path.read_bytes() for path in TRANSCODER_DIRS["clt"].iterdir()}
    lay_out_cache(tmp_path, "owner/pocket", {COMMIT: {"config.json": config}}, {"main": COMMIT})
    lay_out_cache(tmp_path, "owner/clts", {COMMIT: clt}, {"main": COMMIT})


@pytest.mark.usefixtures("cached")
def test_names_on_the_hub(orrery, refuse) -> None:
    model = json.loads(orrery("info", "owner/pocket", "--json").stdout)
    assert (model["architecture"], model["layers"], model["revision"]) == ("Gemma3ForCausalLM", 3, COMMIT)
    transcoder = json.loads(orrery("info", "owner/clts//clt", "--json").stdout)
    assert (transcoder["kind"], transcoder["revision"]) == ("cross-layer transcoder", COMMIT)
    refuse("info", "owner/absent", says="neither a local folder nor a repository in reach")
    refuse("info", "out/absent.safetensors", says=r"out/absent\.safetensors does not exist")


def test_the_shipped_transcoders_are_declared_as_they_were_made(orrery) -> None:
    for name in TRANSCODER_DIRS:
        outcome = orrery("info", "pocket", "-t", name, "--measure", "--check", "--json")
        found = json.loads(outcome.stdout)["measured"]
        assert (outcome.code, found["declared is best"]) == (0, True)
        best = found["conventions"][0]
        assert (best["encoder reads"], best["decoder writes"], best["best"]) == ("mlp_in", "post_norm", True)
        assert len(best["FVU"]) == len(best["L0"]) == 3
        assert max(best["FVU"]) < 0.2


def test_a_wrongly_declared_transcoder_is_caught(orrery, tmp_path: Path) -> None:
    wrong = tmp_path / "clt"
    shutil.copytree(TRANSCODER_DIRS["clt"], wrong)
    config = json.loads((wrong / "transcoder.json").read_text())
    (wrong / "transcoder.json").write_text(json.dumps(config | {"encoder_tap": "resid_mid"}))
    text = tmp_path / "text.txt"
    text.write_text("the capital of the state containing Dallas is Austin . " * 8)
    outcome = orrery("info", "pocket", "-t", wrong, "--measure", "--text", text, "--check")
    assert outcome.code == 1
    said = " ".join(outcome.stdout.split())
    assert "Warning: this transcoder is declared to read the residual stream and write the post-norm's output" in said
    assert "is explained if it reads the MLP's input" in said
    assert orrery("info", "pocket", "-t", wrong, "--measure", "--text", text).code == 0
    right = orrery("info", "pocket", "-t", wrong, "--measure", "--check", "--encoder-tap", "mlp_in", "--text", text)
    assert right.code == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("pocket", "--check"), "belong to --measure"),
        (("pocket", "--text", "words.txt"), "belong to --measure"),
        (("pocket", "--tokens", "9"), "belong to --estimate"),
        (("pocket", "--features", "9"), "belong to --estimate"),
        (("pocket", "--estimate", "--measure"), "give either --measure or --estimate"),
        (("pocket", "--estimate", "--memory", "1MiB"), "raise the budget"),
        (("pocket", "--measure", "--text", "no-such-file.txt"), "cannot be read as text"),
        (("pocket", "--measure", "--encoder-tap", "mlp"), "--encoder-tap must be one of resid_mid, normalized, mlp_in"),
        (("pocket", "--measure", "--decoder-site", "x"), "--decoder-site must be one of mlp_out, post_norm"),
        ((str(MODEL_DIR), "--measure"), "no transcoder given"),
    ],
)
def test_what_cannot_be_measured(refuse, arguments: tuple[str, ...], says: str) -> None:
    refuse("info", *arguments, says=says)


def test_the_places_are_those_of_the_library() -> None:
    assert PLACES["--encoder-tap"] == tuple(tap.value for tap in EncoderTap)
    assert PLACES["--decoder-site"] == tuple(site.value for site in DecoderSite)


def test_an_estimate_needs_no_weights(orrery, tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    shutil.copy(MODEL_DIR / "config.json", model)
    call = ("info", model, "-t", TRANSCODER_DIRS["clt"], "--estimate", "--tokens", "20", "--features", "100")
    found = json.loads(orrery(*call, "--json").stdout)
    assert (found["active features"], found["rows"], found["L0"]) == (3 * 19 * 50, 110, 50)
    assert found["host memory"] > 2**28
    assert found["device memory"] == 0
    assert 0 < found["seconds"] < 60
    text = orrery(*call).stdout
    assert "peak host memory" in text
    assert "MiB" in text
    more = json.loads(orrery(*call[:6], "2000", *call[7:], "--json").stdout)
    assert more["host memory"] > found["host memory"]


@pytest.mark.usefixtures("cached")
def test_an_estimate_of_names_on_the_hub(orrery) -> None:
    found = json.loads(orrery("info", "owner/pocket", "-t", "owner/clts//clt", "--estimate", "--json").stdout)
    assert found["active features"] == 3 * 63 * 50
