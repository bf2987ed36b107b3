import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers.utils import logging as transformers_logging

from replacement_model.errors import UnsupportedModelError, WeightsError
from replacement_model.loading import load_host_model, load_tokenizer

Make = Callable[..., nn.Module]


def edit_weights(folder: Path, **changes: torch.Tensor | None) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path) | changes
    save_file({name: t for name, t in tensors.items() if t is not None}, path, metadata={"format": "pt"})


def edit_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_round_trip(tmp_path: Path, make_model: Make, architecture: str) -> None:
    before = make_model(architecture)
    before.save_pretrained(tmp_path)
    after = load_host_model(tmp_path, None)
    assert type(after) is type(before)
    ids = torch.tensor([[1, 5, 9]])
    with torch.no_grad():
        assert torch.equal(after(ids).logits, before(ids).logits)


@pytest.mark.parametrize(("asked", "given"), [(None, torch.bfloat16), (torch.float32, torch.float32)])
def test_dtype(tmp_path: Path, make_model: Make, asked: torch.dtype | None, given: torch.dtype) -> None:
    make_model("llama", torch.bfloat16).save_pretrained(tmp_path)
    assert load_host_model(tmp_path, asked).dtype == given


def test_buffers_of_old_gpt2_checkpoints_are_no_error(tmp_path: Path, make_model: Make) -> None:
    make_model("gpt2").save_pretrained(tmp_path)
    edit_weights(tmp_path, **{"transformer.h.0.attn.bias": torch.ones(1, 1, 32, 32)})
    load_host_model(tmp_path, None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model.layers.1.mlp.up_proj.weight": None}, r"missing keys \(model.layers.1.mlp.up_proj.weight\)"),
        ({"model.layers.9.mlp.up_proj.weight": torch.zeros(2, 2)}, r"unexpected keys \(model.layers.9"),
        ({"model.layers.1.mlp.up_proj.weight": torch.zeros(20, 23)}, "do not belong|cannot be loaded"),
    ],
)
def test_weights_that_do_not_fit(checkpoint: Path, changes: dict, message: str) -> None:
    edit_weights(checkpoint, **changes)
    with pytest.raises(WeightsError, match=message) as caught:
        load_host_model(checkpoint, None)
    assert "\n" not in str(caught.value)


def test_a_config_of_another_size(checkpoint: Path) -> None:
    edit_config(checkpoint, intermediate_size=21)
    with pytest.raises(WeightsError, match=r"do not belong|cannot be loaded"):
        load_host_model(checkpoint, None)


@pytest.mark.parametrize("keep", [0, 5, 200, 9000])
def test_truncated_weights(checkpoint: Path, keep: int) -> None:
    path = checkpoint / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(WeightsError, match="damaged or incomplete safetensors") as caught:
        load_host_model(checkpoint, None)
    assert "\n" not in str(caught.value)


def test_absent_files(checkpoint: Path, tmp_path: Path) -> None:
    (checkpoint / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(WeightsError, match="has no safetensors file"):
        load_host_model(checkpoint, None)
    (checkpoint / "config.json").unlink()
    with pytest.raises(WeightsError, match=r"has no config\.json"):
        load_host_model(checkpoint, None)


@pytest.mark.parametrize("text", ["", "{", "[]"])
def test_a_damaged_config(checkpoint: Path, text: str) -> None:
    (checkpoint / "config.json").write_text(text)
    with pytest.raises((WeightsError, UnsupportedModelError)) as caught:
        load_host_model(checkpoint, None)
    assert "\n" not in str(caught.value)


def test_an_unknown_architecture(checkpoint: Path) -> None:
    edit_config(checkpoint, model_type="orrery9", architectures=["Orrery9ForCausalLM"])
    with pytest.raises(UnsupportedModelError, match="transformers cannot load this model") as caught:
        load_host_model(checkpoint, None)
    assert "\n" not in str(caught.value)


def test_loading_is_quiet_and_leaves_the_logging_as_it_was(checkpoint: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = (transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled())
    edit_weights(checkpoint, **{"model.layers.1.mlp.up_proj.weight": None})
    with pytest.raises(WeightsError):
        load_host_model(checkpoint, None)
    assert (transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()) == before
    assert capfd.readouterr() == ("", "")
    assert logging.getLogger("replacement_model").handlers == []


def test_the_tokenizer(checkpoint: Path, tmp_path: Path) -> None:
    assert load_tokenizer(checkpoint)("the capital")["input_ids"] == [0, 4, 5]
    assert load_tokenizer(tmp_path) is None


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
@pytest.mark.parametrize("text", ["", "{", "[]", '{"model": 3, "version": "1.0"}'])
def test_a_damaged_tokenizer(checkpoint: Path, name: str, text: str) -> None:
    (checkpoint / name).write_text(text)
    if name == "tokenizer_config.json" and text.startswith('{"model"'):
        return  # a config that only says nothing of use
    with pytest.raises(WeightsError, match="the tokenizer cannot be loaded") as caught:
        load_tokenizer(checkpoint)
    assert "\n" not in str(caught.value)


def test_what_a_tokenizer_raises_that_may_mean_anything_passes(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(error: BaseException) -> Callable:
        def from_pretrained(*args: object, **kwargs: object) -> None:
            raise error

        return from_pretrained

    monkeypatch.setattr("replacement_model.loading.AutoTokenizer.from_pretrained", fail(MemoryError()))
    with pytest.raises(MemoryError):
        load_tokenizer(checkpoint)
    # As the tokenizers library raises under transformers 4.57.
    monkeypatch.setattr("replacement_model.loading.AutoTokenizer.from_pretrained", fail(Exception("untagged enum")))
    with pytest.raises(WeightsError, match=r"the tokenizer cannot be loaded \(untagged enum\)"):
        load_tokenizer(checkpoint)


@pytest.mark.parametrize("method", ["bitsandbytes", "gptq", "compressed-tensors", "one_of_tomorrow"])
def test_a_quantised_checkpoint_without_its_package_is_refused_with_its_method(checkpoint: Path, method: str) -> None:
    edit_config(checkpoint, quantization_config={"quant_method": method, "bits": 4, "load_in_4bit": True})
    with pytest.raises(UnsupportedModelError, match=rf"is quantised \({method}\), and transformers cannot load it "):
        load_host_model(checkpoint, None)


def test_multimodal_checkpoints_as_they_are_published(tmp_path: Path, make_model: Make) -> None:
    before = make_model("gemma3_multimodal")
    before.save_pretrained(tmp_path)
    path, moved = tmp_path / "model.safetensors", {}
    for name, tensor in load_file(path).items():
        text = name.removeprefix("model.").removeprefix("language_model.").removeprefix("model.")
        moved[f"language_model.model.{text}" if "language_model" in name else name.removeprefix("model.")] = tensor
    assert "language_model.model.embed_tokens.weight" in moved
    save_file(moved, path, metadata={"format": "pt"})
    after = load_host_model(tmp_path, None)
    with torch.no_grad():
        assert torch.equal(after(torch.tensor([[1, 5]])).logits, before(torch.tensor([[1, 5]])).logits)
