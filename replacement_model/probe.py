"""What every module of a model reads and gives on a few tokens: the evidence for a search by structure."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from replacement_model.contexts import asking_for_pattern, eager_attention, eager_experts, evaluation_mode

__all__ = ["Call", "Probe", "probe", "same"]

N_PROBED = 6


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """One call of one module.

    Attributes:
        name: its path in the model.
        given: the first tensor that it was called with, None if there is none.
        result: its output, or the first of several.
        pattern: the second output, if it is shaped like attention weights of all heads.
    """

    name: str
    module: nn.Module
    given: Tensor | None
    result: Tensor | None
    pattern: Float[Tensor, "1 n_heads pos pos"] | None


@dataclass(frozen=True, slots=True, eq=False)
class Probe:
    """One forward pass, its calls in the order of their ends."""

    token_ids: Int[Tensor, "pos"]
    calls: tuple[Call, ...]

    def of(self, module: nn.Module) -> list[Call]:
        """The calls of one module."""
        return [call for call in self.calls if call.module is module]

    def inside(self, module: nn.Module, without: tuple[nn.Module, ...] = ()) -> list[Call]:
        """The calls of modules inside `module`, itself left out, and of none inside `without`."""
        left_out = {id(inner) for outer in without for inner in outer.modules()} | {id(module)}
        members = {id(inner) for inner in module.modules()} - left_out
        return [call for call in self.calls if id(call.module) in members]


def probe(model: nn.Module, d_vocab: int, device: torch.device) -> Probe:
    """Run `model` on a few tokens, as a capture would, and keep what every module reads and gives."""
    token_ids = (torch.arange(N_PROBED, device=device) * 7919 + 3) % d_vocab
    calls: list[Call] = []

    def watch(name: str) -> Any:
        def save(module: nn.Module, args: tuple, kwargs: dict, output: Any) -> None:
            outputs = output if isinstance(output, tuple) else (output,)
            pattern = _copy(outputs[1:2])
            if pattern is not None and (pattern.ndim != 4 or pattern.shape[2] != pattern.shape[3]):
                pattern = None
            calls.append(Call(name, module, _copy((*args, *kwargs.values())), _copy(outputs[:1]), pattern))

        return save

    handles = []
    for name, module in model.named_modules():
        if name:
            handles.append(module.register_forward_pre_hook(asking_for_pattern, with_kwargs=True))
            handles.append(module.register_forward_hook(watch(name), with_kwargs=True))
    try:
        with evaluation_mode(model), eager_attention(model), eager_experts(model):
            model(token_ids[None], use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return Probe(token_ids, tuple(calls))


def _copy(values: tuple) -> Tensor | None:
    """The first tensor among them, safe from what the model writes into it later."""
    return next((value.detach().clone() for value in values if isinstance(value, Tensor)), None)


def same(first: Tensor | None, second: Tensor | None) -> bool:
    """Whether two tensors are equal in every value."""
    return first is not None and second is not None and first.shape == second.shape and torch.equal(first, second)
