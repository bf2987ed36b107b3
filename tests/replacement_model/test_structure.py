"""Models without an adapter: their pieces are found, or they are refused; never a wrong graph."""

import logging
import re
import textwrap
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import altered_hosts
import pytest
import torch
import transformers
from altered_hosts import altered_host
from torch import Tensor, nn
from unknown_hosts import unknown_host

from replacement_model.capture import capture
from replacement_model.errors import CaptureError, UnsupportedModelError
from replacement_model.host import Block, NoNorm, Norm, adapt
from replacement_model.structure import find_host, host_by_structure

Make = Callable[..., nn.Module]
IDS = torch.tensor([1, 7, 3, 22, 39, 5])
FOUND = ["Falcon", "GPTJ", "Nemotron", "Olmo3", "Phi", "StableLm", "Starcoder2"]
WORKING = ("MovedLayer", "TupleLayer", "ParallelLayer", "BareLayer")
TRANSFORMERS_5 = transformers.__version__.startswith("5")
if TRANSFORMERS_5:  # before, it calls a function of torch that is deprecated
    FOUND.append("GPTBigCode")


def assert_equal_pieces(first: object, second: object) -> None:
    """Equal in every field; tensors bit by bit, modules the same."""
    assert type(first) is type(second)
    for field in fields(first):
        mine, theirs = getattr(first, field.name), getattr(second, field.name)
        if isinstance(theirs, Tensor):
            assert torch.equal(mine, theirs), field.name
        elif isinstance(theirs, (Norm, Block)):
            assert_equal_pieces(mine, theirs)
        elif field.name == "embed_scale":
            assert mine == pytest.approx(theirs, rel=1e-6)
        elif field.name not in ("how", "blocks"):
            assert mine is theirs or mine == theirs, field.name


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_what_adapters_describe_is_found_without_them(make_model: Make, architecture: str, dtype: torch.dtype) -> None:
    model = make_model(architecture, dtype)
    found, described = host_by_structure(model, "no adapter"), adapt(model)
    assert found.how == "structure"
    assert found.n_layers == described.n_layers
    if dtype == torch.bfloat16 and described.embed_scale != 1:  # rounded with the vectors that it scales
        assert found.embed_scale == pytest.approx(described.embed_scale, rel=1e-2)
    else:
        assert_equal_pieces(found, described)
    for mine, theirs in zip(found.blocks, described.blocks, strict=True):
        assert_equal_pieces(mine, theirs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", FOUND)
def test_unknown_architectures_are_found_and_said_to_be(
    name: str, dtype: torch.dtype, caplog: pytest.LogCaptureFixture
) -> None:
    model = unknown_host(name, dtype)
    with caplog.at_level(logging.WARNING):
        host = find_host(model)
    assert f"{name}ForCausalLM has no host adapter that fits; its pieces were found by structure" in caplog.text
    found = capture(host, IDS, (5,))
    with torch.no_grad():
        logits = model(IDS[None]).logits[0, -1].float()
    # In bfloat16 the host rounds as its own attention does, the capture as the eager one.
    tolerance = (1e-5 if dtype == torch.float32 else 6e-2) * float(logits.abs().max())
    torch.testing.assert_close(found.logits[0], logits, rtol=0, atol=tolerance)
    assert host.blocks[1].parallel == (name in ("Falcon", "GPTJ", "Phi"))
    assert isinstance(host.blocks[1].attn_norm, NoNorm) == (name == "Olmo3")
    assert (host.W_pos is not None) == (name == "GPTBigCode")


def test_the_adapter_of_the_documentation_says_what_is_found_without_it(repository: Path) -> None:
    text = (repository / "docs" / "host-adapters.md").read_text()
    (code,) = re.findall(r"   ```python\n(.*?)\n   ```", text, flags=re.DOTALL)
    written: dict[str, Any] = {}
    exec(textwrap.dedent(code), written)
    model = unknown_host("Glm4")
    described, found = written["glm4_host"](model), find_host(model)
    assert_equal_pieces(found, described)
    for mine, theirs in zip(found.blocks, described.blocks, strict=True):
        assert_equal_pieces(mine, theirs)
    assert capture(described, IDS, (5,)).n_pos == len(IDS)
    assert len(code.splitlines()) < 30


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Bloom", "found transformer.h.0: an attention whose output is no mixture of values"),
        ("Cohere", r"found 3 layers with attention, MLP and norms, but there is more to this model \(logits: "),
        ("Granite", r"but there is more to this model \(layer 0: resid_mid: "),
        ("Mamba", "found no list of layers that each hold an attention which returns its pattern"),
    ],
)
def test_what_is_not_found_is_refused_with_what_was(name: str, message: str) -> None:
    with pytest.raises(UnsupportedModelError, match=rf"^no host adapter for {name}ForCausalLM.* A search.*{message}"):
        find_host(unknown_host(name, torch.float32))


