from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from tiny_hosts import ALL_LOCAL, NO_SDPA, POST_NORMS, SOME_LOCAL, WIDE
from torch import nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import eager_mask

from replacement_model.capture import capture, working_dtype
from replacement_model.errors import CaptureError
from replacement_model.host import Block, Host, NoNorm, adapt
from replacement_model.transcoder import DecoderSite

Make = Callable[..., nn.Module]
POSITIONS = (2, 7)


def change_block(host: Host, layer: int, change: Callable[[Block], dict]) -> Host:
    blocks = list(host.blocks)
    blocks[layer] = replace(blocks[layer], **change(blocks[layer]))
    return replace(host, blocks=tuple(blocks))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_it_gives_what_the_host_computes(
    make_model: Make, architecture: str, dtype: torch.dtype, token_ids: torch.Tensor
) -> None:
    model = make_model(architecture, dtype)
    found = capture(adapt(model), token_ids, POSITIONS)
    with torch.no_grad():
        expected = model(token_ids[None], output_hidden_states=True)
    tolerance = {"rtol": 0, "atol": 1e-5}  # transformers' RMSNorms round to float32 in float64 too
    torch.testing.assert_close(found.probabilities, expected.logits[0, list(POSITIONS)].softmax(-1), **tolerance)
    cap = getattr(model.config, "final_logit_softcapping", None)
    capped = found.logits if cap is None else cap * torch.tanh(found.logits / cap)
    torch.testing.assert_close(capped, expected.logits[0, list(POSITIONS)], **tolerance)
    hidden = torch.stack(expected.hidden_states[:-1])[:, 0]
    torch.testing.assert_close(found.resid_pre, hidden, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found.embed + found.pos_embed, hidden[0], rtol=1e-5, atol=1e-5)
    assert found.logits.dtype == dtype
    assert found.n_pos == 8
    assert found.attn_rounding is None


def test_patterns_are_causal_and_local_where_they_should_be(
    make_model: Make, architecture: str, token_ids: torch.Tensor
) -> None:
    found = capture(adapt(make_model(architecture)), token_ids, (7,))
    for layer, block in enumerate(found.frozen.blocks):
        assert block.pattern.shape == (4, 8, 8)
        assert block.pattern.triu(1).count_nonzero() == 0
        mass = block.pattern.sum(-1)
        if architecture == "gpt_oss":  # its sinks take a share
            assert 0 < mass.min() < mass.max() < 1
        else:
            torch.testing.assert_close(mass, torch.ones(4, 8))
        local = architecture in ALL_LOCAL or (architecture in SOME_LOCAL and layer % 2 == 0)
        assert (block.pattern.tril(-WIDE.window).count_nonzero() == 0) == local


def test_streams_add_up(make_model: Make, architecture: str, token_ids: torch.Tensor) -> None:
    found = capture(adapt(make_model(architecture, torch.float64)), token_ids, (7,))
    for layer, block in enumerate(found.frozen.blocks):
        after_attn = found.resid_pre[layer] + block.attn_write(found.resid_pre[layer])
        after = after_attn + found.mlp_write[layer]
        torch.testing.assert_close(found.resid_post(layer), after, rtol=0, atol=1e-12)
        assert block.block.parallel == (architecture == "gpt_neox")
        read = found.resid_pre[layer] if architecture == "gpt_neox" else after_attn
        torch.testing.assert_close(found.resid_mid[layer], read, rtol=0, atol=1e-12)
    same = torch.equal(found.at_site(DecoderSite.MLP_OUT), found.at_site(DecoderSite.POST_NORM))
    assert same != (architecture in POST_NORMS)


