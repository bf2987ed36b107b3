from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import replacement_model.loading as loading_module
import replacement_model.model as model_module
from replacement_model import ReplacementModel, Transcoder, save_transcoder
from replacement_model.errors import InputError, MissingDependencyError, UnsupportedModelError, WeightsError

MakeModel = Callable[..., nn.Module]
MakeTranscoder = Callable[..., Transcoder]


@pytest.fixture
def model(make_model: MakeModel, make_transcoder: MakeTranscoder, make_tokenizer: Callable) -> ReplacementModel:
    return ReplacementModel(make_model("gemma3"), make_tokenizer(), make_transcoder())


def test_from_disk_is_as_from_memory(checkpoint: Path, tmp_path: Path, model: ReplacementModel) -> None:
    save_transcoder(model.transcoder, tmp_path / "clt")
    loaded = ReplacementModel.from_pretrained(checkpoint, tmp_path / "clt")
    text = "the capital of Texas is"
    ours, theirs = (one.capture(one.read_prompt(text)) for one in (loaded, model))
    torch.testing.assert_close(ours.logits, theirs.logits, rtol=0, atol=1e-6)
    a, b = loaded.decompose(ours, 1), model.decompose(theirs, 1)
    assert torch.equal(a.features, b.features)
    torch.testing.assert_close(a.feature_acts, b.feature_acts, rtol=0, atol=1e-6)
    assert loaded.name == str(checkpoint)
    assert sorted(loaded.hashes) == [
        "model/model.safetensors",
        "transcoder/transcoder.json",
        "transcoder/transcoder.safetensors",
    ]
    assert model.hashes == {}
    assert model.name == "Gemma3ForCausalLM"


def test_the_pocket_model() -> None:
    model = ReplacementModel.from_pretrained("pocket")
    assert model.name == "pocket"
    assert model.transcoder.cross_layer
    assert not ReplacementModel.from_pretrained("pocket", "plt").transcoder.cross_layer


@pytest.mark.parametrize(
    ("host", "working"),
    [(torch.float32, torch.float32), (torch.bfloat16, torch.float32), (torch.float64, torch.float64)],
)
def test_the_transcoder_takes_the_working_dtype(
    make_model: MakeModel, make_transcoder: MakeTranscoder, host: torch.dtype, working: torch.dtype
) -> None:
    given = make_transcoder(dtype=torch.bfloat16)
    model = ReplacementModel(make_model("llama", host), None, given)
    rows = model.transcoder.encoder_rows(0, torch.tensor([1]))
    assert model.dtype == model.transcoder.b_dec.dtype == rows.dtype == working
    assert given.b_dec.dtype == torch.bfloat16
    assert model.unembedding(3).dtype == model.mean_unembedding.dtype == model.unembedding_bias(3).dtype == working


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_hidden_layers": 2, "layer_types": None}, "for 4 layers of d_model 24, the model has 2 of 24"),
        ({"hidden_size": 32}, "for 4 layers of d_model 24, the model has 4 of 32"),
    ],
)
def test_a_transcoder_of_another_model(
    make_model: MakeModel, make_transcoder: MakeTranscoder, changes: dict, message: str
) -> None:
    with pytest.raises(WeightsError, match=message):
        ReplacementModel(make_model("gemma3", **changes), None, make_transcoder())


def test_names_that_lead_nowhere(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="neither a local folder nor a repository in reach"):
        ReplacementModel.from_pretrained("no/such-model", tmp_path)
    with pytest.raises(InputError, match="no transcoder given"):
        ReplacementModel.from_pretrained(checkpoint)
    with pytest.raises(WeightsError, match="no known transcoder layout"):
        ReplacementModel.from_pretrained(checkpoint, tmp_path / "checkpoint")
    with pytest.raises(InputError, match="'nlt' is neither"):
        ReplacementModel.from_pretrained("pocket", "nlt")


