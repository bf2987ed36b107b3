"""Quantised, offloaded and distributed hosts: the pieces are read and gathered, or the host is refused."""

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import pytest
import torch
from tiny_hosts import WIDE, tiny_host
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorDeviceMismatchError, FakeTensorMode
from torch.utils._pytree import tree_map_only

import replacement_model.capture as capture_module
import replacement_model.verification as verification_module
from replacement_model.capture import capture
from replacement_model.errors import UnsupportedModelError
from replacement_model.host import adapt
from replacement_model.structure import find_host

Make = Callable[..., nn.Module]
IDS = torch.tensor([1, 7, 3, 22])
FIRST, SECOND = "cpu:0", "cpu:1"


class Setting:
    """A quantisation config as transformers holds it on a loaded model."""

    def to_dict(self) -> dict[str, Any]:
        return {"quant_method": "mxfp4", "modules_to_not_convert": ["model.layers.*.self_attn"]}


@pytest.mark.parametrize("settings", [{"quant_method": "mxfp4"}, Setting()], ids=["dict", "object"])
def test_a_model_whose_experts_alone_are_quantised_is_traced(make_model: Make, settings: object) -> None:
    model = make_model("gpt_oss")
    expected = capture(adapt(model), IDS, (3,)).logits
    model.config.quantization_config = settings
    assert torch.equal(capture(adapt(model), IDS, (3,)).logits, expected)


@pytest.mark.usefixtures("without_shape_checks")
@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.float8_e4m3fn], ids=str)
@pytest.mark.parametrize("part", ["self_attn.v_proj", "self_attn.o_proj", "input_layernorm"])
def test_a_quantised_piece_is_refused_with_its_method(make_model: Make, part: str, dtype: torch.dtype) -> None:
    model = make_model("llama")
    model.config.quantization_config = {"quant_method": "some_method"}
    module = model.model.layers[1].get_submodule(part)
    module.weight = nn.Parameter(module.weight.detach().to(dtype), requires_grad=False)
    with pytest.raises(UnsupportedModelError, match=r"is quantised \(some_method\), so it cannot be read; use a check"):
        find_host(model)


def test_a_layer_that_hides_its_weight_is_refused_with_its_method(make_model: Make) -> None:
    model = make_model("llama")
    model.config.quantization_config = {"quant_method": "gptq"}
    attn = model.model.layers[1].self_attn
    attn.v_proj.qweight = attn.v_proj.weight
    del attn.v_proj.weight
    with pytest.raises(UnsupportedModelError, match=r"is quantised \(gptq\), and not in a way that leaves its weights"):
        find_host(model)


def test_an_offloaded_piece_is_refused(make_model: Make) -> None:
    model = make_model("llama")
    model.model.layers[2].self_attn.v_proj.to("meta")
    with pytest.raises(UnsupportedModelError, match=r"W_V of layer 2 is not in memory \(offloaded"):
        find_host(model)


def test_a_host_on_one_device_keeps_its_tensors(make_model: Make, architecture: str) -> None:
    host = adapt(make_model(architecture))
    assert host.W_E.data_ptr() == host.model.get_input_embeddings().weight.data_ptr()
    assert all(norm.device is None for norm in host.norms())


def spread(model: nn.Module, mode: FakeTensorMode) -> nn.Module:
    """All layers but the first on a second device, activations following them, as accelerate does it."""
    put(model, mode, FIRST)
    for layer in model.model.layers[1:]:
        put(layer, mode, SECOND)
        layer.register_forward_pre_hook(to_its_device(SECOND), with_kwargs=True)
    model.model.norm.register_forward_pre_hook(to_its_device(FIRST), with_kwargs=True)
    return model


def put(model: nn.Module, mode: FakeTensorMode, device: str) -> None:
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                fake = parameter if isinstance(parameter, FakeTensor) else mode.from_tensor(parameter)
                module._parameters[name] = nn.Parameter(fake.detach().to(device), requires_grad=False)
        for name, buffer in module._buffers.items():
            module._buffers[name] = (buffer if isinstance(buffer, FakeTensor) else mode.from_tensor(buffer)).to(device)


def to_its_device(device: str) -> Callable:
    def move(module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        return tree_map_only(Tensor, lambda tensor: tensor.to(device), (args, kwargs))

    return move


@pytest.mark.parametrize("keep_patterns", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("architecture", ["llama", "olmo2", "qwen3"])
def test_a_host_on_two_devices_is_captured_on_the_first(
    monkeypatch: pytest.MonkeyPatch, architecture: str, dtype: torch.dtype, keep_patterns: bool
) -> None:
    """Tensors without values, whose devices torch holds apart: any operation on two of them is an error."""
    for module in (verification_module, capture_module):
        monkeypatch.setattr(module, "compare", lambda *_: None)
    monkeypatch.setattr(verification_module, "_check_pattern", lambda *_: None)
    model = tiny_host(architecture, dtype, sizes=WIDE)
    with FakeTensorMode() as mode:
        with pytest.raises(FakeTensorDeviceMismatchError):
            torch.zeros(2, device=FIRST) + torch.zeros(2, device=SECOND)
        host = adapt(spread(model, mode))
        found = capture(host, torch.arange(5, device=FIRST), (4,), keep_patterns=keep_patterns)
        assert host.blocks[2].module.self_attn.v_proj.weight.device == torch.device(SECOND)
        held = [found.resid_pre, found.mlp_write, found.logits, *(block.pattern for block in found.frozen.blocks)]
        held += [block.W_V for block in host.blocks] + [block.W_O for block in host.blocks]
        held += [norm.gain(torch.float32) for block in host.blocks for norm in (block.attn_norm, block.mlp_norm)]
        assert {tensor.device for tensor in held} == {torch.device(FIRST)}
        assert found.frozen.blocks[3].attn_write(found.resid_pre[3]).device == torch.device(FIRST)


@pytest.mark.skipif(
    find_spec("accelerate") is None, reason="runs where accelerate is installed, as with circuit-tracer"
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_hooks_of_accelerate_change_nothing(make_model: Make, dtype: torch.dtype) -> None:
    from accelerate import dispatch_model

    expected = capture(adapt(make_model("gemma3", dtype)), IDS, (3,))
    model = dispatch_model(make_model("gemma3", dtype), {"": "cpu"}, force_hooks=True)
    assert hasattr(model.model.layers[1].self_attn, "_hf_hook")
    found = capture(adapt(model), IDS, (3,), keep_patterns=False)
    assert torch.equal(found.logits, expected.logits)
    for first, second in zip(found.frozen.blocks, expected.frozen.blocks, strict=True):
        assert torch.equal(first.pattern, second.pattern)


@pytest.mark.skipif(
    find_spec("accelerate") is None, reason="runs where accelerate is installed, as with circuit-tracer"
)
def test_what_accelerate_offloads_is_refused(make_model: Make) -> None:
    from accelerate import cpu_offload

    model = make_model("llama")
    cpu_offload(model.model.layers[2], execution_device="cpu")
    with pytest.raises(UnsupportedModelError, match=r"of layer 2 is not in memory \(offloaded"):
        find_host(model)