def test_a_single_token(make_model: Make, architecture: str) -> None:
    assert capture(adapt(make_model(architecture)), torch.tensor([3]), (0,)).n_pos == 1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_hosts_give_their_rounding(
    make_model: Make, architecture: str, dtype: torch.dtype, token_ids: torch.Tensor
) -> None:
    found = capture(adapt(make_model(architecture, dtype)), token_ids, (7,))
    assert found.resid_pre.dtype == torch.float32
    for layer, block in enumerate(found.frozen.blocks):
        after_attn = found.resid_pre[layer] + block.attn_write(found.resid_pre[layer]) + found.attn_rounding[layer]
        if not block.block.parallel:
            torch.testing.assert_close(after_attn, found.resid_mid[layer], rtol=1e-5, atol=1e-5)
        after_mlp = after_attn + found.mlp_write[layer] + found.mlp_rounding[layer]
        torch.testing.assert_close(after_mlp, found.resid_post(layer), rtol=1e-5, atol=1e-5)
    # Parallel writes are added at once, so that there is one rounding.
    assert (found.attn_rounding.abs().max() > 0) == (architecture != "gpt_neox")
    assert found.attn_rounding.abs().max() < 0.1
    assert 0 < found.mlp_rounding.abs().max() < 0.1


def test_working_dtype() -> None:
    halves = (torch.bfloat16, torch.float16, torch.float32)
    assert {working_dtype(dtype) for dtype in halves} == {torch.float32}
    assert working_dtype(torch.float64) == torch.float64


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_host_is_left_as_it_was(make_model: Make, architecture: str, dtype: torch.dtype) -> None:
    attention = "eager" if architecture in NO_SDPA else "sdpa"
    model = make_model(architecture, dtype, attn_implementation=attention).train()
    model.get_output_embeddings().eval()
    modules = list(model.modules())
    before = [(module.training, set(module.__dict__), hooks(module)) for module in modules]
    norm = adapt(model).final_norm.module
    norm.forward = mine = norm.forward  # someone else's patch
    try:
        for token_ids in (torch.tensor([1, 2, 3]), torch.tensor([1, 99])):  # 99 is outside the vocabulary
            try:
                capture(adapt(model), token_ids, (1,))
            except IndexError:
                assert 99 in token_ids
    finally:
        assert norm.__dict__.pop("forward") is mine
    assert [(module.training, set(module.__dict__), hooks(module)) for module in modules] == before
    assert model.config._attn_implementation == attention


def hooks(module: nn.Module) -> tuple[int, int]:
    return len(module._forward_hooks), len(module._forward_pre_hooks)


def test_dropout_is_off(make_model: Make) -> None:
    model = make_model("gpt2", resid_pdrop=0.5, embd_pdrop=0.5, attn_pdrop=0.5).train()
    first, second = (capture(adapt(model), torch.tensor([1, 2, 3]), (2,)).logits for _ in range(2))
    assert torch.equal(first, second)


def wrong_norm(which: str, **wrong: object) -> Callable[[Block], dict]:
    """Change a norm before attention or MLP, or the one after where the architecture has none before."""

    def change(block: Block) -> dict:
        name = f"{which}_post_norm" if isinstance(getattr(block, f"{which}_norm"), NoNorm) else f"{which}_norm"
        return {name: replace(getattr(block, name), **wrong)}

    return change


WRONG_BLOCKS: dict[str, Callable[[Block], dict]] = {
    "gain offset": wrong_norm("attn", gain_offset=0.5),
    "mlp gain offset": wrong_norm("mlp", gain_offset=0.5),
    "eps": wrong_norm("attn", eps=1e-2),
    "mlp eps": wrong_norm("mlp", eps=1e-2),
    "centring": lambda block: {"attn_norm": replace(block.attn_norm, centres=not block.attn_norm.centres)},
    "mlp centring": lambda block: {"mlp_norm": replace(block.mlp_norm, centres=not block.mlp_norm.centres)},
    "parallel": lambda block: {"parallel": not block.parallel},
    "norms exchanged": lambda block: {"attn_norm": block.mlp_norm, "mlp_norm": block.attn_norm},
    "fewer groups": lambda block: {"n_kv_heads": 1},
    "no groups": lambda block: {"n_kv_heads": 0},
    "more heads": lambda block: {"n_heads": 8},
    "fewer heads": lambda block: {"n_heads": 2},
    "indivisible groups": lambda block: {"n_kv_heads": 3},
    "heads reversed": lambda block: {"W_O": block.W_O.flip(1)},
    "another module's pattern": lambda block: {"attn": block.mlp},
    "a module that is not called": lambda block: {"mlp_norm": replace(block.mlp_norm, module=nn.LayerNorm(24))},
}


