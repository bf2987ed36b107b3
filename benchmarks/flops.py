"""The work that an attribution cannot avoid: multiply-adds in the causal cone of each target, two operations each.

A target at (layer, pos) has no gradient after `pos` nor above its layer. On the way down it meets, in every layer, the
attention's adjoint (W_O, the pattern, W_V; heads of a group summed before W_V) and one decoder row for each active
feature that writes there. In the first attention it meets, only its own position holds a gradient.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from benchmarks.shapes import ModelShape

__all__ = ["Sites", "cone_flops"]


@dataclass(frozen=True, slots=True)
class Sites:
    """(layer, pos) of some features or targets; a logit has layer `n_layers`."""

    layer: Int[np.ndarray, "n"]
    pos: Int[np.ndarray, "n"]


def cone_flops(shape: ModelShape, targets: Sites, active: Sites, cross_layer: bool) -> float:
    """Floating-point operations of one exact sweep from `targets` to all `active` features, errors and tokens."""
    rows = _write_rows(shape, active, cross_layer)
    per_target = np.zeros((shape.n_layers + 1, shape.n_pos))
    for layer in range(shape.n_layers + 1):
        for pos in range(shape.n_pos):
            per_target[layer, pos] = 2 * _multiply_adds(shape, layer, pos, rows)
    return float(per_target[targets.layer, targets.pos].sum())


def _write_rows(shape: ModelShape, active: Sites, cross_layer: bool) -> Float[np.ndarray, "n_layers pos"]:
    """Vectors to contract with the gradient at each MLP output: decoder rows, and the error where it is a node."""
    rows = np.zeros((shape.n_layers, shape.n_pos))
    np.add.at(rows, (active.layer, active.pos), 1)
    if cross_layer:
        rows = rows.cumsum(0)
    rows[:, 1:] += 1
    return rows


def _multiply_adds(shape: ModelShape, layer: int, pos: int, rows: Float[np.ndarray, "n_layers pos"]) -> float:
    n_seen = pos + 1
    heads, values = shape.n_heads * shape.d_head, shape.n_kv_heads * shape.d_head
    n_attentions = min(layer + 1, shape.n_layers)
    first = shape.d_model * heads + heads * n_seen + shape.d_model * values * n_seen
    later = (shape.d_model * heads + shape.d_model * values) * n_seen + heads * n_seen * (n_seen + 1) / 2
    total = first + (n_attentions - 1) * later
    if layer == shape.n_layers:  # a logit meets the last MLP before any attention, at its own position alone
        total += shape.d_model * rows[layer - 1, pos]
        layer -= 1
    total += shape.d_model * rows[:layer, :n_seen].sum()
    return total + shape.d_model * n_seen  # tokens
