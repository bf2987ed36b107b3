"""What a transcoder learns from: the input and output of every MLP, one row a context."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from replacement_model.errors import InputError

__all__ = ["ActivationDataset", "HookPoint", "collect_activations", "recorded"]


@dataclass(frozen=True, slots=True)
class HookPoint:
    """A tensor inside a host: the first input or the output of one of its modules.

    Attributes:
        module: dotted path, e.g. `model.layers.3.pre_feedforward_layernorm`.
        reads_input: the module's first positional input rather than its output.
    """

    module: str
    reads_input: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class ActivationDataset:
    """Activations at every layer, for the same contexts.

    Attributes:
        inputs: what encoders read.
        targets: what decoders must reconstruct.
        weights: how often to sample each context, in any unit.

    Raises:
        InputError: the shapes differ.
    """

    inputs: Float[Tensor, "n_layers context d_model"]
    targets: Float[Tensor, "n_layers context d_model"]
    weights: Float[Tensor, "context"]

    def __post_init__(self) -> None:
        if self.inputs.shape != self.targets.shape or self.inputs.shape[1:2] != self.weights.shape:
            shapes = f"{tuple(self.inputs.shape)}, {tuple(self.targets.shape)}, {tuple(self.weights.shape)}"
            raise InputError(f"expected inputs and targets of one shape and a weight a context, got {shapes}")

    @property
    def n_layers(self) -> int:
        return self.inputs.shape[0]

    @property
    def n_contexts(self) -> int:
        return self.inputs.shape[1]

    @property
    def d_model(self) -> int:
        return self.inputs.shape[2]


@contextmanager
def recorded(model: nn.Module, points: Sequence[HookPoint]) -> Iterator[dict[HookPoint, Tensor]]:
    """Within the block, every forward pass leaves the tensors at `points` in the yielded mapping.

    Raises:
        InputError: `model` has no such module.
    """
    modules = dict(model.named_modules())
    missing = [point.module for point in points if point.module not in modules]
    if missing:
        raise InputError(f"expected a module {missing[0]!r} in {type(model).__name__}; take names from named_modules()")
    seen: dict[HookPoint, Tensor] = {}
    handles = [modules[point.module].register_forward_hook(_recorder(point, seen)) for point in points]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def collect_activations(
    model: nn.Module,
    token_ids: Int[Tensor, "prompt pos"],
    keep: Bool[Tensor, "prompt pos"],
    points: Sequence[HookPoint],
    batch_size: int = 512,
) -> Float[Tensor, "point context d_model"]:
    """The tensors at `points` for every context that `keep` marks, in order of prompt, then position.

    Args:
        model: a causal language model that takes `input_ids`.
        token_ids: prompts padded on the right (the causal mask hides the padding).
        keep: which (prompt, position) are wanted.
        points: where to read; all of one width.
        batch_size: prompts per forward pass.
    """
    columns: list[Tensor] = []
    with recorded(model, points) as seen:
        for start in range(0, len(token_ids), batch_size):
            rows = slice(start, start + batch_size)
            model(input_ids=token_ids[rows], use_cache=False)
            columns.append(torch.stack([seen[point][keep[rows]] for point in points]))
    return torch.cat(columns, dim=1)


def _recorder(point: HookPoint, seen: dict[HookPoint, Tensor]) -> Any:
    def record(_module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        value = args[0] if point.reads_input else output
        seen[point] = (value[0] if isinstance(value, tuple) else value).detach()

    return record
