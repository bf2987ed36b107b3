from collections.abc import Callable

import pytest
import torch
from tiny_hosts import GEMMAS, LAYER_NORMS
from torch import nn
from transformers import BertConfig, BertModel, PretrainedConfig

from replacement_model.errors import UnsupportedModelError
from replacement_model.host import Norm, adapt
from replacement_model.host.config import DECODER_CONFIG, check_config

Make = Callable[..., nn.Module]


def weighted(weight: list[float], bias: list[float] | None = None) -> nn.Module:
    module = nn.Module()
    module.weight = nn.Parameter(torch.tensor(weight))
    module.bias = None if bias is None else nn.Parameter(torch.tensor(bias))
    return module


X = torch.tensor([[3.0, 5.0]])


def test_rms_norm_by_hand() -> None:
    norm = Norm(weighted([2.0, 1.0]), eps=8.0)  # mean square 17, plus 8: the root is 5
    torch.testing.assert_close(norm.scale(X), torch.tensor([[0.2]]))
    torch.testing.assert_close(norm(X), torch.tensor([[6 / 5, 1.0]]))


def test_layer_norm_by_hand() -> None:
    norm = Norm(weighted([2.0, 1.0], [10.0, 20.0]), eps=3.0, centres=True)  # centred -1, 1: mean square 1, plus 3: 2
    torch.testing.assert_close(norm(X), torch.tensor([[9.0, 20.5]]))
    torch.testing.assert_close(norm.linear(X, norm.scale(X)), torch.tensor([[-1.0, 0.5]]))


def test_a_gain_offset_by_hand() -> None:
    norm = Norm(weighted([1.0, 0.0]), eps=8.0, gain_offset=1.0)
    torch.testing.assert_close(norm(X), torch.tensor([[6 / 5, 1.0]]))


def test_the_frozen_norm_is_linear(make_model: Make, architecture: str) -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 5, 24, dtype=torch.float64, generator=generator)
    for norm in adapt(make_model(architecture, torch.float64)).norms():
        scale = norm.scale(x)
        total = norm.linear(x + y, scale)
        torch.testing.assert_close(total, norm.linear(x, scale) + norm.linear(y, scale), rtol=0, atol=1e-12)
        torch.testing.assert_close(norm.affine(x, scale), norm(x), rtol=0, atol=0)


def test_every_norm_is_the_hosts_own(make_model: Make, architecture: str) -> None:
    x = torch.randn(5, 24, generator=torch.Generator().manual_seed(0))
    norms = adapt(make_model(architecture)).norms()
    assert len(norms) == (17 if architecture in GEMMAS else 9)
    for norm in norms:
        torch.testing.assert_close(norm(x), norm.module(x), rtol=1e-5, atol=1e-6)


def test_sizes(make_model: Make, architecture: str) -> None:
    host = adapt(make_model(architecture, torch.float64))
    block = host.blocks[0]
    assert (host.n_layers, host.d_model, host.d_vocab, host.dtype) == (4, 24, 40, torch.float64)
    assert (block.n_heads, block.n_kv_heads, block.d_head) == ((4, 4, 6) if architecture in LAYER_NORMS else (4, 2, 8))
    assert (host.W_pos is not None) == (architecture == "gpt2")
    assert host.logit_softcap == (6.0 if architecture in ("gemma2", "gemma3") else None)
    assert host.how == "adapter"


def test_the_pieces_hold_no_gradients(make_model: Make, architecture: str) -> None:
    host = adapt(make_model(architecture))
    for tensor in (host.W_E, host.W_U, *(block.W_V for block in host.blocks), *(block.W_O for block in host.blocks)):
        assert not tensor.requires_grad


def test_another_architecture_is_refused() -> None:
    config = BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, vocab_size=9)
    with pytest.raises(UnsupportedModelError, match="no host adapter for BertModel; there are adapters for GPT2LM"):
        adapt(BertModel(config))


def test_a_layout_that_moved_is_refused(make_model: Make, architecture: str) -> None:
    model = make_model(architecture)
    layer = adapt(model).blocks[1].module
    name = "block_sparse_moe" if hasattr(layer, "block_sparse_moe") else "mlp"
    layer.core = getattr(layer, name)
    delattr(layer, name)
    with pytest.raises(UnsupportedModelError, match="not laid out as its adapter expects"):
        adapt(model)


def test_an_unknown_config_attribute_is_refused(make_model: Make, architecture: str) -> None:
    model = make_model(architecture)
    model.config.residual_multiplier = 0.5
    with pytest.raises(
        UnsupportedModelError, match=r"does not know the config attribute\(s\) residual_multiplier = 0.5"
    ):
        adapt(model)


def test_bidirectional_attention_is_refused(make_model: Make) -> None:
    model = make_model("gemma3")
    model.config.use_bidirectional_attention = True
    with pytest.raises(UnsupportedModelError, match="use_bidirectional_attention = True is not supported"):
        adapt(model)


def test_cross_attention_is_refused(make_model: Make) -> None:
    with pytest.raises(UnsupportedModelError, match="add_cross_attention = True"):
        adapt(make_model("gpt2", add_cross_attention=True))


def test_known_attributes_pass() -> None:
    check_config(PretrainedConfig(sliding_window=3), DECODER_CONFIG)
    with pytest.raises(UnsupportedModelError, match="sliding_window"):
        check_config(PretrainedConfig(sliding_window=3), ())


def test_a_half_precision_gemma_scales_as_the_model_does(make_model: Make) -> None:
    host = adapt(make_model("gemma3", torch.bfloat16))
    assert host.embed_scale == 4.90625  # sqrt(24) in bfloat16
    assert adapt(make_model("gemma3", torch.float64)).embed_scale == float(torch.tensor(24**0.5))


# What config.json of published checkpoints holds beyond the attributes that its class declares.
PUBLISHED = {
    "gemma3": {"cache_implementation": "hybrid", "sliding_window_pattern": 6},
    "gpt_neox": {"attention_probs_dropout_prob": 0, "hidden_dropout_prob": 0, "rotary_emb_base": 10000},
    "gpt_oss": {"experts_per_token": 4, "initial_context_length": 4096, "swiglu_limit": 7.0},
    "llama": {"mlp_bias": False, "pretraining_tp": 1, "unsloth_version": "2024.9"},
    "phi3": {"full_attn_mod": 1, "interpolate_factor": 1, "lm_head_bias": False, "mlp_bias": False, "auto_map": {}},
    "qwen2": {"use_mrope": False, "use_sliding_window": False, "max_window_layers": 21},
    "qwen3_moe": {"decoder_sparse_step": 1, "use_sliding_window": False, "max_window_layers": 48},
}


@pytest.mark.parametrize("architecture", PUBLISHED)
def test_attributes_of_published_configs_are_known(make_model: Make, architecture: str) -> None:
    model = make_model(architecture)
    for name, value in PUBLISHED[architecture].items():
        setattr(model.config, name, value)
    assert adapt(model).n_layers == 4
