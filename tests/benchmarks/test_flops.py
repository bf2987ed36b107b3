import numpy as np
import pytest

from benchmarks.flops import Sites, cone_flops
from benchmarks.shapes import ModelShape

# One head of the model's width, one key-value head: W_O and W_V both have d_model^2 = 16 entries.
SHAPE = ModelShape(
    n_layers=2,
    d_model=4,
    n_heads=1,
    n_kv_heads=1,
    d_mlp=4,
    d_vocab=8,
    n_pos=2,
    d_transcoder=4,
    n_active=1,
    max_feature_nodes=1,
)
NOTHING_ACTIVE = Sites(np.array([], dtype=int), np.array([], dtype=int))


def flops_of(layer: int, pos: int, active: Sites = NOTHING_ACTIVE, cross_layer: bool = True) -> float:
    return cone_flops(SHAPE, Sites(np.array([layer]), np.array([pos])), active, cross_layer)


@pytest.mark.parametrize(
    ("layer", "pos", "multiply_adds"),
    [
        # W_O + pattern + W_V of attention 0 at one position, then the token
        (0, 0, 16 + 4 + 16 + 4),
        # the same reading from position 1: its own W_O, two entries of the pattern, two positions of W_V, two tokens
        (0, 1, 16 + 2 * 4 + 2 * 16 + 2 * 4),
        # attention 1 as above; error of (layer 0, position 1); attention 0 at both positions; tokens
        (1, 1, (16 + 2 * 4 + 2 * 16) + 4 + (2 * 16 + 3 * 4 + 2 * 16) + 2 * 4),
        # a logit adds the error of (layer 1, position 1) to that
        (2, 1, 4 + (16 + 2 * 4 + 2 * 16) + 4 + (2 * 16 + 3 * 4 + 2 * 16) + 2 * 4),
    ],
)
def test_counts_by_hand(layer: int, pos: int, multiply_adds: int) -> None:
    assert flops_of(layer, pos) == 2 * multiply_adds


def test_cross_layer_features_are_contracted_at_every_layer_they_write_to() -> None:
    active = Sites(np.array([0]), np.array([1]))
    assert flops_of(2, 1, active, cross_layer=False) - flops_of(2, 1) == 2 * SHAPE.d_model
    assert flops_of(2, 1, active, cross_layer=True) - flops_of(2, 1) == 2 * 2 * SHAPE.d_model


def test_what_a_target_cannot_see_costs_nothing() -> None:
    later, above = Sites(np.array([0]), np.array([1])), Sites(np.array([1]), np.array([0]))
    assert flops_of(1, 0, later) == flops_of(1, 0)
    assert flops_of(1, 0, above) == flops_of(1, 0)
