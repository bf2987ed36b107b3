"""Checks of graphs against tiny models: what must be exact is, and a graph that was changed fails."""

import json
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from tiny_models import PROMPT, tiny_host, tiny_transcoder

from circuits import DifferenceTarget, FeatureTarget, Graph, TokenTarget, attribute, prune
from circuits.faithfulness.ablation import check_ablation
from circuits.faithfulness.check import CheckSettings, check_circuits
from circuits.faithfulness.comparison import compare, trace_again
from circuits.faithfulness.direct import check_direct, check_record
from circuits.faithfulness.downstream import check_downstream
from circuits.faithfulness.measuring import ablation_changes, observe_graph
from circuits.faithfulness.prediction import influence_on
from circuits.faithfulness.selection import Chosen, choose
from replacement_model import Conditions, InputError, Intervention, ReplacementModel, intervene
from replacement_model.interventions import Observation

KINDS = [
    ("gemma3", True, "jumprelu", True, torch.float32),
    ("gpt_neox", False, "topk", False, torch.float32),
    ("gpt2", True, "relu", True, torch.float64),
]


@pytest.fixture(scope="module")
def model() -> ReplacementModel:
    return ReplacementModel(tiny_host("gemma3", torch.float32), None, tiny_transcoder(True, "jumprelu"))


@pytest.fixture(scope="module")
def graph(model: ReplacementModel) -> Graph:
    return attribute(model, PROMPT, [TokenTarget(3), TokenTarget(8, pos=4), DifferenceTarget(3, 5)])


@pytest.fixture(scope="module")
def observed(model: ReplacementModel, graph: Graph) -> Observation:
    return observe_graph(model, graph)


@pytest.fixture(scope="module")
def chosen(graph: Graph) -> Chosen:
    return choose(influence_on(graph, 2), 6, np.random.default_rng(0))


@pytest.mark.parametrize(("architecture", "cross_layer", "activation", "skip", "dtype"), KINDS)
def test_every_kind_of_graph_is_exact(
    architecture: str, cross_layer: bool, activation: str, skip: bool, dtype: torch.dtype
) -> None:
    model = ReplacementModel(tiny_host(architecture, dtype), None, tiny_transcoder(cross_layer, activation, skip))
    graph = attribute(model, PROMPT, [TokenTarget(3), DifferenceTarget(3, 5, pos=4), FeatureTarget(2, 7)])
    observed = observe_graph(model, graph)
    assert check_record(observed, graph).holds
    found = check_direct(observed, graph, choose(influence_on(graph, 0), 5, np.random.default_rng(0)))
    assert found.holds
    assert found.worst > 0
    assert found.n_effects == 10 * graph.layout.n_rows
    assert found.n_unmeasured == 0


def test_a_wrong_edge_is_found_and_named(graph: Graph, observed: Observation, chosen: Chosen) -> None:
    adjacency = graph.adjacency.copy()
    node = int(chosen.by_graph[0])
    row = graph.layout.target_rows.start
    adjacency[row, node] = adjacency[row, node] * np.float32(1.01)
    wrong = replace(graph, adjacency=adjacency)
    found = check_direct(observed, wrong, chosen)
    layer, pos, idx = graph.features[node]
    assert not found.holds
    assert found.worst > 5
    assert (found.source, found.target) == (f"{layer}_{idx}_{pos}", f"{graph.n_layers + 1}_3_6")
    assert not check_record(observed, wrong).holds  # its books do not close


def test_a_wrong_record_is_found(graph: Graph, observed: Observation) -> None:
    assert check_record(observed, graph).holds
    acts = graph.feature_acts.copy()
    acts[3] *= np.float32(1.01)
    assert not check_record(observed, replace(graph, feature_acts=acts)).holds
    constant = graph.books.constant.copy()
    constant[0] += 1.0
    assert not check_record(observed, replace(graph, books=replace(graph.books, constant=constant))).holds
    pre_act = graph.books.pre_act.copy()
    pre_act[-1] += 0.1
    assert check_record(observed, replace(graph, books=replace(graph.books, pre_act=pre_act))).targets > 1e-3


def test_changes_are_those_of_single_interventions(
    model: ReplacementModel, graph: Graph, observed: Observation
) -> None:
    nodes = np.array([2, 9])
    for mode in ("free", "iterative"):
        found = ablation_changes(observed, graph, nodes, Conditions(mode))
        for row, node in zip(found, nodes, strict=True):
            watch = torch.from_numpy(graph.features).long()
            ablate = Intervention.ablate([tuple(map(int, graph.features[node]))])
            alone = intervene(model, observed, ablate, mode, watch=watch)
            change = (alone.logits_after - alone.logits_before).double()
            change = change - change.mean(-1, keepdim=True)
            at = observed.capture.logit_positions
            expected = [change[at.index(6), 3], change[at.index(4), 8], change[at.index(6), 3] - change[at.index(6), 5]]
            features = alone.watched.pre_acts_after - alone.watched.pre_acts_before
            np.testing.assert_allclose(row[:-3], features, atol=2e-6)
            np.testing.assert_allclose(row[-3:], expected, atol=2e-6)


def test_effects_one_layer_on_are_exact_where_features_alone_respond(
    graph: Graph, observed: Observation, chosen: Chosen
) -> None:
    rows = check_downstream(observed, graph, chosen)
    kinds = product(("iterative", "free"), ("graph", "chance"), (1, 2, None))
    assert [(row.mode, row.chosen, row.distance) for row in rows] == list(kinds)
    for row in rows:
        if row.distance == 1 and row.n and row.mode == "iterative":  # nothing lies between that could be switched off
            assert row.cosine == pytest.approx(1.0, abs=1e-4)
        if row.mode == "free" and row.distance is not None and row.n:
            assert -1 <= row.cosine < 0.9999
    assert any(row.n for row in rows if row.distance == 1)


