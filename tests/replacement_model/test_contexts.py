from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest
import torch
from torch import nn

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
