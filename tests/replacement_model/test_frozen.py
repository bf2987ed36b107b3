"""The frozen model against the host itself, with its patterns replayed and its denominators detached."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from types import MethodType

import pytest
import torch
import transformers
from tiny_hosts import GEMMAS, LAYER_NORMS
from tiny_models import written_by
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import eager_mask

import replacement_model.frozen as frozen_module
from replacement_model.capture import Capture, capture
from replacement_model.decomposition import decompose
from replacement_model.host import adapt
from replacement_model.transcoder import DecoderSite, EncoderTap, Transcoder

IDS = torch.tensor([1, 7, 3, 22, 39, 5])
PATTERNS: list[Tensor] = []
Make = Callable[..., nn.Module]
MakeTranscoder = Callable[..., Transcoder]


def replay(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, *_: object, **__: object) -> tuple:
    """Attention whose pattern was recorded; only the values are alive."""
    pattern = PATTERNS[module.layer_idx][None]
    values = value.repeat_interleave(pattern.shape[1] // value.shape[1], dim=1)
    return (pattern @ values).transpose(1, 2).contiguous(), pattern


AttentionInterface.register("replay", replay)
AttentionMaskInterface.register("replay", eager_mask)


def norm_with_frozen_denominator(module: nn.Module, x: Tensor) -> Tensor:
    """What LayerNorm, Gemma's RMSNorm and Llama's compute, written from their definitions."""
    if isinstance(module, nn.LayerNorm):
        x = x - x.mean(-1, keepdim=True)
        return module.weight * x / (x.square().mean(-1, keepdim=True) + module.eps).sqrt().detach() + module.bias
    gemma = "Gemma" in type(module).__name__
    eps, gain = (module.eps, 1 + module.weight) if gemma else (module.variance_epsilon, module.weight)
    return gain * x / (x.square().mean(-1, keepdim=True) + eps).sqrt().detach()


@pytest.fixture(scope="module")
def captures(make_model: Make) -> Callable[[str], Capture]:
    """A float64 capture of each architecture, made once."""
    return lru_cache(lambda architecture: capture(adapt(make_model(architecture, torch.float64)), IDS, (5,)))


@contextmanager
def frozen_host(model: nn.Module, captured: Capture, skips: list[Tensor | None]) -> Iterator[list[Tensor]]:
    """Freeze the Hugging Face model itself; the list collects each layer's `resid_mid`."""
    PATTERNS[:] = [block.pattern for block in captured.frozen.blocks]
    resid_mids: list[Tensor] = []
    with ExitStack() as undo:
        for norm in captured.frozen.host.norms():
            norm.module.forward = MethodType(norm_with_frozen_denominator, norm.module)
            undo.callback(norm.module.__dict__.pop, "forward")
        for block, mlp_out, skip in zip(captured.frozen.host.blocks, captured.mlp_out, skips, strict=True):

            def fixed(_: nn.Module, args: tuple, out: object, mlp_out: Tensor = mlp_out, skip: object = skip) -> object:
                x = args[0]
                new = mlp_out[None] + (0 if skip is None else (x - x.detach()) @ skip.T)
                return (new, *out[1:]) if isinstance(out, tuple) else new

            undo.callback(block.mlp.register_forward_hook(fixed).remove)
            watch = block.mlp_norm.module.register_forward_pre_hook(lambda _, args: resid_mids.append(args[0][0]))
            undo.callback(watch.remove)
        model.set_attn_implementation("replay")
        undo.callback(model.set_attn_implementation, "eager")
        yield resid_mids


def unscaled(model: nn.Module, embed: Tensor) -> Tensor:
    """What the model takes as `inputs_embeds`: Gemma 2 scales them once more in transformers 4.57."""
    scales_again = type(model).__name__ == "Gemma2ForCausalLM" and transformers.__version__.startswith("4.")
    return embed / model.config.hidden_size**0.5 if scales_again else embed


