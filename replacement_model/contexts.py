"""Temporary changes to a host model; each undoes exactly what it did, also after an error."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from replacement_model.host import Host, Norm

__all__ = ["as_captured", "asking_for_pattern", "eager_attention", "eager_experts", "evaluation_mode", "native_norms"]


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """No dropout and no gradients inside the block."""
    training = {name for name, module in model.named_modules() if module.training}
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for name, module in model.named_modules():
            module.training = name in training


@contextmanager
def eager_attention(model: nn.Module) -> Iterator[None]:
    """Attention that returns its pattern."""
    with _set_in_configs(model, "_attn_implementation"):
        yield


@contextmanager
def eager_experts(model: nn.Module) -> Iterator[None]:
    """Experts in plain products: the grouped ones of transformers 5 know no float64."""
    with _set_in_configs(model, "_experts_implementation"):
        yield


@contextmanager
def _set_in_configs(model: nn.Module, name: str) -> Iterator[None]:
    configs = {id(module.config): module.config for module in model.modules() if hasattr(module, "config")}
    before = [(config, getattr(config, name)) for config in configs.values() if hasattr(config, name)]
    try:
        for config, _ in before:
            setattr(config, name, "eager")
        yield
    finally:
        for config, implementation in before:  # a config sets those inside it too, so from the outside in
            setattr(config, name, implementation)


def asking_for_pattern(_module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
    """A forward pre-hook for attention modules that give their pattern only when told to (transformers 4.57)."""
    return args, {name: True if name == "output_attentions" else value for name, value in kwargs.items()}


@contextmanager
def native_norms(host: Host) -> Iterator[None]:
    """The residual stream's norms computed in the model's own dtype (transformers' RMSNorms round to float32)."""
    modules = [norm.module for norm in host.norms()]
    before = [module.__dict__.get("forward") for module in modules]
    for norm, module in zip(host.norms(), modules, strict=True):
        module.forward = _as_forward(norm)
    try:
        yield
    finally:
        for module, forward in zip(modules, before, strict=True):
            if forward is None:
                del module.forward
            else:
                module.forward = forward


@contextmanager
def as_captured(host: Host) -> Iterator[None]:
    """Everything that a capture runs under, entered again to repeat a part of it."""
    with ExitStack() as stack:
        stack.enter_context(evaluation_mode(host.model))
        stack.enter_context(eager_attention(host.model))
        if host.dtype == torch.float64:
            stack.enter_context(eager_experts(host.model))
            stack.enter_context(native_norms(host))
        yield


def _as_forward(norm: Norm) -> Callable[[Tensor], Tensor]:
    def forward(x: Tensor) -> Tensor:
        return norm(x)

    return forward
