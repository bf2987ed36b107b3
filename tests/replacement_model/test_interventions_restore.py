"""The host is as it was after every intervention, and after an error in the middle of one."""

import hashlib

import pytest
import torch
from tiny_hosts import NO_SDPA
from tiny_models import PROMPT, tiny_model

from replacement_model import ReplacementModel
from replacement_model.interventions import Conditions, Intervention, intervene
from replacement_model.transcoder import Transcoder

EDIT = Intervention.set("1/-1/3", 2.5)
CONDITIONS = (Conditions("free"), Conditions("direct", layers=(1,)), Conditions("iterative"), Conditions("direct"))


def state(model: ReplacementModel) -> tuple:
    host = model.host.model
    digest = hashlib.sha256()
    for _, tensor in sorted(host.state_dict().items()):
        digest.update(tensor.contiguous().view(torch.uint8).numpy().tobytes())
    modules = list(host.modules())
    return (
        digest.hexdigest(),
        sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in modules),
        [module.training for module in modules],
        [parameter.requires_grad for parameter in host.parameters()],
        host.config._attn_implementation,
        ["forward" in vars(module) for module in modules],
        torch.is_grad_enabled(),
    )


@pytest.mark.parametrize(
    ("architecture", "conditions"),
    [*(("gemma3", one) for one in CONDITIONS), ("gpt2", CONDITIONS[2]), ("gpt_oss", CONDITIONS[1])],
    ids=lambda one: getattr(one, "text", one),
)
def test_the_host_is_as_before(architecture: str, conditions: Conditions) -> None:
    model = tiny_model(architecture)
    model.host.model.train()
    attention = "eager" if architecture in NO_SDPA else "sdpa"
    model.host.model.set_attn_implementation(attention)
    before = state(model)
    assert before[1] == 0
    intervene(model, PROMPT, EDIT, conditions, generate=2)
    assert state(model) == before


@pytest.mark.parametrize("conditions", CONDITIONS, ids=lambda one: one.text)
def test_the_host_is_as_before_after_an_error(monkeypatch: pytest.MonkeyPatch, conditions: Conditions) -> None:
    model = tiny_model("gemma3")
    before = state(model)

    def fail(*arguments: object) -> None:
        raise RuntimeError("no memory left")

    monkeypatch.setattr(Transcoder, "written", fail)
    with pytest.raises(RuntimeError, match="no memory left"):
        intervene(model, PROMPT, EDIT, conditions, generate=2)
    assert state(model) == before


def test_hooks_of_the_user_stay() -> None:
    model = tiny_model("llama")
    calls = []
    model.host.blocks[1].mlp.register_forward_hook(lambda *_: calls.append(1))
    before = state(model)
    intervene(model, PROMPT, EDIT)
    assert state(model) == before
    assert before[1] == 1
    assert calls