@pytest.mark.usefixtures("without_shape_checks")
@pytest.mark.parametrize("wrong", WRONG_BLOCKS)
def test_a_wrong_piece_is_refused_and_its_layer_named(make_model: Make, architecture: str, wrong: str) -> None:
    host = change_block(adapt(make_model(architecture)), 2, WRONG_BLOCKS[wrong])
    with pytest.raises(CaptureError, match=r"^layer 2"):
        capture(host, torch.tensor([1, 7, 3, 22]), (3,))


@pytest.mark.parametrize("group", [1, 4])
@pytest.mark.usefixtures("without_shape_checks")
def test_wrong_head_groups_of_the_right_size_are_refused(make_model: Make, group: int) -> None:
    host = change_block(adapt(make_model("llama")), 1, lambda block: {"n_kv_heads": group})
    with pytest.raises(CaptureError, match=r"^layer 1"):
        capture(host, torch.tensor([1, 7, 3, 22]), (3,))


@pytest.mark.parametrize(
    ("architecture", "absent"),
    [
        ("gemma2", "attn_post_norm"),
        ("gemma2", "mlp_post_norm"),
        ("gemma3", "attn_post_norm"),
        ("gemma3", "mlp_post_norm"),
        ("llama", "b_V"),
        ("llama", "b_O"),
        ("qwen3", "b_V"),
        ("qwen3", "b_O"),
        ("gpt2", "b_V"),
        ("gpt2", "b_O"),
    ],
)
def test_an_absent_piece_is_refused_and_its_layer_named(make_model: Make, architecture: str, absent: str) -> None:
    host = change_block(adapt(make_model(architecture)), 3, lambda _: {absent: None})
    with pytest.raises(CaptureError, match=r"^layer 3"):
        capture(host, torch.tensor([1, 7, 3, 22]), (3,))


@pytest.mark.parametrize(
    ("architecture", "changes", "message"),
    [
        ("gemma3", {"embed_scale": 1.0}, "token embeddings"),
        ("gemma3", {"embed_scale": 24.0}, "token embeddings"),
        ("gpt2", {"W_pos": None}, "token embeddings"),
        ("gemma2", {"logit_softcap": None}, "logits"),
        ("gemma2", {"logit_softcap": 3.1}, "logits"),
        ("llama", {"logit_softcap": 3.0}, "logits"),
        ("llama", {"b_U": torch.ones(40)}, "logits"),
    ],
)
def test_wrong_ends_are_refused(make_model: Make, architecture: str, changes: dict, message: str) -> None:
    host = replace(adapt(make_model(architecture)), **changes)
    with pytest.raises(CaptureError, match=rf"^{message}: .* differs from the host's by"):
        capture(host, torch.tensor([1, 7, 3, 22]), (3,))


@pytest.mark.parametrize("wrong", [{"eps": 1e-2}, {"gain_offset": 0.1}, {"centres": True}])
def test_a_wrong_final_norm_is_refused(make_model: Make, wrong: dict) -> None:
    host = adapt(make_model("llama"))
    with pytest.raises(CaptureError, match=r"^logits"):
        capture(replace(host, final_norm=replace(host.final_norm, **wrong)), torch.tensor([1, 7, 3, 22]), (3,))


def test_a_final_norm_that_is_not_called_is_refused(make_model: Make) -> None:
    host = adapt(make_model("llama"))
    stranger = replace(host.final_norm, module=nn.RMSNorm(24))
    with pytest.raises(CaptureError, match="final norm was not called"):
        capture(replace(host, final_norm=stranger), torch.tensor([1, 7]), (1,))