@pytest.mark.parametrize("with_skip", [False, True])
def test_its_jacobian_is_the_frozen_hosts(make_model: Make, architecture: str, with_skip: bool) -> None:
    model = make_model(architecture, torch.float64, attn_implementation="eager")
    captured = capture(adapt(model), IDS, (5,))
    generator = torch.Generator().manual_seed(3)
    skips = [0.2 * torch.randn(24, 24, dtype=torch.float64, generator=generator) if with_skip else None] * 4
    embed = captured.embed.clone().requires_grad_()
    with frozen_host(model, captured, skips) as host_mids:
        logits = model(inputs_embeds=unscaled(model, embed)[None], use_cache=False).logits[0]
    base = [captured.frozen.blocks[layer].tap(captured.resid_mid[layer], EncoderTap.MLP_IN) for layer in range(4)]
    writes = captured.mlp_out - torch.stack([torch.zeros_like(x) if not with_skip else x @ skips[0].T for x in base])
    resid = (captured.embed + captured.pos_embed).requires_grad_()
    mids, final = captured.frozen.run(resid, writes, tuple(skips), EncoderTap.MLP_IN, DecoderSite.MLP_OUT)
    cap = captured.frozen.host.logit_softcap
    raw = captured.frozen.unembed(final, list(range(6)))
    ours = raw if cap is None else cap * torch.tanh(raw / cap)
    torch.testing.assert_close(ours, logits, rtol=0, atol=1e-10)
    for got, expected in [*zip(mids, host_mids, strict=True), (ours, logits)]:
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-10)
        direction = torch.randn(got.shape, dtype=torch.float64, generator=generator)
        (mine,) = torch.autograd.grad((got * direction).sum(), resid, retain_graph=True)
        (theirs,) = torch.autograd.grad((expected * direction).sum(), embed, retain_graph=True)
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("site", DecoderSite)
@pytest.mark.parametrize("tap", EncoderTap)
@pytest.mark.parametrize("cross_layer", [False, True])
def test_running_on_the_decomposition_gives_the_host_back(
    captures: Callable[[str], Capture],
    make_transcoder: MakeTranscoder,
    architecture: str,
    cross_layer: bool,
    tap: EncoderTap,
    site: DecoderSite,
) -> None:
    captured = captures(architecture)
    transcoder = make_transcoder(cross_layer=cross_layer, skip=True, tap=tap, site=site, dtype=torch.float64)
    parts = decompose(captured, transcoder, 1)
    writes = parts.errors + parts.constants
    for (layer, pos, idx), act in zip(parts.features.tolist(), parts.feature_acts, strict=True):
        decoder = written_by(transcoder, layer, idx)
        writes[layer : layer + len(decoder), pos] += act * decoder
    skips = tuple(transcoder.skip(layer) for layer in range(4))
    mids, final = captured.frozen.run(captured.embed + captured.pos_embed, writes, skips, tap, site)
    torch.testing.assert_close(torch.stack(mids), captured.resid_mid, rtol=0, atol=1e-10)
    torch.testing.assert_close(final, captured.resid_final, rtol=0, atol=1e-10)
    torch.testing.assert_close(captured.frozen.unembed(final, [5]), captured.logits, rtol=0, atol=1e-9)


def test_taps_are_the_streams_that_they_name(captures: Callable[[str], Capture], architecture: str) -> None:
    captured = captures(architecture)
    for block, resid_mid in zip(captured.frozen.blocks, captured.resid_mid, strict=True):
        if architecture == "olmo2":  # no norm before the MLP
            assert all(torch.equal(block.tap(resid_mid, tap), resid_mid) for tap in EncoderTap)
            continue
        module = block.block.mlp_norm.module
        gain = 1 + module.weight if architecture in GEMMAS else module.weight
        bias = module.bias if architecture in LAYER_NORMS else 0
        normed = norm_with_frozen_denominator(module, resid_mid).detach()
        torch.testing.assert_close(block.tap(resid_mid, EncoderTap.MLP_IN), normed, rtol=0, atol=1e-12)
        torch.testing.assert_close(
            block.tap(resid_mid, EncoderTap.NORMALIZED) * gain + bias, normed, rtol=0, atol=1e-12
        )
        assert torch.equal(block.tap(resid_mid, EncoderTap.RESID_MID), resid_mid)


def test_without_biases_each_map_is_linear(captures: Callable[[str], Capture], architecture: str) -> None:
    captured = captures(architecture)
    x, y = torch.randn(2, 6, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for block in captured.frozen.blocks:
        maps = [
            lambda r, bias, block=block: block.attn_write(r, bias),
            lambda r, bias, block=block: block.site_write(r, DecoderSite.MLP_OUT, bias),
            lambda r, bias, block=block: block.tap(r, EncoderTap.MLP_IN, bias),
        ]
        for function in maps:
            torch.testing.assert_close(function(x, False) + function(y, False), function(x + y, False))
            linear_part = function(x + y, True) - function(y, True)
            torch.testing.assert_close(linear_part, function(x, False))


def test_site_write_at_some_positions(captures: Callable[[str], Capture]) -> None:
    captured = captures("gemma2")
    block, where = captured.frozen.blocks[1], torch.tensor([4, 1, 4])
    whole = block.site_write(captured.mlp_out[1], DecoderSite.MLP_OUT)
    some = block.site_write(captured.mlp_out[1][where], DecoderSite.MLP_OUT, positions=where)
    assert torch.equal(some, whole[where])
    assert torch.equal(block.site_write(captured.mlp_out[1], DecoderSite.POST_NORM), captured.mlp_out[1])


@pytest.mark.parametrize("at_once", [1, 7, 40, 100])
def test_a_half_precision_unembedding_is_converted_in_pieces(
    make_model: Make, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(frozen_module, "UNEMBEDDED_AT_ONCE", at_once)
    host = adapt(make_model("phi3", torch.bfloat16))
    found = capture(host, IDS, (1, 5))
    assert found.logits.dtype == torch.float32
    normed = host.final_norm(found.resid_final[[1, 5]])
    torch.testing.assert_close(found.logits, normed @ host.W_U.float().T, rtol=1e-5, atol=1e-5)
