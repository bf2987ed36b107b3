"""Whatever is wrong with a call or with files: one line that says what to do, exit code 2, and nothing half-written."""

import json
import re
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from replacement_model.pocket import MODEL_DIR, TRANSCODER_DIRS

PROMPT = "the capital of the state containing Dallas is"


@pytest.fixture
def copied(tmp_path: Path) -> Callable[[], tuple[Path, Path]]:
    """Copies of the pocket model and its transcoder that may be damaged."""

    def copy() -> tuple[Path, Path]:
        model, transcoder = tmp_path / "model", tmp_path / "transcoder"
        shutil.copytree(MODEL_DIR, model)
        shutil.copytree(TRANSCODER_DIRS["clt"], transcoder)
        return model, transcoder

    return copy


@pytest.fixture
def refuse_trace(refuse, copied, tmp_path: Path):
    """Damages a copy, traces it, and checks that it is refused and that nothing is written."""

    def run(damage: Callable[[Path, Path], None], says: str) -> None:
        model, transcoder = copied()
        damage(model, transcoder)
        refuse("trace", PROMPT, "-m", model, "-t", transcoder, "-o", tmp_path / "out", says=says)
        assert not (tmp_path / "out").exists()

    return run


@pytest.mark.parametrize("prompt", ["", "   "])
def test_empty_prompt(refuse, prompt: str) -> None:
    refuse("trace", prompt, says="prompt is empty; give some text")


def test_words_outside_the_vocabulary(refuse) -> None:
    refuse("trace", "the capital of Atlantis is", says="vocabulary does not have 'Atlantis'; rephrase")


def test_unknown_model_without_network(refuse) -> None:
    refuse(
        "trace", PROMPT, "-m", "nobody/no-such-model", "-t", "clt", says="neither a local folder nor .* check the name"
    )


def test_model_without_transcoder(refuse) -> None:
    refuse("trace", PROMPT, "-m", MODEL_DIR, says="no transcoder given .* name a folder")


def test_unknown_transcoder(refuse) -> None:
    refuse("trace", PROMPT, "-t", "no-such-transcoder", says="neither a local folder nor .* check the name")


@pytest.mark.parametrize("option", ["--node-threshold", "--edge-threshold"])
@pytest.mark.parametrize("value", ["-1", "1.01"])
def test_thresholds_outside_0_to_1(refuse, option: str, value: str) -> None:
    refuse("trace", PROMPT, option, value, says=f"{option} must be between 0 and 1")


def test_unwritable_output(refuse, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    refuse("trace", PROMPT, "-o", tmp_path / "file" / "out", says="cannot write .* choose another --output")


def test_unwritable_output_is_found_before_the_model_is_loaded(refuse, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    refuse("trace", PROMPT, "-m", "no/such-model", "-o", tmp_path / "file" / "out", says="cannot write")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--target", "Atlantis"), "'Atlantis' is not a single token"),
        (("--target", "id:99999999"), "outside the vocabulary"),
        (("--target", "id:x"), "of the form id:NUMBER"),
        (("--target", "feature:1"), "of the form feature:LAYER:INDEX"),
        (("--target", "feature:77:1"), "layer 77 does not exist"),
        (("--over", "Austin"), "--over needs exactly one token"),
        (("--target", "Austin", "--over", "Austin"), "two different tokens"),
        (("--target", "Austin", "--position", "99"), "position 99 is outside the prompt"),
        (("--position", "3"), "needs a --target"),
        (("--memory", "lots"), "memory"),
        (("--format", "gif"), "unknown format 'gif'"),
    ],
)
def test_options_that_make_no_sense(refuse, options: tuple[str, ...], says: str) -> None:
    refuse("trace", PROMPT, *options, says=says)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "give one prompt: some text, or --ids"),
        ((PROMPT, "--ids", "5,6"), "give one prompt"),
        (("--ids", "5,6", "--chat"), "give one prompt"),
        (("--ids", ""), "prompt is empty"),
        (("--ids", "5,-6"), r"expected token ids as in --ids .*, got '-6'"),
        (("--ids", "5,99999"), "outside the model's vocabulary"),
        (("--chat", "  "), "prompt is empty"),
        (("--chat", PROMPT), "this model has no chat template; use an instruction-tuned model, or give text"),
        ((PROMPT, "--ignore-positions", "40"), "cannot ignore 40 positions of a prompt of 9 tokens"),
        ((PROMPT, "-m", "owner/gated-or-absent", "-t", "owner/other//clt"), "check the name"),
    ],
)
def test_prompts_that_make_no_sense(refuse, arguments: tuple[str, ...], says: str) -> None:
    refuse("trace", *arguments, says=says)


