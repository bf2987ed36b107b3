from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest
import torch
from torch import nn
from transformers import PretrainedConfig

from replacement_model.capture import capture
from replacement_model.contexts import eager_attention, evaluation_mode, native_norms
from replacement_model.host import adapt

Make = Callable[..., nn.Module]


class StopError(Exception):
    """Raised inside a context, to see that it cleans up."""


@contextmanager
def interrupted(context: AbstractContextManager[None]) -> Iterator[None]:
    """Runs the block inside `context`, and ends it with an error."""
    with pytest.raises(StopError), context:  # noqa: PT012
        yield
        raise StopError


def test_evaluation_mode_gives_each_module_its_mode_back(make_model: Make) -> None:
    model = make_model("llama").train()
    model.model.layers[1].mlp.eval()
    before = [module.training for module in model.modules()]
    with interrupted(evaluation_mode(model)):
        assert not any(module.training for module in model.modules())
        assert not torch.is_grad_enabled()
    assert [module.training for module in model.modules()] == before
    assert len(set(before)) == 2
    assert torch.is_grad_enabled()


def test_eager_attention_gives_the_pattern_and_goes(make_model: Make) -> None:
    model = make_model("qwen3", attn_implementation="sdpa")
    with interrupted(eager_attention(model)):
        assert model.config._attn_implementation == "eager"
    assert model.config._attn_implementation == "sdpa"


def test_every_config_of_a_composed_model_gets_its_attention_back(make_model: Make) -> None:
    model = make_model("gemma3_multimodal")
    text, vision = model.config.text_config, model.config.vision_config
    model.config._attn_implementation = "sdpa"
    text._attn_implementation, vision._attn_implementation = "flex_attention", "eager"
    with interrupted(eager_attention(model)):
        assert {config._attn_implementation for config in (model.config, text, vision)} == {"eager"}
    found = [config._attn_implementation for config in (model.config, text, vision)]
    assert found == ["sdpa", "flex_attention", "eager"]


@pytest.mark.skipif(not hasattr(PretrainedConfig(), "_experts_implementation"), reason="runs with transformers 5")
@pytest.mark.parametrize("name", ["gpt_oss", "mixtral", "qwen3_moe"])
def test_experts_that_know_no_float64_are_replaced_and_put_back(make_model: Make, name: str) -> None:
    model = make_model(name, torch.float64)
    model.set_experts_implementation("grouped_mm")
    with pytest.raises(RuntimeError, match="got Double"):
        model(torch.tensor([[1, 2]]))
    capture(adapt(model), torch.tensor([1, 2, 3]), (2,))
    assert model.config._experts_implementation == "grouped_mm"


@pytest.mark.parametrize("implementation", ["sdpa", "flex_attention"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_another_attention_gives_the_same_capture(make_model: Make, implementation: str, dtype: torch.dtype) -> None:
    model, ids = make_model("qwen3", dtype), torch.tensor([1, 2, 3])
    model.config._attn_implementation = implementation
    eager = make_model("qwen3", dtype, attn_implementation="eager")
    found, expected = capture(adapt(model), ids, (2,)), capture(adapt(eager), ids, (2,))
    assert torch.equal(found.logits, expected.logits)
    assert model.config._attn_implementation == implementation


def test_native_norms_compute_in_float64_and_go(make_model: Make, architecture: str) -> None:
    model = make_model(architecture, torch.float64)
    host = adapt(model)
    x = torch.randn(5, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    native = [norm(x) for norm in host.norms()]
    rounded = [norm.module(x) for norm in host.norms()]
    with interrupted(native_norms(host)):
        for norm, expected in zip(host.norms(), native, strict=True):
            assert torch.equal(norm.module(x), expected)
    for norm, value, expected in zip(host.norms(), rounded, native, strict=True):
        assert torch.equal(norm.module(x), value)
        torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-5)
        assert "forward" not in norm.module.__dict__


def test_native_norms_keep_a_patch_that_was_there(make_model: Make) -> None:
    host = adapt(make_model("llama", torch.float64))
    module = host.blocks[0].attn_norm.module
    module.forward = patched = lambda x: x
    with native_norms(host):
        assert module.forward is not patched
    assert module.forward is patched
