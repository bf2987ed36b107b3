"""Patterns are computed again exactly, at any time, and no more than one is alive where they are not kept."""

import weakref
from collections.abc import Callable

import pytest
import torch
from tiny_hosts import NO_SDPA
from torch import nn

from replacement_model.capture import capture
from replacement_model.errors import CaptureError
from replacement_model.host import adapt
from replacement_model.recording import LayerRecord, recording

Make = Callable[..., nn.Module]
DTYPES = (torch.float64, torch.float32, torch.bfloat16)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_recomputed_pattern_is_the_kept_one(
    make_model: Make, architecture: str, dtype: torch.dtype, token_ids: torch.Tensor
) -> None:
    attention = "eager" if architecture in NO_SDPA else "sdpa"
    model = make_model(architecture, dtype, attn_implementation=attention)
    kept = capture(adapt(model), token_ids, (7,))
    lazy = capture(adapt(model), token_ids, (7,), keep_patterns=False)
    assert kept.keeps_patterns
    assert not lazy.keeps_patterns
    model.train()
    for first, second in zip(kept.frozen.blocks, lazy.frozen.blocks, strict=True):
        assert second.pattern.dtype == first.pattern.dtype == lazy.embed.dtype
        assert torch.equal(first.pattern, second.pattern)
        assert not second.pattern.requires_grad
    assert model.training
    assert model.config._attn_implementation == attention
    assert torch.equal(kept.resid_final, lazy.resid_final)
    assert torch.equal(kept.logits, lazy.logits)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_one_pattern_at_a_time_is_alive(
    make_model: Make, architecture: str, dtype: torch.dtype, token_ids: torch.Tensor
) -> None:
    host, alive, most = adapt(make_model(architecture, dtype)), weakref.WeakSet(), 0

    def watch(module: nn.Module, args: tuple, output: tuple) -> None:
        nonlocal most
        most = max(most, len(alive))
        alive.add(output[1])

    for block in host.blocks:
        block.attn.register_forward_hook(watch)
    capture(host, token_ids, (7,), keep_patterns=False)
    assert most == 0


def test_layers_are_finished_in_order_with_the_stream_after_them(make_model: Make, token_ids: torch.Tensor) -> None:
    host, found = adapt(make_model("gemma3")), []

    def finish(layer: int, record: LayerRecord, resid_post: torch.Tensor) -> None:
        found.append((layer, record.resid_pre, resid_post))

    with torch.no_grad(), recording(host, torch.device("cpu"), torch.float64, finish):
        host.model.set_attn_implementation("eager")
        hidden = host.model(token_ids[None], output_hidden_states=True, use_cache=False).hidden_states
    assert [layer for layer, _, _ in found] == [0, 1, 2, 3]
    for layer, resid_pre, resid_post in found:
        assert torch.equal(resid_pre, hidden[layer][0].double())
        if layer < 3:
            assert torch.equal(resid_post, hidden[layer + 1][0].double())


def test_layers_out_of_order_are_refused(make_model: Make) -> None:
    model = make_model("llama")
    host = adapt(model)
    model.model.layers = nn.ModuleList([model.model.layers[index] for index in (0, 2, 1, 3)])
    with pytest.raises(CaptureError, match="layer 1: expected it to run next, layer 2 does"):
        capture(host, torch.tensor([1, 7]), (1,))


def test_a_layer_that_runs_twice_is_refused(make_model: Make) -> None:
    model = make_model("llama")
    host = adapt(model)
    model.model.layers = nn.ModuleList([model.model.layers[index] for index in (0, 1, 1, 2)])
    with pytest.raises(CaptureError, match="layer 2: expected it to run next, layer 1 does"):
        capture(host, torch.tensor([1, 7]), (1,))