def test_ablations_are_those_of_single_interventions(model: ReplacementModel, graph: Graph) -> None:
    one = attribute(model, PROMPT, [TokenTarget(3)])
    observed = observe_graph(model, one)
    found = check_ablation(observed, one)
    assert found.n_active == len(found.effects) == len(one.features)
    for node in (0, 11):
        ablate = Intervention.ablate([tuple(map(int, one.features[node]))])
        result = intervene(model, observed, ablate)
        change = (result.logits_after - result.logits_before)[0].double()
        assert found.effects[node] == pytest.approx(float(change[3] - change.mean()), abs=2e-6)
    row = one.adjacency.toarray()[-1, : len(one.features)]
    assert found.predictions["direct edge"] == pytest.approx(np.abs(row))
    assert found.predictions["activation"] == pytest.approx(one.feature_acts)
    for name, values in found.predictions.items():
        assert found.spearman[name] == pytest.approx(spearmanr(values, np.abs(found.effects)).statistic)
    last = one.features[:, 1] == 6
    expected = spearmanr(found.predictions["influence"][last], np.abs(found.effects[last])).statistic
    assert found.spearman_last["influence"] == pytest.approx(expected)
    some = check_ablation(observed, one, at_most=5, generator=np.random.default_rng(1))
    assert len(some.effects) == 5
    with pytest.raises(InputError, match="expected a logit or a difference of logits, got the feature"):
        check_ablation(observed, attribute(model, PROMPT, [FeatureTarget(2, 7)]))


def test_the_same_prompt_with_another_transcoder(graph: Graph, model: ReplacementModel) -> None:
    again = trace_again(graph, model)
    np.testing.assert_array_equal(again.adjacency.toarray(), graph.adjacency.toarray())
    assert [one.label for one in again.targets] == [one.label for one in graph.targets]
    other = ReplacementModel(model.host, None, tiny_transcoder(False, "jumprelu"))
    found = compare(graph, trace_again(graph, other))
    assert 0 < found.tokens < 1
    with pytest.raises(InputError, match="no target of another transcoder's graph"):
        trace_again(attribute(model, PROMPT, [FeatureTarget(2, 7)]), other)
    with pytest.raises(InputError, match="two graphs of one prompt"):
        compare(graph, attribute(model, [*PROMPT[:-1], 4], [TokenTarget(3)]))


def test_a_whole_check_is_json_and_the_same_again(graph: Graph, model: ReplacementModel) -> None:
    circuits = [prune(graph), attribute(model, [0, 8, 3, 3, 21, 30], [TokenTarget(3)])]
    settings = CheckSettings(n_chosen=4, most_ablations=30, seed=3)
    done = []
    found = check_circuits(model, circuits, model, settings, lambda *report: done.append(report))
    assert found.holds
    assert done == [(1, 2), (2, 2)]
    assert found.ablation is not None
    assert found.ablation.n_prompts == 2
    plain = found.to_dict()
    again = check_circuits(model, circuits[1:], None, settings).to_dict()["each"][0]
    assert json.dumps(plain["each"][1] | {"comparison": None}, allow_nan=False) == json.dumps(again, allow_nan=False)
    one = plain["each"][0]
    assert (plain["schema_version"], one["holds"]) == (1, True)
    assert len(one["ablation"]["effects"]) == 30
    assert one["comparison"]["layers"] == pytest.approx(1.0)
    shares = one["stability"]["edge_shares"]
    assert all(0 < share <= 1 for _, _, share in shares)
    assert one["stability"]["node_shares"][-1] is None


def test_a_graph_of_some_features_is_checked_as_far_as_it_goes(model: ReplacementModel) -> None:
    found = check_circuits(model, [attribute(model, PROMPT, [TokenTarget(3)], max_feature_nodes=12)], None)
    one = found.each[0]
    assert found.holds
    assert (one.n_selected, len(one.ablation.effects)) == (12, 12)
    assert one.n_active > 12


def test_a_feature_as_target_has_no_ablation_check(model: ReplacementModel) -> None:
    found = check_circuits(model, [attribute(model, PROMPT, [FeatureTarget(2, 7)])], None, CheckSettings(3))
    assert found.holds
    assert found.each[0].ablation is None
    assert found.ablation is None


def test_another_model_is_refused(graph: Graph, model: ReplacementModel) -> None:
    named = replace(tiny_transcoder(True, "jumprelu"), name="other")
    with pytest.raises(InputError, match="traced with transcoder tiny, this is other"):
        observe_graph(ReplacementModel(model.host, None, named), graph)
    pocket = ReplacementModel.from_pretrained("pocket")
    traced = attribute(pocket, "the opposite of small is")
    hashes = dict.fromkeys(traced.metadata.hashes, "00")
    with pytest.raises(InputError, match="other weights: model"):
        observe_graph(pocket, replace(traced, metadata=replace(traced.metadata, hashes=hashes)))
    read = replace(traced, metadata=replace(traced.metadata, settings={"read_from": {"producer": "other"}}))
    with pytest.raises(InputError, match="read from JSON"):
        observe_graph(pocket, read)
    with pytest.raises(InputError, match="the graph has 9 layers"):
        observe_graph(model, replace(graph, n_layers=9))
