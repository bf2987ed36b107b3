from collections.abc import Sequence

import numpy as np
import pytest
import torch
from tiny_models import D_TRANSCODER, N_LAYERS, PROMPT, tiny_model

from circuits import DifferenceTarget, DirectionTarget, FeatureTarget, Graph, SalientLogits, TokenTarget, attribute
from circuits.targets import TargetSpec
from replacement_model import InputError, ReplacementModel

N_POS, D_MODEL = len(PROMPT), 16


@pytest.fixture(scope="module")
def model() -> ReplacementModel:
    return tiny_model("gemma2")


@pytest.fixture(scope="module")
def host_logits(model: ReplacementModel) -> np.ndarray:
    """The Hugging Face model's own output, after the softcap. [pos, d_vocab]."""
    with torch.no_grad():
        return model.host.model(torch.tensor([PROMPT])).logits[0].numpy()


def target_rows(graph: Graph) -> np.ndarray:
    return graph.adjacency.toarray()[graph.layout.target_rows]


def probabilities(logits: np.ndarray) -> np.ndarray:
    raised = np.exp(logits - logits.max(-1, keepdims=True))
    return raised / raised.sum(-1, keepdims=True)


def trace(model: ReplacementModel, targets: Sequence[TargetSpec] | SalientLogits | None) -> Graph:
    return attribute(model, PROMPT, targets, max_feature_nodes=1)


def test_tokens_by_text_and_id_are_the_same_target(model: ReplacementModel, host_logits: np.ndarray) -> None:
    graph = attribute(
        model, PROMPT, ["w9", 9, TokenTarget("w9"), TokenTarget(9, pos=-1), TokenTarget(9, pos=N_POS - 1)]
    )
    rows = target_rows(graph)
    np.testing.assert_allclose(rows, rows[[0] * 5], rtol=1e-12, atol=1e-12)
    assert len({str(target) for target in graph.targets}) == 1
    target = graph.targets[0]
    assert (target.kind, target.label, target.pos, target.layer, target.token_ids) == ("logit", "w9", 6, N_LAYERS, (9,))
    assert target.weight == pytest.approx(probabilities(host_logits)[-1, 9], rel=1e-6)


def test_a_logit_is_the_hosts_before_the_softcap_less_the_mean(
    model: ReplacementModel, host_logits: np.ndarray
) -> None:
    graph = attribute(model, PROMPT, [TokenTarget(9, pos=3), TokenTarget(4)])
    softcap = model.host.logit_softcap
    raw = softcap * np.arctanh(host_logits / softcap)
    expected = [raw[3, 9] - raw[3].mean(), raw[-1, 4] - raw[-1].mean()]
    np.testing.assert_allclose(graph.books.pre_act[graph.layout.target_rows], expected, rtol=1e-5)
    assert [target.weight for target in graph.targets] == pytest.approx(
        [probabilities(host_logits)[3, 9], probabilities(host_logits)[-1, 4]], rel=1e-6
    )


def test_a_difference_is_the_difference_of_its_tokens(model: ReplacementModel) -> None:
    targets = [DifferenceTarget("w9", 4, pos=5), TokenTarget(9, pos=5), TokenTarget(4, pos=5)]
    graph = attribute(model, PROMPT, targets)
    difference, first, second = target_rows(graph)
    np.testing.assert_allclose(difference, first - second, rtol=1e-10, atol=1e-12)
    values = graph.books.pre_act[graph.layout.target_rows]
    assert values[0] == pytest.approx(values[1] - values[2])
    target = graph.targets[0]
    assert (target.kind, target.weight, target.pos, target.token_ids) == ("difference", 1.0, 5, (9, 4))
    assert target.label == "w9 − w4"


@pytest.mark.parametrize("architecture", ["gemma3", "gpt2"])
def test_a_direction_at_the_final_norm_or_after_the_last_layer_is_the_logits_own(architecture: str) -> None:
    model = tiny_model(architecture)
    unembedding = model.host.model.lm_head.weight.detach()
    vector = unembedding[9] - unembedding.mean(0)
    captured = model.capture(model.read_prompt(PROMPT))
    x = captured.resid_final[4]
    norm = model.host.final_norm.module
    if architecture == "gpt2":
        carried = vector * norm.weight.detach() / (x.var(unbiased=False) + norm.eps).sqrt()
        carried = carried - carried.mean()
    else:
        carried = vector * (1 + norm.weight.detach()) / (x.square().mean() + norm.eps).sqrt()
    at_norm = DirectionTarget(vector, "to nine", pos=4)
    after_last = DirectionTarget(carried, "carried", pos=4, layer=N_LAYERS - 1)
    graph = attribute(model, PROMPT, [TokenTarget(9, pos=4), at_norm, after_last])
    rows = target_rows(graph)
    np.testing.assert_allclose(rows[1:], rows[[0, 0]], rtol=1e-9, atol=1e-11)
    assert [target.layer for target in graph.targets] == [N_LAYERS, N_LAYERS, N_LAYERS - 1]
    assert [target.label for target in graph.targets[1:]] == ["to nine", "carried"]
    assert [target.weight for target in graph.targets[1:]] == [1.0, 1.0]
    values = graph.books.pre_act[graph.layout.target_rows]
    assert values[0] == pytest.approx(values[1])
    assert values[2] == pytest.approx(float(x @ carried))


