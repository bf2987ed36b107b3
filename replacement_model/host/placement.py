"""Pieces that can be read, on one device: a host may be quantised in parts, offloaded, or spread over devices."""

from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor, nn

from replacement_model.errors import UnsupportedModelError
from replacement_model.host.pieces import Block, Host, NoNorm, Norm

__all__ = ["place", "quantisation"]

READABLE = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def place(host: Host) -> Host:
    """`host` with every piece on the device of its token embedding, where the captured values are put too.

    Its modules stay where they are.

    Raises:
        UnsupportedModelError: a piece is quantised, or not in memory.
    """
    pieces = list(_pieces(host))
    for name, tensor in pieces:
        if tensor.dtype not in READABLE:
            method = quantisation(host.model) or str(tensor.dtype)
            raise UnsupportedModelError(
                f"{type(host.model).__name__}: {name} is quantised ({method}), so it cannot be read; use a checkpoint "
                "whose attention, norms and embeddings are in bfloat16 or better (the MLPs may be quantised)"
            )
    away = [name for name, tensor in pieces if tensor.is_meta]
    if away and len(away) < len(pieces):
        raise UnsupportedModelError(
            f"{type(host.model).__name__}: {away[0]} is not in memory (offloaded to the host or to disk); use a "
            "device_map that keeps attention, norms and embeddings on a device"
        )
    if len({tensor.device for _, tensor in pieces}) == 1:
        return host
    return _moved(host, host.device)


def quantisation(model: nn.Module) -> str | None:
    """How the checkpoint of a model was quantised, None if it was not."""
    settings: Any = getattr(model.config, "quantization_config", None)
    if settings is None:
        return None
    settings = settings if isinstance(settings, dict) else settings.to_dict()
    method = settings.get("quant_method", "unknown method")
    return str(getattr(method, "value", method))


def _pieces(host: Host) -> Iterator[tuple[str, Tensor]]:
    """Every tensor that is read, by its name for a message."""
    yield from _tensors(host, "")
    for layer, block in enumerate(host.blocks):
        yield from _tensors(block, f" of layer {layer}")
    for norm in host.norms():
        weight: Any = norm.module.weight
        yield f"the weight of {type(norm.module).__name__}", weight


def _tensors(owner: Host | Block, where: str) -> Iterator[tuple[str, Tensor]]:
    for field in fields(owner):
        if isinstance(value := getattr(owner, field.name), Tensor):
            yield field.name + where, value


def _moved(host: Host, device: torch.device) -> Host:
    blocks = tuple(replace(block, **_fields_on(block, device)) for block in host.blocks)
    return replace(host, blocks=blocks, **_fields_on(host, device))


def _fields_on(owner: Host | Block, device: torch.device) -> dict[str, Any]:
    moved: dict[str, Any] = {}
    for field in fields(owner):
        value = getattr(owner, field.name)
        if isinstance(value, Tensor):
            moved[field.name] = value.to(device)
        if isinstance(value, (Norm, NoNorm)):
            moved[field.name] = replace(value, device=device)
    return moved
