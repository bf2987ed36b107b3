"""Predictions, ranks, stability and flow of graphs that can be solved by hand."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from scipy.stats import spearmanr
from tiny_models import PROMPT, tiny_host, tiny_transcoder

from circuits import Books, Circuit, Graph, GraphMetadata, Target, TokenTarget, attribute, prune
from circuits.faithfulness.ablation import PREDICTORS, AblationCheck
from circuits.faithfulness.comparison import compare
from circuits.faithfulness.flow import measure_flow, overlap
from circuits.faithfulness.prediction import direct_edges, effects_of, influence_on, main_target, total_effects_on
from circuits.faithfulness.rank import Ranks, cosine, mean_of, spearman
from circuits.faithfulness.selection import choose
from circuits.faithfulness.stability import measure_stability
from circuits.faithfulness.summary import summarise_ablations
from replacement_model import Intervention, ReplacementModel, intervene, observe


@pytest.fixture(scope="module")
def graph() -> Graph:
    """Tokens -> three features in two layers -> two logits; columns: features, errors (2 layers x 2), tokens."""
    features = np.array([[0, 1, 7], [0, 1, 9], [1, 1, 4]], dtype=np.int32)
    dense = np.zeros((5, 3 + 4 + 2))
    dense[0, 8], dense[1, 8] = 2.0, 1.0
    dense[2, 0], dense[2, 1], dense[2, 4] = 3.0, -1.0, 0.5
    dense[3, 2], dense[3, 0], dense[3, 8], dense[4, 2] = 4.0, -1.0, 3.0, -1.0
    sums, zeros = dense.sum(axis=1), np.zeros(5)
    return Graph(
        metadata=GraphMetadata("model", "transcoder", "two words"),
        tokens=("<bos>", "two"),
        token_ids=np.array([0, 5]),
        n_layers=2,
        n_ignored_pos=1,
        features=features,
        feature_acts=np.array([2.0, 1.0, 2.5]),
        targets=(Target("logit", "yes", 1, 0.9, 2, (11,)), Target("logit", "no", 1, 0.1, 2, (12,))),
        adjacency=sp.csr_array(dense),
        books=Books(sums, zeros, zeros, zeros, 0.0),
        fvu=(0.1, 0.2),
        feature_labels=(None, None, None),
    )


def test_effects_along_all_paths_by_hand(graph: Graph) -> None:
    # without feature 0, feature 2 falls by 3 of its 2.5: by 6/5 of what it writes
    assert total_effects_on(graph, 0).tolist() == pytest.approx([-1 + 4 * 1.2, 4 * -0.4, 4.0])
    assert direct_edges(graph, 0).tolist() == [-1.0, 0.0, 4.0]
    assert main_target(graph) == 0
    effects = effects_of(graph, np.array([0, 2]))
    assert effects.tolist() == [
        pytest.approx([0, 0, -3, -(-1 + 4.8), 1.2]),
        pytest.approx([0, 0, 0, -4, 1]),
    ]


def test_influence_on_one_target_by_hand(graph: Graph) -> None:
    through = 4 / 8
    assert influence_on(graph, 0).tolist() == pytest.approx([1 / 8 + through * 3 / 4.5, through / 4.5, through])
    assert influence_on(graph, 1).tolist() == pytest.approx([3 / 4.5, 1 / 4.5, 1.0])


@pytest.mark.parametrize("cross_layer", [True, False])
def test_effects_along_all_paths_are_derivatives_of_the_replacement_model(cross_layer: bool) -> None:
    model = ReplacementModel(tiny_host("gemma3", torch.float64), None, tiny_transcoder(cross_layer, "relu"))
    observed = observe(model, PROMPT)
    graph = attribute(model, PROMPT, [TokenTarget(3)])
    nodes = np.argsort(-influence_on(graph, 0))[[0, 3, 8]]
    total = total_effects_on(graph, 0)
    for node, predicted in zip(nodes, effects_of(graph, nodes), strict=True):
        less = Intervention.scale([tuple(map(int, graph.features[node]))], 1 - 1e-6)
        watch = torch.from_numpy(graph.features).long()
        result = intervene(model, observed, less, "iterative", watch=watch)
        change = (result.logits_after - result.logits_before)[0]
        slopes = (result.watched.pre_acts_after - result.watched.pre_acts_before).numpy() / 1e-6
        slope = float(change[3] - change.mean()) / 1e-6
        assert slope == pytest.approx(float(predicted[-1]), rel=1e-4)
        assert predicted[-1] == pytest.approx(-total[node])
        np.testing.assert_allclose(slopes, predicted[:-1], rtol=1e-4, atol=1e-7)


def test_ranks_agree_with_scipy() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 6, 60).astype(float), rng.integers(0, 9, 60).astype(float)
    assert spearman(x, y) == pytest.approx(spearmanr(x, y).statistic)
    prompt = np.repeat(np.arange(6), 10)
    times = rng.multinomial(6, np.full(6, 1 / 6), size=5).astype(float)
    found = Ranks(x, prompt).spearman(Ranks(y, prompt), times)
    for value, counts in zip(found, times, strict=True):
        drawn = np.concatenate([np.flatnonzero(prompt == one) for one in np.repeat(np.arange(6), counts.astype(int))])
        assert value == pytest.approx(spearmanr(x[drawn], y[drawn]).statistic)


def test_what_cannot_be_compared_is_nan() -> None:
    assert np.isnan(spearman(np.array([1.0, 2.0]), np.array([1.0, 2.0])))
    assert np.isnan(spearman(np.ones(4), np.arange(4.0)))
    assert np.isnan(cosine(np.zeros(2), np.ones(2)))
    assert cosine(np.array([1.0, 0.0]), np.array([-2.0, 0.0])) == -1.0
    assert mean_of([1.0, float("nan"), 2.0]) == 1.5
    assert np.isnan(mean_of([float("nan")]))


def test_the_control_is_drawn_from_the_others() -> None:
    influence = np.array([0.1, 0.5, 0.0, 0.5, 0.2, 0.3])
    chosen = choose(influence, 2, np.random.default_rng(0))
    assert chosen.by_graph.tolist() == [1, 3]
    assert len(set(chosen.by_chance) & {1, 3}) == 0
    assert len(chosen.by_chance) == 2
    again = choose(influence, 2, np.random.default_rng(0))
    assert again.by_chance.tolist() == chosen.by_chance.tolist()
    assert len(choose(influence, 6, np.random.default_rng(0)).by_chance) == 0


def kept(circuit: Circuit) -> tuple[set[int], set[tuple[int, int]]]:
    edges = circuit.edges.tocoo()
    inner = range(circuit.graph.layout.token_nodes.start)
    rows, cols = (one.tolist() for one in edges.coords)
    return {node for node in inner if circuit.node_mask[node]}, set(zip(rows, cols, strict=True))


def test_stability_counts_what_each_pruning_keeps(graph: Graph) -> None:
    nodes, edges = (0.7, 0.95, 0.99), (0.7, 0.999)
    found = measure_stability(prune(graph, 0.95, 0.999), nodes, edges)
    cells = [[kept(prune(graph, node, edge)) for edge in edges] for node in nodes]
    flat = [cell for row in cells for cell in row]
    assert found.n_nodes == tuple(tuple(len(cell[0]) for cell in row) for row in cells)
    assert found.n_edges == tuple(tuple(len(cell[1]) for cell in row) for row in cells)
    for node in range(7):
        assert found.node_shares[node] == pytest.approx(sum(node in cell[0] for cell in flat) / 6)
    assert np.isnan(found.node_shares[7:]).all()
    shares = found.edge_shares.toarray()
    for target, source in np.ndindex(5, 9):
        assert shares[target, source] == pytest.approx(sum((target, source) in cell[1] for cell in flat) / 6)
    steps = [((i, 0), (i, 1)) for i in range(3)] + [((i, j), (i + 1, j)) for i in range(2) for j in range(2)]
    pairs = [(cells[a[0]][a[1]], cells[b[0]][b[1]]) for a, b in steps]
    for part, mean, worst in (
        (0, found.node_jaccard, found.worst_node_jaccard),
        (1, found.edge_jaccard, found.worst_edge_jaccard),
    ):
        jaccards = [len(a[part] & b[part]) / len(a[part] | b[part]) for a, b in pairs]
        assert (mean, worst) == (pytest.approx(np.mean(jaccards)), pytest.approx(min(jaccards)))
    own = kept(prune(graph, 0.95, 0.999))
    assert (found.own_nodes, found.own_edges) == (len(own[0]), len(own[1]))
    assert found.always_edges == sum(all(edge in cell[1] for cell in flat) for edge in own[1])
    assert found.mostly_nodes == sum(sum(node in cell[0] for cell in flat) >= 3 for node in own[0])
    assert 0 < found.always_edges < found.own_edges


def test_one_cell_is_stable(graph: Graph) -> None:
    found = measure_stability(prune(graph), (0.8,), (0.98,))
    assert (found.node_jaccard, found.edge_jaccard) == (1.0, 1.0)
    assert (found.always_nodes, found.always_edges) == (found.own_nodes, found.own_edges)


def test_lengths_of_paths_by_hand(graph: Graph) -> None:
    # "yes": 3/8 from the token, 1/8 through 0, 4/8 through 2, of which 0.5/4.5 from an error; "no": all through 2
    one = 0.9 * 3 / 8
    two = 0.9 * (1 / 8 + 0.5 * 0.5 / 4.5) + 0.1 * 0.5 / 4.5
    three = 0.9 * 0.5 * 4 / 4.5 + 0.1 * 4 / 4.5
    flow = measure_flow(graph)
    assert flow.lengths.tolist() == pytest.approx([one, two, three])
    tokens = np.array([one, 0.9 / 8, three])
    assert flow.token_lengths.tolist() == pytest.approx((tokens / tokens.sum()).tolist())
    assert flow.mean_length == pytest.approx(float(tokens @ [1, 2, 3]) / float(tokens.sum()))
    assert flow.tokens.tolist() == [0.0, 1.0]
    assert flow.positions.tolist() == [0.0, 1.0]
    first, second = 0.9 * (1 / 8 + 0.5 * 4 / 4.5) + 0.1 * 4 / 4.5, 0.9 * 0.5 + 0.1
    assert flow.layers.tolist() == pytest.approx([first / (first + second), second / (first + second)])


def test_a_graph_agrees_with_itself(graph: Graph) -> None:
    found = compare(graph, graph)
    assert (found.tokens, found.positions, found.layers) == pytest.approx((1.0, 1.0, 1.0))
    assert found.tokens_even == 1.0
    assert overlap(np.array([1.0, 0.0]), np.array([0.25, 0.75])) == 0.25


def ablation(seed: int, noise: float) -> AblationCheck:
    """Influence is the effect with noise, the direct edge with noise 1, and activation nothing at all."""
    rng = np.random.default_rng(seed)
    effects = rng.normal(size=40)
    size = np.abs(effects)
    noisy = {"influence": size + noise * rng.random(40), "direct edge": size + rng.random(40)}
    predictions = noisy | {"activation": rng.random(40), "total effect": size}
    correlations = {name: float(spearmanr(predictions[name], size).statistic) for name in PREDICTORS}
    last = {name: float("nan") for name in PREDICTORS} if seed % 2 else correlations
    return AblationCheck("x", 40, np.zeros((40, 3), dtype=np.int32), effects, predictions, effects, correlations, last)


def test_a_summary_says_whether_influence_wins() -> None:
    checks = [ablation(seed, 0.1) for seed in range(12)]
    found = summarise_ablations(checks, np.random.default_rng(0))
    assert found.beats_baselines
    assert (found.n_prompts, found.n_skipped, found.n_features) == (12, 0, 480)
    for name in PREDICTORS:
        assert found.mean[name].value == pytest.approx(np.mean([one.spearman[name] for one in checks]))
    gain = found.gain["direct edge"]
    assert gain.value == pytest.approx(found.mean["influence"].value - found.mean["direct edge"].value)
    assert gain.low < gain.value < gain.high
    assert found.last["influence"].n == 6
    effects = np.concatenate([np.abs(one.effects) for one in checks])
    direct = np.concatenate([one.predictions["direct edge"] for one in checks])
    assert found.pooled["direct edge"] == pytest.approx(spearmanr(direct, effects).statistic)
    pooled = found.pooled_gain["direct edge"]
    assert pooled.value == pytest.approx(found.pooled["influence"] - found.pooled["direct edge"])
    assert pooled.low < pooled.value < pooled.high


def test_a_summary_says_where_it_does_not_win() -> None:
    assert not summarise_ablations([ablation(s, 1.0) for s in range(12)], np.random.default_rng(0)).beats_baselines