def test_a_direction_sees_its_own_layer_and_none_above(model: ReplacementModel) -> None:
    graph = attribute(model, PROMPT, [DirectionTarget(torch.ones(D_MODEL), "sum", layer=1)])
    row = target_rows(graph)[0]
    reached = {layer for layer, _, _ in graph.features[np.flatnonzero(row[graph.layout.feature_nodes])].tolist()}
    assert reached == {0, 1}
    errors = row[graph.layout.error_nodes].reshape(N_LAYERS, N_POS)
    assert errors[0, 1:].all()
    assert np.flatnonzero(errors[1]).tolist() == [N_POS - 1]  # no attention above it that could carry the others
    assert not errors[2].any()


def test_an_active_feature_as_target_has_its_own_row(model: ReplacementModel) -> None:
    row, (layer, pos, idx) = next(
        item for item in enumerate(attribute(model, PROMPT).features.tolist()) if item[1][0] == 1
    )
    graph = attribute(model, PROMPT, [FeatureTarget(layer, idx, pos)])
    np.testing.assert_allclose(target_rows(graph)[0], graph.adjacency.toarray()[row], rtol=1e-10, atol=1e-12)
    assert graph.books.pre_act[-1] == pytest.approx(graph.books.pre_act[row])
    target = graph.targets[0]
    assert (target.kind, target.layer, target.pos, target.feature_idx, target.weight) == ("feature", 1, pos, idx, 1.0)


def test_an_inactive_feature_and_one_at_an_ignored_position_can_be_explained(model: ReplacementModel) -> None:
    active = set(map(tuple, attribute(model, PROMPT).features.tolist()))
    idx = next(idx for idx in range(D_TRANSCODER) if (2, 4, idx) not in active)
    graph = attribute(model, PROMPT, [FeatureTarget(2, idx, 4), FeatureTarget(1, 3, 0)])
    captured = model.capture(model.read_prompt(PROMPT))
    taps = [
        captured.frozen.blocks[layer].tap(captured.resid_mid[layer], model.transcoder.encoder_tap) for layer in (2, 1)
    ]
    expected = [model.transcoder.pre_acts(2, taps[0])[4, idx], model.transcoder.pre_acts(1, taps[1])[0, 3]]
    np.testing.assert_allclose(graph.books.pre_act[-2:], torch.stack(expected), rtol=1e-12)
    assert graph.books.pre_act[-2] < 0
    assert graph.books.residual <= 1e-9


@pytest.mark.parametrize(
    ("max_n", "desired_prob"), [(10, 0.95), (3, 0.95), (10, 0.3), (40, 1.0), (100, 0.999), (1, 0.01)]
)
def test_salient_logits_are_the_fewest_that_reach_the_probability(
    model: ReplacementModel, host_logits: np.ndarray, max_n: int, desired_prob: float
) -> None:
    graph = trace(model, SalientLogits(max_n, desired_prob))
    found = probabilities(host_logits)[-1]
    order = np.argsort(-found)
    sums = found[order].cumsum()
    count = min(int((sums < desired_prob).sum()) + 1, max_n, len(found))
    chosen = [target.token_ids[0] for target in graph.targets]
    if desired_prob == 1.0:  # the last tokens of 40 are within rounding of 1
        count = len(chosen)
        assert count > 30
    assert chosen == order[:count].tolist()
    np.testing.assert_allclose(graph.target_weights, found[order[:count]], rtol=1e-6)


def test_no_targets_means_salient_logits(model: ReplacementModel) -> None:
    assert trace(model, None).targets == trace(model, SalientLogits()).targets


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("nowhere", "'nowhere' is not a single token"),
        ("w3 w4", "not a single token"),
        (40, "token id 40 is outside the vocabulary"),
        (-1, "token id -1 is outside the vocabulary"),
        (TokenTarget(3, pos=N_POS), "position 7 is outside the prompt"),
        (TokenTarget(3, pos=-N_POS - 1), "position -8 is outside the prompt"),
        (DifferenceTarget(3, "w3"), "difference .* with itself is zero"),
        (DifferenceTarget(3, 99), "token id 99 is outside"),
        (DirectionTarget(torch.zeros(D_MODEL), "none"), "'none' must be 16 finite numbers"),
        (DirectionTarget(torch.full((D_MODEL,), torch.nan), "lost"), "'lost' must be 16 finite numbers"),
        (DirectionTarget(torch.ones(D_MODEL + 1), "long"), "it has shape \\(17,\\)"),
        (DirectionTarget(torch.ones(D_MODEL), "high", layer=N_LAYERS), "layer 3 does not exist"),
        (DirectionTarget(torch.ones(D_MODEL), "low", layer=-1), "layer -1 does not exist"),
        (FeatureTarget(N_LAYERS, 0), "layer 3 does not exist"),
        (FeatureTarget(0, D_TRANSCODER), "feature 24 of layer 0 does not exist; that layer has features 0 to 23"),
        (FeatureTarget(0, 3, pos=9), "position 9 is outside"),
    ],
)
def test_a_target_that_does_not_exist_is_named(model: ReplacementModel, target: TargetSpec, message: str) -> None:
    with pytest.raises(InputError, match=message):
        trace(model, [3, target])


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ([], "no targets given"),
        ("w3", "a list of targets"),
        (SalientLogits(max_n=0), "max_n of at least 1"),
        (SalientLogits(desired_prob=0.0), "desired_prob in"),
        (SalientLogits(desired_prob=1.5), "desired_prob in"),
    ],
)
def test_targets_that_mean_nothing_are_refused(model: ReplacementModel, targets: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        trace(model, targets)
