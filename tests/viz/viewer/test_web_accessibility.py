"""axe-core finds nothing serious, whatever is open, in light and in dark."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from circuits import prune
from circuits.graph import Graph
from replacement_model.labels import FeatureLabels
from viz.viewer.evidence import FeatureTexts
from viz.viewer.page import page as page_of

pytestmark = pytest.mark.browser
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="runs where axe-playwright-python is")

FACTS = {
    "label": "in Texas",
    "label_source": "evidence",
    "label_score": 0.8,
    "activation_frequency": 0.02,
    "act_min": 0.1,
    "act_max": 2.0,
    "histogram": [5, 20, 9, 1],
    "histogram_edges": [0.1, 0.5, 1.0, 1.5, 2.0],
    "top_logits": ["Austin", "TX"],
    "bottom_logits": ["Ohio"],
    "examples": [{"tokens": ["in", " Dallas", ",", " Texas"], "acts": [0.0, 0.7, 0.2, 2.0], "train_token_ind": 3}],
}


class Evidence(FeatureTexts):
    """The same facts on every feature, in the place of a folder of evidence."""

    def __init__(self) -> None:
        self.labels = FeatureLabels()

    def of(self, features: Any, max_bytes: int, n_examples: int = 5) -> dict[str, Any]:
        return dict.fromkeys(features, FACTS)


@pytest.mark.parametrize("colours", ["light", "dark"])
def test_nothing_serious(open_page: Callable[..., Any], pocket_graphs: Sequence[Graph], colours: str) -> None:
    circuits = prune(pocket_graphs[0]), prune(pocket_graphs[4])
    page = open_page(page_of(*circuits, features=Evidence()), colours=colours)
    check(page)
    tabs = page.get_by_role("tab")
    page.keyboard.press("g")
    page.keyboard.press("Home")
    page.keyboard.press("i")
    for tab in range(tabs.count()):
        tabs.nth(tab).click()
        check(page)
    page.keyboard.press("?")
    check(page)
    page.keyboard.press("Escape")
    page.get_by_role("tab", name="Compare").click()
    page.get_by_role("button", name=pocket_graphs[4].metadata.prompt).click()
    check(page)


def check(page: Any) -> None:
    found = axe.Axe().run(page).response["violations"]
    serious = [
        (one["id"], [node["html"][:160] for node in one["nodes"]][:4])
        for one in found
        if one["impact"] in ("serious", "critical")
    ]
    assert serious == []


def test_the_drawing_is_named_and_its_nodes_are_read(open_page: Callable[..., Any], dallas_page: str) -> None:
    page = open_page(dallas_page)
    nodes = page.get_by_role("listbox", name="Nodes of the graph")
    nodes.focus()
    page.keyboard.press("Home")
    current = nodes.get_attribute("aria-activedescendant")
    option = page.locator(f"#{current}")
    assert option.get_attribute("aria-posinset") == "1"
    n_nodes = page.evaluate("orrery.panes.value[0].pruned.value.nNodes")
    assert option.get_attribute("aria-setsize") == str(n_nodes)
    assert "Austin" in option.inner_text()
    page.keyboard.press("End")
    assert page.locator(f"#{nodes.get_attribute('aria-activedescendant')}").inner_text().startswith("embedding of")


def test_everything_can_be_reached_with_the_tab_key(open_page: Callable[..., Any], dallas_page: str) -> None:
    page = open_page(dallas_page)
    reached = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        name = "(({ ariaLabel, textContent, id }) => ariaLabel || textContent || id)(document.activeElement)"
        reached.add(page.evaluate(name))
    assert {"Help", "Zoom in", "Reset", "Node", "Dallas"} <= reached
    assert any(name.startswith("Nodes of the graph") for name in reached)
