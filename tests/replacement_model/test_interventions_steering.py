"""Steering with autoencoders at every place, against the host with a fixed vector added by replaced forward methods."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import MethodType

import pytest
import torch
from tiny_models import D_MODEL, PROMPT, tiny_model, tiny_transcoder
from torch import Tensor, nn

from replacement_model import InputError, ReplacementModel
from replacement_model.activation import Activation
from replacement_model.autoencoder import Autoencoder, AutoencoderSite
from replacement_model.capture import Capture
from replacement_model.contexts import as_captured
from replacement_model.interventions import Feature, Intervention, Supernode, observe, steer

LAYER, POS, IDX, VALUE, D_SAE = 1, 4, 6, 3.5, 20
SITES = tuple(AutoencoderSite)


def coder_for(site: AutoencoderSite, kind: str = "jumprelu", layer: int = LAYER, seed: int = 3) -> Autoencoder:
    rng = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=rng, dtype=torch.float64)

    activation = Activation(kind, random(D_SAE).abs() * 0.1) if kind == "jumprelu" else Activation(kind, k=5)
    weights = [random(D_SAE, D_MODEL) / 4, 0.1 * random(D_SAE), random(D_SAE, D_MODEL) / 4, 0.1 * random(D_MODEL)]
    return Autoencoder(*weights, activation, layer, site)


def value_at(capture: Capture, site: AutoencoderSite) -> Tensor:
    """What the host has at the place, from the capture, [pos, d_in]."""
    held = capture.frozen.blocks[LAYER]
    block = held.block
    if site is AutoencoderSite.RESID_PRE:
        return capture.resid_pre[LAYER]
    if site is AutoencoderSite.RESID_MID:
        return capture.resid_mid[LAYER]
    if site is AutoencoderSite.RESID_POST:
        return capture.resid_post(LAYER)
    if site is AutoencoderSite.ATTN_OUT:
        return held.attn_write(capture.resid_pre[LAYER])
    if site is AutoencoderSite.MLP_OUT:
        return capture.mlp_write[LAYER]
    values = block.attn_norm(capture.resid_pre[LAYER]) @ block.W_V.T + (0 if block.b_V is None else block.b_V)
    group = block.n_heads // block.n_kv_heads
    by_head = [values[:, (h // group) * block.d_head :][:, : block.d_head] for h in range(block.n_heads)]
    return torch.cat([held.pattern[h] @ one for h, one in enumerate(by_head)], dim=1)


@contextmanager
def vector_added(model: ReplacementModel, site: AutoencoderSite, vector: Tensor) -> Iterator[None]:
    """`vector` is added at the place and position, by another `forward` of the module that writes there."""
    block = model.host.blocks[LAYER]
    writers = {
        AutoencoderSite.RESID_POST: block.module,
        AutoencoderSite.MLP_OUT: block.mlp if block.mlp_post_norm is None else block.mlp_post_norm.module,
        AutoencoderSite.HEADS: block.attn,
    }
    attn_writer = block.attn if block.attn_post_norm is None else block.attn_post_norm.module
    before = site is AutoencoderSite.RESID_PRE or (site is AutoencoderSite.RESID_MID and block.parallel)
    module = model.host.blocks[LAYER - 1].module if before else writers.get(site, attn_writer)
    added = block.W_O @ vector if site is AutoencoderSite.HEADS else vector
    original: Callable = module.forward

    def forward(_self: nn.Module, *args: object, **kwargs: object) -> object:
        output = original(*args, **kwargs)
        first = (output[0] if isinstance(output, tuple) else output).clone()
        first[0, POS] += added
        return (first, *output[1:]) if isinstance(output, tuple) else first

    saved = vars(module).get("forward")
    module.forward = MethodType(forward, module)
    try:
        yield
    finally:
        if saved is None:
            del module.forward
        else:
            module.forward = saved


def logits_with(model: ReplacementModel, site: AutoencoderSite, vector: Tensor) -> Tensor:
    with as_captured(model.host), vector_added(model, site, vector):
        return model.host.model(torch.tensor([PROMPT]), use_cache=False).logits[0, -1]


def cases() -> list[tuple[str, AutoencoderSite]]:
    """Every place, sequential and parallel; in other architectures those whose module is another."""
    every = [(architecture, site) for architecture in ("gemma3", "gpt_neox") for site in SITES]
    others = (AutoencoderSite.HEADS, AutoencoderSite.RESID_MID, AutoencoderSite.RESID_POST)
    return every + [(architecture, site) for architecture in ("gpt2", "olmo2") for site in others]


@pytest.mark.parametrize(("architecture", "site"), cases(), ids=lambda one: getattr(one, "value", one))
def test_a_set_feature_adds_its_decoder_row(architecture: str, site: AutoencoderSite) -> None:
    model = tiny_model(architecture, transcoder=tiny_transcoder(False))
    coder = coder_for(site, "topk" if architecture == "gpt2" else "jumprelu")
    observed = observe(model, PROMPT)
    act = coder.encode(value_at(observed.capture, site))[POS, IDX]
    result = steer(model, observed, coder, Intervention.set((LAYER, POS, IDX), VALUE))
    expected = logits_with(model, site, (VALUE - act) * coder.W_dec[IDX])
    capped = model.host.logit_softcap
    after = result.logits_after[0] if capped is None else capped * torch.tanh(result.logits_after[0] / capped)
    torch.testing.assert_close(after, expected, rtol=1e-9, atol=1e-9)
    assert float((result.logits_after - result.logits_before).abs().max()) > 1e-3
    assert result.features.tolist() == [[LAYER, POS, IDX]]
    torch.testing.assert_close(result.acts_before[0], act, rtol=1e-9, atol=1e-9)
    assert float(result.acts_after[0]) == VALUE


def test_several_autoencoders_act_in_one_pass() -> None:
    model = tiny_model("gemma3")
    coders = [coder_for(AutoencoderSite.RESID_POST), coder_for(AutoencoderSite.RESID_POST, layer=2, seed=4)]
    both = steer(model, PROMPT, coders, [Intervention.set("1/4/6", 3.5), Intervention.set("2/-1/2", 2.0)])
    first = steer(model, PROMPT, coders[0], Intervention.set("1/4/6", 3.5))
    assert not torch.allclose(both.logits_after, first.logits_after, atol=1e-3)
    # The second feature is read in the stream that the first has changed.
    changed = {tuple(place): float(act) for place, act in zip(both.features.tolist(), both.acts_before, strict=True)}
    assert set(changed) == {(1, 4, 6), (2, 6, 2)}


@pytest.mark.parametrize("site", SITES[1:4], ids=lambda site: site.value)
def test_generation_is_the_same_with_and_without_cache(site: AutoencoderSite) -> None:
    model = tiny_model("gemma3")
    model.host.model.generation_config.eos_token_id = None
    edit = Intervention.add(Feature(LAYER, IDX, slice(3, None)), 2.0)
    cached, plain = (
        steer(model, PROMPT, coder_for(site), edit, generate=3, use_cache=use_cache) for use_cache in (True, False)
    )
    assert cached.after.token_ids == plain.after.token_ids
    torch.testing.assert_close(cached.after.logits, plain.after.logits, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(cached.after.logits[0], cached.logits_after[-1], rtol=1e-9, atol=1e-9)
    assert not torch.allclose(cached.before.logits, cached.after.logits, atol=1e-3)


def test_a_swap_reads_the_autoencoder_on_the_other_prompt() -> None:
    model, other = tiny_model("llama"), [0, 8, 3, 3, 21, 30]
    coder = coder_for(AutoencoderSite.RESID_POST)
    there = coder.encode(observe(model, other).capture.resid_post(LAYER))[-1]
    members = there.topk(3).indices.tolist()
    swapped = steer(
        model,
        PROMPT,
        coder,
        Intervention.swap(Supernode("here", (Feature(LAYER, 0, -1),)), [Feature(LAYER, i, -1) for i in members], other),
    )
    by_hand = [Intervention.set(Feature(LAYER, i, -1), float(there[i])) for i in members]
    expected = steer(model, PROMPT, coder, [Intervention.ablate(Feature(LAYER, 0, -1)), *by_hand])
    torch.testing.assert_close(swapped.logits_after, expected.logits_after, rtol=1e-9, atol=1e-9)


def test_what_cannot_be_steered_is_refused_and_the_host_is_as_before() -> None:
    model = tiny_model("gemma3")
    coder = coder_for(AutoencoderSite.HEADS)
    for change, says in (
        (Intervention.ablate("0/-1/3"), "layer 0 has no features; those of layers 1"),
        (Intervention.ablate("1/-1/20"), "features 0 to 19"),
        (Intervention.ablate("1/9/3"), "outside the prompt"),
    ):
        with pytest.raises(InputError, match=says):
            steer(model, PROMPT, coder, change)
    with pytest.raises(InputError, match="leave attention live"):
        steer(model, PROMPT, coder, Intervention.ablate("1/-1/3"), frozen_attention=True)
    modules = list(model.host.model.modules())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in modules)