def test_no_adapter(make_transcoder: MakeTranscoder) -> None:
    with pytest.raises(UnsupportedModelError, match="no host adapter for Linear"):
        ReplacementModel(nn.Linear(2, 2), None, make_transcoder())


def test_tokens(model: ReplacementModel) -> None:
    assert model.token_id("Austin") == model.token_id(9) == model.token_id(np.int64(9)) == 9
    assert type(model.token_id(np.uint16(9))) is int
    assert model.token_string(9) == "Austin"
    for token, message in [
        ("Dallas", "'Dallas' is not a single token"),
        ("the capital", "not a single token"),
        ("", "not a single token"),
        (40, "token id 40 is outside the vocabulary"),
        (-1, "token id -1 is outside the vocabulary"),
    ]:
        with pytest.raises(InputError, match=message):
            model.token_id(token)


def test_tokens_without_a_tokenizer(make_model: MakeModel, make_transcoder: MakeTranscoder) -> None:
    model = ReplacementModel(make_model("gpt2"), None, make_transcoder())
    assert (model.token_id(3), model.token_string(3)) == (3, "3")
    with pytest.raises(InputError, match="no tokenizer; give a token id instead of 'Austin'"):
        model.token_id("Austin")


def test_unembedding_rows_and_their_mean(make_model: MakeModel, make_transcoder: MakeTranscoder) -> None:
    host = make_model("llama")
    model = ReplacementModel(host, None, make_transcoder())
    assert torch.equal(model.unembedding(7), host.lm_head.weight[7])
    torch.testing.assert_close(model.mean_unembedding, host.lm_head.weight.detach().mean(0))
    assert model.unembedding_bias(7) == model.mean_unembedding_bias == 0


def test_logit_positions_count_from_the_end_too(model: ReplacementModel) -> None:
    prompt = model.read_prompt("the capital of")
    captured = model.capture(prompt, (-1, 1))
    assert captured.logit_positions == (3, 1)
    torch.testing.assert_close(captured.logits[0], model.capture(prompt).logits[0])
    torch.testing.assert_close(captured.logits[1], model.capture(prompt, (1,)).logits[0])


def test_the_transcoders_prefix_is_looked_for_in_prompts(
    make_model: MakeModel, make_transcoder: MakeTranscoder, make_tokenizer: Callable
) -> None:
    model = ReplacementModel(make_model("gemma3"), make_tokenizer(), replace(make_transcoder(), prefix=(0, 4)))
    prompt = model.read_prompt([4, 5, 6])
    assert (prompt.token_ids.tolist(), prompt.n_ignored_pos) == ([0, 4, 5, 6], 2)
    assert model.read_prompt([4, 5, 6], n_ignored_pos=0).n_ignored_pos == 0
    with pytest.raises(InputError, match="missing the prefix"):
        model.read_prompt([5, 6])


def test_a_transcoder_goes_to_an_accelerator_only_if_it_leaves_room(
    make_transcoder: MakeTranscoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    transcoder = make_transcoder(skip=True)
    moved = []
    monkeypatch.setattr(Transcoder, "to", lambda self, device: moved.append(device) or self)
    for free, expected in ((2 * transcoder.n_bytes, 1), (2 * transcoder.n_bytes - 1, 0)):
        moved.clear()
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=free: (free, 10**12))
        assert model_module._placed(transcoder, torch.device("cuda:1")) is transcoder
        assert moved == [torch.device("cuda:1")] * expected
    assert model_module._placed(transcoder, torch.device("cpu")) is transcoder


def test_device_and_device_map_exclude_each_other() -> None:
    with pytest.raises(InputError, match="either device or device_map, got cpu and auto"):
        ReplacementModel.from_pretrained("pocket", device="cpu", device_map="auto")


def test_a_device_map_without_accelerate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading_module, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match="pip install accelerate"):
        ReplacementModel.from_pretrained("pocket", device_map="auto")
