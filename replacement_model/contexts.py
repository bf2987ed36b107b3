"""Temporary changes to a host model; each undoes exactly what it did, also after an error."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from replacement_model.host import Host, Norm

__all__ = ["eager_attention", "evaluation_mode", "native_norms"]


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
    before = model.config._attn_implementation
    if before == "eager":
        yield
        return
    model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.set_attn_implementation(before)


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


def _as_forward(norm: Norm) -> Callable[[Tensor], Tensor]:
    def forward(x: Tensor) -> Tensor:
        return norm(x)

    return forward
