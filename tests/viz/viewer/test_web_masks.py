"""What the page keeps at a pair of thresholds is what `prune` keeps of the whole graph."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from large_graph import large_graph

from circuits import prune
from circuits.graph import Graph
from circuits.node_names import node_names
from circuits.pruning import Circuit
from viz.viewer.page import page as page_of

pytestmark = pytest.mark.browser
expect = pytest.importorskip("playwright.sync_api", reason="runs where Playwright is: pip install playwright").expect

THRESHOLDS = (
    (0.8, 0.98),
    (0.0, 0.0),
    (0.3, 0.9),
    (0.5, 0.5),
    (0.65, 1.0),
    (0.9, 0.95),
    (0.97, 0.999),
    (1.0, 0.98),
    (1.0, 1.0),
)
KEPT = """
([node, edge]) => {
  const [pane] = orrery.panes.value;
  pane.nodeThreshold.value = node;
  pane.edgeThreshold.value = edge;
  const { nodes, edges } = pane.pruned.value;
  const { source, target } = pane.graph;
  const name = (number) => pane.graph.nodes[number].id;
  const keptEdges = [];
  edges.forEach((kept, i) => { if (kept) keptEdges.push(`${name(source[i])} ${name(target[i])}`); });
  return [[...nodes.keys()].filter((node) => nodes[node]).map(name), keptEdges];
}
"""


@pytest.fixture(scope="module")
def large() -> Graph:
    return large_graph(1_500, 15_000, n_layers=12, n_pos=16)


@pytest.mark.parametrize("number", range(5))
def test_of_the_pocket_model(open_page: Callable[..., Any], pocket_graphs: Sequence[Graph], number: int) -> None:
    check_masks(open_page, pocket_graphs[number])


def test_of_a_large_graph(open_page: Callable[..., Any], large: Graph) -> None:
    check_masks(open_page, large)


def check_masks(open_page: Callable[..., Any], graph: Graph) -> None:
    page = open_page(page_of(prune(graph)))
    most = page.evaluate("orrery.panes.value[0].graph.facts.thresholds.node_max")
    sizes = set()
    for node, edge in THRESHOLDS:
        circuit = prune(graph, min(node, most), edge)
        nodes, edges = page.evaluate(KEPT, [min(node, most), edge])
        assert (set(nodes), set(edges)) == kept_by(circuit)
        sizes.add((len(nodes), len(edges)))
    assert len(sizes) > len(THRESHOLDS) // 2  # the thresholds do make a difference


def kept_by(circuit: Circuit) -> tuple[set[str], set[str]]:
    names = np.array(node_names(circuit.graph))
    links = circuit.edges.tocoo()
    targets = circuit.graph.layout.row_nodes()[links.row]
    return set(names[circuit.node_mask]), {f"{a} {b}" for a, b in zip(names[links.col], names[targets], strict=True)}


def test_sliders_show_the_same_numbers(open_page: Callable[..., Any], pocket_graphs: Sequence[Graph]) -> None:
    page = open_page(page_of(prune(pocket_graphs[0])))
    page.get_by_label("Nodes", exact=True).fill("600")
    page.get_by_label("Edges", exact=True).fill("900")
    circuit = prune(pocket_graphs[0], 0.6, 0.9)
    expect(page.locator(".counts")).to_have_text(f"{circuit.node_mask.sum()} nodes, {circuit.edges.nnz} edges")
