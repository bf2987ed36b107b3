import pytest
import torch

from replacement_model.activation import ACTIVATION_KINDS, Activation
from replacement_model.errors import WeightsError

PRE_ACTS = torch.tensor([[-2.0, 0.5, 3.0, 1.0], [4.0, 5.0, -1.0, 6.0]])


def test_relu_by_hand() -> None:
    assert Activation("relu")(PRE_ACTS).tolist() == [[0, 0.5, 3, 1], [4, 5, 0, 6]]


def test_jumprelu_keeps_the_value_and_its_gate_is_strict() -> None:
    activation = Activation("jumprelu", threshold=torch.tensor([4.0, 0.4, 0.0, 1.0]))
    assert activation(PRE_ACTS).tolist() == [[0, 0.5, 3, 0], [0, 5, 0, 6]]


def test_a_negative_threshold_lets_negative_values_through() -> None:
    activation = Activation("jumprelu", threshold=torch.full((4,), -1.5))
    assert activation(PRE_ACTS).tolist() == [[0, 0.5, 3, 1], [4, 5, -1, 6]]


def test_topk_counts_at_each_position() -> None:
    assert Activation("topk", k=2)(PRE_ACTS).tolist() == [[0, 0, 3, 1], [0, 5, 0, 6]]


def test_batchtopk_counts_over_all_positions() -> None:
    assert Activation("batchtopk", k=2)(PRE_ACTS).tolist() == [[0, 0, 3, 0], [4, 5, 0, 6]]


def test_groupmax_keeps_one_of_each_group() -> None:
    assert Activation("groupmax", k=2)(PRE_ACTS).tolist() == [[0, 0.5, 3, 0], [0, 5, 0, 6]]
    assert Activation("groupmax", k=1)(PRE_ACTS).tolist() == [[0, 0, 3, 0], [0, 0, 0, 6]]
    assert Activation("groupmax", k=4)(PRE_ACTS).tolist() == PRE_ACTS.relu().tolist()


def test_groups_of_unequal_size_are_refused() -> None:
    with pytest.raises(WeightsError, match="as many features in each of its 3 groups, not 4 in all"):
        Activation("groupmax", k=3)(PRE_ACTS)


@pytest.mark.parametrize("kind", ["topk", "batchtopk"])
def test_k_beyond_the_width_is_relu(kind: str) -> None:
    assert torch.equal(Activation(kind, k=9)(PRE_ACTS), PRE_ACTS.relu())


@pytest.mark.parametrize("kind", ["topk", "batchtopk", "groupmax"])
def test_topk_never_keeps_a_negative_value(kind: str) -> None:
    assert Activation(kind, k=2)(-PRE_ACTS.abs()).count_nonzero() == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "gelu"}, "one of relu, jumprelu, topk, batchtopk, groupmax, not 'gelu'"),
        ({"kind": "jumprelu"}, "threshold belongs to jumprelu"),
        ({"kind": "relu", "threshold": torch.ones(4)}, "threshold belongs to jumprelu alone"),
        ({"kind": "topk"}, "k belongs to topk"),
        ({"kind": "relu", "k": 2}, "k belongs to topk"),
        ({"kind": "topk", "k": 0}, "at least 1, got 0"),
    ],
)
def test_refused(arguments: dict, message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        Activation(**arguments)


def test_to_moves_the_threshold_into_a_copy() -> None:
    before = Activation("jumprelu", threshold=torch.ones(4))
    after = before.to(None, torch.float64)
    assert (before.threshold.dtype, after.threshold.dtype) == (torch.float32, torch.float64)


@pytest.mark.parametrize("kind", ACTIVATION_KINDS)
def test_it_does_not_change_its_argument(kind: str) -> None:
    needs = {"jumprelu": {"threshold": torch.ones(4)}, "topk": {"k": 1}, "batchtopk": {"k": 1}, "groupmax": {"k": 2}}
    given = PRE_ACTS.clone()
    Activation(kind, **needs.get(kind, {}))(given)
    assert torch.equal(given, PRE_ACTS)
