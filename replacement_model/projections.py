"""Which of an attention's projections gives the values, and which rows of it: those that rebuild its output."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from replacement_model.capture import working_dtype
from replacement_model.probe import Call, Probe, same
from replacement_model.verification import TOLERANCES

__all__ = ["Projections", "close", "find_projections"]


@dataclass(frozen=True, slots=True, eq=False)
class Projections:
    """W_V, W_O and their biases, under the names of `Block`."""

    W_V: Float[Tensor, "d_kv d_model"]
    b_V: Float[Tensor, "d_kv"] | None
    W_O: Float[Tensor, "d_model d_heads"]
    b_O: Float[Tensor, "d_model"] | None
    n_heads: int
    n_kv_heads: int

    def attend(
        self, x: Float[Tensor, "pos d_model"], pattern: Float[Tensor, "n_heads pos pos"]
    ) -> Float[Tensor, "pos d_model"]:
        """The attention's output."""
        values = _apply(x, self.W_V, self.b_V).unflatten(-1, (self.n_kv_heads, -1))
        values = values.repeat_interleave(self.n_heads // self.n_kv_heads, dim=1)
        mixed = torch.einsum("hij,jhd->ihd", pattern.to(values.dtype), values).flatten(1)
        return _apply(mixed, self.W_O, self.b_O)


def find_projections(found: Probe, attn: Call) -> Projections | None:
    """Those of one attention, None if no projection's values rebuild its output."""
    if attn.pattern is None or attn.given is None or attn.result is None:
        return None
    n_heads, dtype = attn.pattern.shape[1], working_dtype(attn.result.dtype)
    linears = [(call, linear) for call in found.inside(attn.module) if (linear := _linear(call)) is not None]
    outputs = [linear for call, linear in linears if same(call.result, attn.result)]
    for W_O, b_O in outputs[-1:]:
        d_head = W_O.shape[1] // n_heads
        for call, (weight, bias) in linears:
            for rows in _value_rows(len(weight), n_heads, d_head) if same(call.given, attn.given) else ():
                b_V = None if bias is None else bias[rows]
                tried = Projections(weight[rows], b_V, W_O, b_O, n_heads, len(rows) // d_head)
                if close(attn.result[0], tried.attend(attn.given[0].to(dtype), attn.pattern[0])):
                    return tried
    return None


def close(host_value: Tensor, rebuilt: Tensor) -> bool:
    """Equal up to rounding; norms and patterns of transformers are computed in float32 at best."""
    tolerance = max(TOLERANCES[host_value.dtype], TOLERANCES[torch.float32])
    worst = float((host_value - rebuilt).abs().max())
    return worst <= tolerance * float(host_value.abs().max())


def _linear(call: Call) -> tuple[Tensor, Tensor | None] | None:
    """Weight (out, in) and bias of a module that computes x @ weight.T + bias, whatever orientation it stores."""
    weight, bias = getattr(call.module, "weight", None), getattr(call.module, "bias", None)
    if not isinstance(weight, Tensor) or weight.ndim != 2 or call.given is None or call.result is None:
        return None
    x, bias = call.given.to(working_dtype(call.given.dtype)), None if bias is None else bias.detach()
    for matrix in (weight.detach(), weight.detach().T):
        fits = matrix.shape == (call.result.shape[-1], x.shape[-1])
        if fits and close(call.result, _apply(x, matrix, bias)):
            return matrix, bias
    return None


def _apply(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    out = x @ weight.to(x.dtype).T
    return out if bias is None else out + bias.to(x.dtype)


def _value_rows(n_rows: int, n_heads: int, d_head: int) -> Iterator[Int[Tensor, "d_kv"]]:
    """Which rows of a projection may be the values: all, or a part of a fused one in any of the usual orders."""
    index, heads = torch.arange(n_rows), n_rows // d_head
    if heads * d_head == n_rows and heads and n_heads % heads == 0:
        yield index
    for n_queries in (0, n_heads):  # keys and values in one projection, or queries too
        n_kv_heads = (heads - n_queries) // 2
        if n_kv_heads < 1 or n_heads % n_kv_heads or (n_queries + 2 * n_kv_heads) * d_head != n_rows:
            continue
        yield index[-n_kv_heads * d_head :]  # one kind after the other
        yield index.view(n_kv_heads, -1, d_head)[:, -1].flatten()  # group after group