def scale_stream(output: torch.Tensor | tuple) -> torch.Tensor | tuple:
    if isinstance(output, tuple):  # transformers 4.57
        return (output[0] * 1.01, *output[1:])
    return output * 1.01


def scaled(out: torch.Tensor | tuple) -> torch.Tensor | tuple:
    """A layer's output, whose type depends on the transformers release."""
    return (out[0] * 1.01, *out[1:]) if isinstance(out, tuple) else out * 1.01


def shifted(out: torch.Tensor | tuple) -> torch.Tensor | tuple:
    return (out[0] + 0.01, *out[1:]) if isinstance(out, tuple) else out + 0.01


ALTERED_HOSTS: dict[str, tuple[str, Callable[[Block], nn.Module], Callable]] = {
    "attention scaled": ("attn_out", lambda block: block.attn, lambda _, args, out: (out[0] * 1.01, *out[1:])),
    "added by hand": ("resid_post", lambda block: block.module, lambda _, args, out: shifted(out)),
    "attention biased": ("attn_out", lambda block: block.attn, lambda _, args, out: (out[0] + 0.01, *out[1:])),
    "norm scaled": ("attn_out", lambda block: block.attn_norm.module, lambda _, args, out: out * 1.01),
    "mlp norm scaled": ("mlp_in", lambda block: block.mlp_norm.module, lambda _, args, out: out * 1.01),
    "residual multiplied": ("resid_post", lambda block: block.module, lambda _, args, out: scale_stream(out)),
}


@pytest.mark.parametrize("altered", ALTERED_HOSTS)
def test_a_host_that_does_something_more_is_refused_where_it_does_it(
    make_model: Make, architecture: str, altered: str
) -> None:
    if architecture not in POST_NORMS and "post-norm" in altered:
        return  # there is none
    if architecture == "olmo2" and altered in ("norm scaled", "mlp norm scaled"):
        return
    host = adapt(make_model(architecture))
    stream, where, what = ALTERED_HOSTS[altered]
    where(host.blocks[1]).register_forward_hook(what)
    with pytest.raises(CaptureError, match=rf"^layer 1: {stream}: "):
        capture(host, torch.tensor([1, 7, 3, 22]), (3,))


def test_a_pattern_that_looks_ahead_is_refused(make_model: Make) -> None:
    host = adapt(make_model("llama"))
    host.blocks[2].attn.register_forward_hook(lambda _, args, out: (out[0], out[1].flip(-1)))
    with pytest.raises(CaptureError, match=r"^layer 2: the attention pattern looks ahead"):
        capture(host, torch.tensor([1, 7, 3, 22]), (3,))


def test_an_attention_without_its_pattern_is_refused(make_model: Make) -> None:
    host = adapt(make_model("llama"))
    host.blocks[2].attn.register_forward_hook(lambda _, args, out: (out[0], None))
    with pytest.raises(CaptureError, match=r"^layer 2: .* returns no attention pattern"):
        capture(host, torch.tensor([1, 7, 3, 22]), (3,))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(make_model: Make, architecture: str, value: float) -> None:
    model = make_model(architecture)
    host = adapt(model)
    with torch.no_grad():
        host.blocks[1].W_O[3, 4] = value
    with pytest.raises(CaptureError, match="not finite: its weights hold NaN or overflow"):
        capture(host, torch.tensor([1, 7, 3]), (2,))


def test_a_registered_attention_is_replaced_and_put_back(make_model: Make) -> None:
    def never(*args: object, **kwargs: object) -> None:
        raise AssertionError("the capture needs eager attention")

    AttentionInterface.register("someone_elses", never)
    AttentionMaskInterface.register("someone_elses", eager_mask)
    model = make_model("llama", attn_implementation="someone_elses")
    capture(adapt(model), torch.tensor([1, 7, 3]), (2,))
    assert model.config._attn_implementation == "someone_elses"