def test_missing_weights(refuse_trace) -> None:
    refuse_trace(lambda model, _: (model / "model.safetensors").unlink(), says="no safetensors file")


def test_missing_transcoder_weights(refuse_trace) -> None:
    refuse_trace(lambda _, t: (t / "transcoder.safetensors").unlink(), says="does not exist; check the folder")


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_truncated_weights(refuse_trace) -> None:
    refuse_trace(lambda model, _: truncate(model / "model.safetensors"), says="download it again")


def test_truncated_transcoder(refuse_trace) -> None:
    refuse_trace(lambda _, t: truncate(t / "transcoder.safetensors"), says="download it again")


def test_header_that_promises_more_than_the_file(refuse_trace) -> None:
    def damage(_: Path, transcoder: Path) -> None:
        header = json.dumps({"b_dec": {"dtype": "F32", "shape": [4, 4], "data_offsets": [0, 64]}}).encode()
        (transcoder / "transcoder.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)

    refuse_trace(damage, says="damaged or incomplete")


def edit(path: Path, name: str, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    tensors = {key: tensor.clone() for key, tensor in load_file(path).items()}
    tensors[name] = change(tensors[name]).contiguous()
    save_file(tensors, path, metadata={"format": "pt"})


def test_shape_mismatch_in_the_model(refuse_trace) -> None:
    def damage(model: Path, _: Path) -> None:
        edit(model / "model.safetensors", "model.layers.0.self_attn.o_proj.weight", lambda w: w[:, :-1])

    refuse_trace(damage, says="model.layers.0.self_attn.o_proj.weight|mismatch|size")


def test_shape_mismatch_in_the_transcoder(run_fresh, copied, tmp_path: Path) -> None:
    def damage(_: Path, transcoder: Path) -> None:
        edit(transcoder / "transcoder.safetensors", "layers.1.W_enc", lambda w: w[:-1])

    # In a process of its own: the shape checks of the tests would stop it before the program's own.
    model, transcoder = copied()
    damage(model, transcoder)
    done = run_fresh("trace", PROMPT, "-t", str(transcoder), "-o", str(tmp_path / "out"))
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert re.search("layer 1: .* must be", done.stderr)
    assert not (tmp_path / "out").exists()


def test_transcoder_of_another_model(refuse, golden_dir: Path) -> None:
    refuse(
        "trace",
        PROMPT,
        "-t",
        golden_dir / "gpt2_clt_relu" / "transcoder",
        says="use one that was trained on this model",
    )


def poison(tensor: torch.Tensor) -> torch.Tensor:
    flat = tensor.flatten().clone()
    flat[0] = float("nan")
    return flat.reshape(tensor.shape)


def test_nan_in_the_model(refuse_trace) -> None:
    refuse_trace(
        lambda model, _: edit(model / "model.safetensors", "model.layers.0.mlp.down_proj.weight", poison),
        says="NaN|finite",
    )


def test_nan_in_the_transcoder(refuse_trace) -> None:
    refuse_trace(lambda _, t: edit(t / "transcoder.safetensors", "layers.0.W_enc", poison), says="NaN")


def test_wrong_tokenizer(refuse_trace, golden_dir: Path) -> None:
    def damage(model: Path, _: Path) -> None:
        for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
            (model / name).unlink(missing_ok=True)
            source = golden_dir / "gpt2_clt_relu" / "model" / name
            if source.is_file():
                shutil.copy(source, model / name)

    refuse_trace(damage, says="tokenizer|vocabulary")


def test_damaged_tokenizer(refuse_trace) -> None:
    refuse_trace(lambda model, _: truncate(model / "tokenizer.json"), says="tokenizer cannot be loaded")


def test_damaged_config(refuse_trace) -> None:
    refuse_trace(lambda model, _: truncate(model / "config.json"), says="config|JSON")


def test_debug_shows_the_traceback(orrery) -> None:
    outcome = orrery("trace", "", "--debug")
    assert outcome.code == 2
    assert "Traceback" in outcome.stderr
    assert outcome.stderr.splitlines()[-1].startswith("orrery: ")
