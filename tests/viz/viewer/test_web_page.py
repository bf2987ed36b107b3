"""The page in a browser: select, search, keyboard, sliders, comparison, colours, and text that stays text."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from large_graph import large_graph

from circuits import prune
from circuits.graph import Graph
from circuits.pruning import Circuit
from replacement_model.labels import FeatureLabel
from viz.viewer.page import page as page_of

pytestmark = pytest.mark.browser
expect = pytest.importorskip("playwright.sync_api", reason="runs where Playwright is: pip install playwright").expect

EVIL = "<img src=x onerror=\"document.title='taken'\">"


def selected(page: Any) -> str | None:
    """The id of the selected node."""
    return page.evaluate("(([pane]) => pane.graph.nodes[pane.selected.value]?.id ?? null)(orrery.panes.value)")


def centre(page: Any, node: str) -> tuple[float, float]:
    """Where a node is drawn, from the placement and the zoom that the graph keeps."""
    place = """
    (id) => {
      const [pane] = orrery.panes.value;
      const node = pane.graph.numberOf.get(id);
      const box = document.querySelector(".drawing");
      const { k, x, y } = box.__zoom;
      const at = box.getBoundingClientRect();
      const { placement } = pane;
      return [at.left + x + k * placement.value.x[node], at.top + y + k * placement.value.y[node]];
    }
    """
    x, y = page.evaluate(place, node)
    return x, y


def top_logit(page: Any) -> str:
    return page.evaluate("orrery.panes.value[0].graph.nodes.find(({kind}) => kind === 'logit').id")


def test_clicking_a_node_selects_it_and_beside_it_nothing(open_page: Callable[..., Any], dallas_page: str) -> None:
    page = open_page(dallas_page)
    logit = top_logit(page)
    x, y = centre(page, logit)
    page.mouse.click(x, y)
    assert selected(page) == logit
    expect(page.get_by_role("tabpanel").get_by_role("heading", level=2)).to_have_text("Austin")
    expect(page.get_by_role("option", selected=True)).to_contain_text("logit Austin, probability")
    page.mouse.click(x - 200, y + 10)
    assert selected(page) is None


def test_inputs_are_the_strongest_kept_edges_and_lead_on(
    open_page: Callable[..., Any], dallas_page: str, pocket_graphs: Sequence[Graph]
) -> None:
    page = open_page(dallas_page)
    page.mouse.click(*centre(page, top_logit(page)))
    section = page.locator("section.block", has_text="Strongest inputs")
    expect(section).to_be_visible()
    weights = [float(text.replace("−", "-")) for text in section.locator(".value").all_inner_texts()]
    kept = prune(pocket_graphs[0]).edges
    row = kept.data[kept.indptr[-2] : kept.indptr[-1]]
    expected = sorted(row.tolist(), key=abs, reverse=True)[: len(weights)]
    assert weights == pytest.approx(expected, rel=0.06)  # two digits are shown
    section.locator("button.node").first.click()
    assert selected(page) != top_logit(page)


def test_search_by_label_token_and_id(open_page: Callable[..., Any], dallas_page: str) -> None:
    page = open_page(dallas_page)
    page.keyboard.press("/")
    box = page.get_by_role("searchbox")
    nodes = page.locator("search button.node")
    box.fill("austin")
    expect(nodes.locator(".name").get_by_text("Austin", exact=True)).to_be_visible()
    logit = top_logit(page)
    box.fill(logit)
    expect(nodes).to_have_count(1)
    box.press("Enter")
    assert selected(page) == logit
    box.fill("dallas")
    page.get_by_label("Kind of node").select_option("token")
    expect(nodes.locator(".name")).to_have_text(["Dallas"])
    box.fill("no such label")
    expect(nodes).to_have_count(0)


def test_the_keyboard_moves_between_nodes(open_page: Callable[..., Any], dallas_page: str) -> None:
    page = open_page(dallas_page)
    page.keyboard.press("g")
    page.keyboard.press("ArrowDown")
    first = selected(page)
    assert first == top_logit(page)  # the reading order begins with the logits
    page.keyboard.press("i")
    strongest = selected(page)
    assert strongest not in (None, first)
    page.keyboard.press("o")
    assert selected(page) is not None
    page.keyboard.press("End")
    assert selected(page).startswith("E_")
    last = selected(page)
    page.keyboard.press("ArrowLeft")
    assert selected(page).startswith("E_")
    assert selected(page) != last
    page.keyboard.press("ArrowUp")
    assert not selected(page).startswith("E_")
    page.keyboard.press("Escape")
    assert selected(page) is None


def test_help_is_a_dialog_that_closes(open_page: Callable[..., Any], dallas_page: str) -> None:
    page = open_page(dallas_page)
    page.keyboard.press("?")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    page.get_by_role("button", name="Help").click()
    dialog.get_by_role("button", name="Close").click()
    expect(dialog).to_be_hidden()


def test_zoom_and_fit(open_page: Callable[..., Any], dallas_page: str, wait_until: Callable[..., None]) -> None:
    page = open_page(dallas_page)
    scale = "document.querySelector('.drawing').__zoom.k"
    before = page.evaluate(scale)
    page.get_by_role("button", name="Zoom in").click()
    assert page.evaluate(scale) == pytest.approx(1.3 * before)
    page.mouse.move(400, 400)
    page.mouse.wheel(0, 300)
    assert page.evaluate(scale) < 1.3 * before
    page.get_by_role("button", name="Fit the graph").click()
    wait_until(page, f"Math.abs({scale} - {before}) < 1e-6")


def test_the_theme_changes_the_colours_of_the_page_and_of_the_drawing(
    open_page: Callable[..., Any], dallas_page: str, wait_until: Callable[..., None]
) -> None:
    page = open_page(dallas_page)
    background = "getComputedStyle(document.querySelector('.side')).backgroundColor"
    assert page.evaluate(background) == "rgb(255, 255, 255)"
    count = page.evaluate("drawings.length")
    for _ in range(2):
        page.keyboard.press("t")  # light, then dark
    wait_until(page, f"{background} !== 'rgb(255, 255, 255)'")
    wait_until(page, f"drawings.length > {count}")


def test_two_graphs_are_compared(
    open_page: Callable[..., Any], two_graphs_page: str, pocket_graphs: Sequence[Graph]
) -> None:
    page = open_page(two_graphs_page)
    page.get_by_role("tab", name="Compare").click()
    page.get_by_role("button", name=pocket_graphs[4].metadata.prompt).click()
    expect(page.locator("section.graph")).to_have_count(2)
    kept = [keys_of(pocket_graphs[0]), keys_of(pocket_graphs[4])]
    common, *only = (int(text) for text in page.locator(".overlap tbody tr").first.locator("td").all_inner_texts())
    assert (common, only) == (len(kept[0] & kept[1]), [len(kept[0] - kept[1]), len(kept[1] - kept[0])])
    assert common > 0
    page.get_by_label("Match features at any position").check()
    page.get_by_role("button", name="Close the comparison").click()
    expect(page.locator("section.graph")).to_have_count(1)


def keys_of(graph: Graph) -> set[tuple[Any, ...]]:
    """What makes a kept node the same node in another graph."""
    circuit = prune(graph)
    found = set()
    for node in circuit.node_mask.nonzero()[0].tolist():
        facts = graph.node_attributes(node)
        place = (
            ("logit", facts["label"]) if facts["kind"] == "target" else (facts["kind"], facts["layer"], facts["pos"])
        )
        more = {"feature": facts.get("feature_idx"), "token": facts["label"]}.get(facts["kind"])
        found.add((*place, more))
    return found


def test_a_graph_from_another_page_is_put_beside(
    open_page: Callable[..., Any],
    dallas_page: str,
    two_graphs_page: str,
    tmp_path: Path,
    pocket_graphs: Sequence[Graph],
) -> None:
    other = tmp_path / "other.html"
    other.write_text(page_of(prune(pocket_graphs[1]), slugs=["opposite"]), encoding="utf-8")
    page = open_page(dallas_page)
    page.get_by_role("tab", name="Compare").click()
    page.locator("input[type=file]").set_input_files(other)
    page.locator("section.graph").nth(1).wait_for()
    expect(page.locator(".side-name").first).to_be_visible()


def test_labels_with_html_are_text(open_page: Callable[..., Any], pocket_graphs: Sequence[Graph]) -> None:
    graph = pocket_graphs[0]
    label = FeatureLabel(EVIL, EVIL, 0.9, 0.9, 0.9, (EVIL,), (EVIL,))
    evil = replace(graph, tokens=(EVIL, *graph.tokens[1:]), feature_labels=(label,) * len(graph.feature_labels))
    page = open_page(page_of(prune(evil), titles=[EVIL]))
    page.keyboard.press("/")
    page.locator("search button.node", has_text="onerror").first.click()
    page.keyboard.press("Escape")
    page.get_by_role("tab", name="Node", exact=True).click()
    expect(page.locator("h1")).to_have_text(EVIL)
    expect(page.locator(".token").first).to_have_text(EVIL)
    assert page.locator("img").count() == 0
    assert "taken" not in (page.title(), page.evaluate("document.title"))


def test_the_page_asks_for_nothing(open_page: Callable[..., Any], dallas_page: str) -> None:
    page = open_page(dallas_page)
    resources = page.evaluate("performance.getEntriesByType('resource').map(({ name }) => name)")
    assert [name for name in resources if not name.startswith(("blob:", "data:"))] == []


def test_a_damaged_graph_is_reported(browser: Any, tmp_path: Path, dallas_page: str) -> None:
    place = tmp_path / "damaged.html"
    place.write_text(dallas_page.replace('"schema_version":1', '"schema_version":99', 1), encoding="utf-8")
    page = browser.new_page()
    page.goto(place.as_uri())
    assert "schema 1" in page.get_by_role("alert").inner_text()
    page.close()


def test_without_workers_the_page_draws_by_itself(
    browser: Any, tmp_path: Path, dallas_page: str, wait_until: Callable[..., None]
) -> None:
    place = tmp_path / "page.html"
    place.write_text(dallas_page, encoding="utf-8")
    page = browser.new_page()
    page.add_init_script("delete window.Worker; window.drawings = [];")
    page.add_init_script("document.addEventListener('drawn', ({ detail }) => drawings.push(detail), true);")
    page.goto(place.as_uri())
    wait_until(page, "drawings.some(({ complete }) => complete)")
    page.close()


def test_after_moving_the_picture_is_drawn_where_the_graph_is(
    open_page: Callable[..., Any], pocket_graphs: Sequence[Graph], wait_until: Callable[..., None]
) -> None:
    page = open_page(page_of(prune(pocket_graphs[0], 1.0, 1.0)))
    for _ in range(7):
        page.get_by_role("button", name="Zoom in").click()
    page.keyboard.press("g")
    page.keyboard.press("Home")
    page.keyboard.press("i")
    wait_until(
        page,
        """["graph", "focus"].every((name) => {
            const { view, complete } = drawings.filter(({ layer }) => layer === name).at(-1);
            const { k, x, y } = document.querySelector(".drawing").__zoom;
            const right = (view.width - document.querySelector(".drawing").clientWidth) / 2;
            return complete && view.k === k && Math.abs(view.x - x - right) < 1;
        })""",
    )


@pytest.mark.parametrize("threshold", [0.5, 0.8, 1.0])
def test_nodes_stand_in_their_column_and_row_and_none_on_another(
    open_page: Callable[..., Any], two_graphs_page: str, threshold: float
) -> None:
    page = open_page(two_graphs_page)
    places = page.evaluate(
        """(threshold) => {
            const [pane] = orrery.panes.value;
            pane.nodeThreshold.value = threshold;
            const { x, y, columns, rows, width, height } = pane.placement.value;
            return pane.graph.nodes.flatMap(({ kind, pos, layer }, node) => pane.pruned.value.nodes[node] ? [{
              kind, x: x[node], y: y[node], column: columns[pos], row: rows[layer + 1], width, height,
            }] : []);
        }""",
        threshold,
    )
    for one in places:
        left = 0 if one["kind"] == "logit" else one["column"]["start"]
        size = one["width"] if one["kind"] == "logit" else one["column"]["size"]
        assert left <= one["x"] <= left + size
        assert one["row"]["start"] <= one["y"] <= one["row"]["start"] + one["row"]["size"]
    assert len({(one["x"], one["y"]) for one in places}) == len(places)


def test_other_targets_have_no_probability(open_page: Callable[..., Any], other_targets: Circuit) -> None:
    page = open_page(page_of(other_targets))
    expect(page.get_by_role("heading", name="What this graph explains")).to_be_visible()
    page.get_by_role("button", name="Austin − Houston").click()
    panel = page.get_by_role("tabpanel")
    expect(panel.locator(".kind-line")).to_contain_text("Target: difference")
    expect(panel).not_to_contain_text("Probability")


def test_a_long_prompt_fits(open_page: Callable[..., Any]) -> None:
    page = open_page(page_of(prune(large_graph(3_000, 9_000, n_layers=4, n_pos=500), 0.9, 0.9)))
    bounds = page.evaluate(
        """(([pane]) => {
            const box = document.querySelector(".drawing");
            return [box.__zoom.k * pane.placement.value.width, box.clientWidth];
        })(orrery.panes.value)"""
    )
    assert bounds[0] <= bounds[1]
