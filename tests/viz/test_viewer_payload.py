"""What the page is given suffices to prune: a second implementation, on the decoded data alone, against `prune`."""

import base64
import json
from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp

from circuits import Graph, Group, Grouping, group, prune
from circuits.node_names import node_names
from viz.viewer.coverage import Budget
from viz.viewer.payload import payload

THRESHOLDS = [(0.8, 0.98), (0.0, 0.5), (0.3, 1.0), (0.95, 0.9), (1.0, 1.0), (1.0, 0.0)]


def decoded(name, edges):
    return np.frombuffer(base64.b64decode(edges[name]), np.dtype(edges["dtype"][name]).newbyteorder("<"))


def pruned(data, node_threshold, edge_threshold):
    """Ids of the kept nodes, and (source, target) of the kept edges, by the rule in the payload's docstring."""
    nodes, n = data["nodes"], len(data["nodes"])
    source = decoded("source", data["edges"]).astype(int)
    target = np.repeat(np.arange(n), decoded("n_into", data["edges"]))
    weight = np.abs(decoded("weight", data["edges"]).astype(np.float64))
    kept = _kept_nodes(data, node_threshold)
    inside = kept[source] & kept[target]
    source, target, weight = source[inside], target[inside], weight[inside]

    handed_on = np.zeros(n)
    handed_on[[int(k) for k in data["target_weights"]]] = list(data["target_weights"].values())
    scores = np.zeros(len(weight))
    for row in sorted(set(target.tolist()), reverse=True):
        mine = target == row
        scores[mine] = weight[mine] * (handed_on[row] / max(weight[mine].sum(), data["min_row_sum"]))
        np.add.at(handed_on, source[mine], scores[mine])
    ordered = np.sort(scores)[::-1]
    running = np.cumsum(ordered)
    cut = data["smallest"]
    if edge_threshold < 1 and len(ordered):
        place = min(int(np.searchsorted(running, edge_threshold * running[-1])), len(ordered) - 1)
        cut = max(cut, ordered[place])
    strong = scores >= cut
    return _without_dead_ends(nodes, kept, source[strong], target[strong])


def _kept_nodes(data, threshold):
    nodes = data["nodes"]
    always = np.array([node["always_kept"] for node in nodes])
    influence = np.array([0.0 if node["influence"] is None else node["influence"] for node in nodes])
    cut = data["smallest"]
    if threshold < 1:
        ranked = sorted((node for node in nodes if node["rank"] is not None), key=lambda node: node["rank"])
        goal = threshold * data["influence_total"]
        cut = max(cut, next(node["influence"] for node in ranked if node["cumulative"] >= goal))
    return always | (influence >= cut)


def _without_dead_ends(nodes, kept, source, target):
    """One by one until nothing changes, as the words say it; the page needs only one sweep each way."""
    kind = np.array([node["kind"] for node in nodes])
    while True:
        into, out = np.zeros(len(nodes), bool), np.zeros(len(nodes), bool)
        into[target], out[source] = True, True
        drop = kept & (((kind == "feature") & ~(into & out)) | ((kind == "error") & ~out))
        if not drop.any():
            return {nodes[k]["id"] for k in np.flatnonzero(kept)}, set(
                zip(source.tolist(), target.tolist(), strict=True)
            )
        kept = kept & ~drop
        stays = kept[source] & kept[target]
        source, target = source[stays], target[stays]


def expected(graph, data, node_threshold, edge_threshold):
    circuit, names = prune(graph, node_threshold, edge_threshold), node_names(graph)
    number = {node["id"]: k for k, node in enumerate(data["nodes"])}
    edges, rows = circuit.edges.tocoo(), graph.layout.row_nodes()
    ends = {(number[names[c]], number[names[rows[r]]]) for r, c in zip(edges.row, edges.col, strict=True)}
    return {names[node] for node in np.flatnonzero(circuit.node_mask)}, ends


def as_float32(graph: Graph) -> Graph:
    return replace(graph, adjacency=graph.adjacency.astype(np.float32))


@pytest.fixture(scope="module")
def graphs(make_random, texas_graph, other_targets):
    return {
        "texas": texas_graph,
        "other targets": other_targets.graph,
        "float32": as_float32(make_random(60, seed=1)),
        "wide": make_random(150, n_layers=6, seed=2),
        "tokens alone": make_random(0),
    }