def test_a_layer_without_an_mlp_module_is_refused() -> None:
    with pytest.raises(UnsupportedModelError, match=r"no single module that is its MLP .*fc1, .*fc2"):
        find_host(unknown_host("OPT", torch.float32))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("layer", WORKING)
def test_a_known_model_whose_parts_moved_still_works(layer: str, dtype: torch.dtype) -> None:
    model = altered_host(getattr(altered_hosts, layer), dtype)
    with pytest.raises(UnsupportedModelError, match="not laid out as its adapter expects"):
        adapt(model)
    found = capture(find_host(model), IDS, (5,))
    with torch.no_grad():
        torch.testing.assert_close(found.logits[0], model(IDS[None]).logits[0, -1], rtol=0, atol=1e-5)


@pytest.mark.parametrize("layer", ["ScaledLayer", "BiasedLayer", "GatedLayer", "TwoPathsLayer", "DictLayer"])
def test_one_that_computes_something_else_is_refused(layer: str) -> None:
    with pytest.raises(UnsupportedModelError, match=r"not laid out as its adapter expects .* A search by structure"):
        find_host(altered_host(getattr(altered_hosts, layer)))


def test_a_path_that_other_prompts_take_is_refused_on_them(monkeypatch: pytest.MonkeyPatch) -> None:
    model, streams = altered_host(altered_hosts.SilentLayer), []
    for layer in model.model.layers:
        layer.norm_2.register_forward_pre_hook(lambda _, args: streams.append(float(args[0][0, :, 0].max())))
    find_host(model)
    threshold = max(streams) + 1e-6  # not reached while the pieces are looked for
    monkeypatch.setattr(altered_hosts.SilentLayer, "threshold", threshold)
    host, passed, refused = find_host(model), 0, 0
    for token in range(40):
        streams.clear()
        try:
            capture(host, torch.tensor([0, token]), (1,))
            assert max(streams) < threshold + 1e-6
            passed += 1
        except CaptureError:
            assert max(streams) > threshold
            refused += 1
    assert min(passed, refused) > 3


def test_an_unknown_config_attribute_of_a_known_model_is_not_searched_for(make_model: Make) -> None:
    model = make_model("llama")
    model.config.residual_multiplier = 0.5
    with pytest.raises(UnsupportedModelError, match="does not know the config attribute") as error:
        find_host(model)
    assert "structure" not in str(error.value)


def test_without_weights_there_is_nothing_to_look_at() -> None:
    with torch.device("meta"):
        model = transformers.Starcoder2ForCausalLM(transformers.Starcoder2Config(num_hidden_layers=1))
    with pytest.raises(UnsupportedModelError, match="no weights; a model without an adapter must be loaded"):
        find_host(model)


def test_no_decoder_is_refused() -> None:
    config = transformers.BertConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, vocab_size=9
    )
    with pytest.raises(UnsupportedModelError, match=r"no host adapter for BertModel; .* no pair of token embedding"):
        find_host(transformers.BertModel(config))


def test_the_model_is_left_as_it_was() -> None:
    model = unknown_host("GPTJ", torch.float32).train()
    before = {name: set(module.__dict__) for name, module in model.named_modules()}
    implementation = model.config._attn_implementation
    find_host(model)
    assert {name: set(module.__dict__) for name, module in model.named_modules()} == before
    assert all(module.training for module in model.modules())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert model.config._attn_implementation == implementation