@pytest.mark.parametrize("name", ["texas", "other targets", "float32", "wide", "tokens alone"])
def test_the_page_can_prune_exactly(graphs, name):
    graph = graphs[name]
    data = json.loads(json.dumps(payload(graph)))
    assert data["thresholds"]["node_max"] == 1.0
    assert data["left_out"]["nodes"] == 0
    for node_threshold, edge_threshold in THRESHOLDS:
        assert pruned(data, node_threshold, edge_threshold) == expected(graph, data, node_threshold, edge_threshold)


@pytest.mark.parametrize("budget", [Budget(60, 10**9), Budget(10**6, 40_000), Budget(1, 1)])
def test_a_part_suffices_up_to_its_largest_threshold(graphs, budget):
    graph = graphs["wide"]
    data = payload(graph, budget=budget)
    node_max = data["thresholds"]["node_max"]
    assert 0 < node_max < 1
    assert data["left_out"]["nodes"] > 0
    for node_threshold in (node_max, node_max / 2, 0.0):
        for edge_threshold in (0.98, 0.6):
            assert pruned(data, node_threshold, edge_threshold) == expected(graph, data, node_threshold, edge_threshold)


@pytest.mark.parametrize("budget", [Budget(60, 10**9), Budget(10**6, 40_000)])
def test_the_largest_threshold_is_the_largest(graphs, budget):
    data = payload(graphs["wide"], budget=budget)
    beyond = prune(graphs["wide"], data["thresholds"]["node_max"] + 1e-12, 1.0)
    ids, names = {node["id"] for node in data["nodes"]}, node_names(graphs["wide"])
    assert not {names[node] for node in np.flatnonzero(beyond.node_mask)} <= ids


def test_budgets_are_kept(graphs):
    few_nodes = payload(graphs["wide"], budget=Budget(max_nodes=60))
    assert 50 < len(few_nodes["nodes"]) <= 60
    small = payload(graphs["wide"], budget=Budget(max_bytes=40_000))
    size = len(json.dumps({"nodes": small["nodes"], "edges": small["edges"]}, separators=(",", ":")))
    assert 25_000 < size <= 42_000


def test_equal_influences_stay_together(make_graph):
    """Four features of one influence: a limit that cuts between them leaves all of them out, or keeps all."""
    graph = make_graph([(0, 1, None)] * 4, tokens=("<bos>", "two"), n_layers=1)
    layout = graph.layout
    dense = np.zeros((layout.n_rows, layout.n_cols))
    dense[:4, layout.token_node(1)] = 1.0
    dense[4, :4], dense[4, layout.error_node(0, 1)] = 1.0, 9.0
    graph = replace(graph, adjacency=sp.csr_array(dense))
    for limit in range(6, 10):  # two tokens and three logits are always there
        data = payload(graph, budget=Budget(max_nodes=limit))
        assert [node["kind"] for node in data["nodes"]].count("feature") == 0
    assert [node["kind"] for node in payload(graph, budget=Budget(10))["nodes"]].count("feature") == 4


def test_nodes_say_what_they_are(texas_graph):
    data = payload(prune(texas_graph, 0.7, 0.9), slug="texas")
    kinds = [node["kind"] for node in data["nodes"]]
    assert [kinds.count(kind) for kind in ("token", "logit")] == [10, 3]
    assert data["thresholds"] == {"node": 0.7, "edge": 0.9, "node_max": 1.0}
    austin = next(node for node in data["nodes"] if node["token"] == " Austin")
    assert (austin["probability"], austin["layer"], austin["target_kind"]) == (0.93, 4, "logit")
    dallas = next(node for node in data["nodes"] if node["label"] == "Dallas")
    assert (dallas["layer"], dallas["pos"], dallas["label_score"], dallas["label_source"]) == (0, 8, 0.9, "graph")
    assert data["features"][f"0/{dallas['feature_idx']}"]["top_logits"] == ["Austin", "Texas"]


def test_equal_graphs_have_equal_hashes_and_others_not(make_random):
    first, again, other = (payload(make_random(20, seed=seed)) for seed in (3, 3, 4))
    assert first["hash"] == again["hash"] != other["hash"]


def test_supernodes_are_annotations(texas):
    kept = [int(node) for node in np.flatnonzero(texas.node_mask)[:2]]
    data = payload(group(texas, Grouping((Group("both", tuple(kept)),))))
    assert data["annotations"]["supernodes"] == [["both", *(node_names(texas.graph)[node] for node in kept)]]
    assert data["annotations"]["revision"] == 0
