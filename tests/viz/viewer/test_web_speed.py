"""5,000 nodes and 52,000 edges: how soon they are seen, how smoothly they move, how soon a slider acts.

The bars are for two cores that have nothing else to do; of several attempts the best counts, because the machine that
runs the tests may be busy.
"""

import math
import time
from collections.abc import Callable
from typing import Any

import pytest
from large_graph import large_graph

from circuits import prune
from viz.viewer.page import page as page_of

pytestmark = pytest.mark.browser

ATTEMPTS = 5
FIRST_PAINT = 2_000  # milliseconds
FRAME_GAP = 33
SLIDER = 100
COUNT_FRAMES = """
() => {
  window.gaps = [];
  let last = performance.now();
  const frame = () => {
    const now = performance.now();
    gaps.push(now - last);
    last = now;
    window.frames_go_on = requestAnimationFrame(frame);
  };
  window.frames_go_on = requestAnimationFrame(frame);
}
"""
MOVE_SLIDER = """
async ([label, value]) => {
  const input = document.getElementById(
    [...document.querySelectorAll(".slider label")].find((one) => one.textContent === label).htmlFor);
  const before = Math.max(...drawings.map(({ version }) => version));
  const started = performance.now();
  input.value = value;
  input.dispatchEvent(new Event("input", { bubbles: true }));
  if (input.value !== value) throw new Error(`the slider went to ${input.value}, not to ${value}`);
  while (!drawings.some(({ version, layer }) => layer === "graph" && version > before)) {
    await new Promise((done) => setTimeout(done, 1));
    if (performance.now() - started > 20_000) throw new Error("the slider changed nothing");
  }
  await new Promise((done) => requestAnimationFrame(done));
  return performance.now() - started;
}
"""


ALL_DRAWN = """
drawings.filter(({ layer }) => layer === "graph").at(-1).complete
"""


@pytest.fixture(scope="module")
def large_page() -> str:
    circuit = prune(large_graph(), 1.0, 1.0)
    assert circuit.node_mask.sum() >= 5_000
    assert circuit.edges.nnz >= 50_000
    return page_of(circuit)


def test_first_paint(open_page: Callable[..., Any], large_page: str) -> None:
    assert len(large_page) < 5_000_000
    times = []
    for _ in range(ATTEMPTS):
        page = open_page(large_page)
        times.append(page.evaluate("drawings[0].time"))  # since the start of navigation
    print(f"first picture of the graph: {sorted(times)} ms")  # noqa: T201
    assert min(times) < FIRST_PAINT


def test_panning(open_page: Callable[..., Any], large_page: str) -> None:
    page = open_page(large_page)
    gaps: list[float] = []
    while len(gaps) < ATTEMPTS and min(gaps, default=math.inf) > FRAME_GAP:
        gaps.append(pan(page))
    print(f"95th percentile of frame gaps in 5 s: {gaps} ms")  # noqa: T201
    assert min(gaps) <= FRAME_GAP


def pan(page: Any) -> float:
    box = page.locator(".drawing").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.evaluate(COUNT_FRAMES)
    start = time.monotonic()
    while (passed := time.monotonic() - start) < 5:
        page.mouse.move(x + 300 * math.sin(2 * passed), y + 150 * math.sin(3 * passed))
        time.sleep(0.008)
    page.mouse.up()
    gaps = sorted(page.evaluate("() => { cancelAnimationFrame(frames_go_on); return gaps; }"))
    return gaps[int(0.95 * len(gaps))]


def test_sliders(open_page: Callable[..., Any], large_page: str, wait_until: Callable[..., None]) -> None:
    page = open_page(large_page)
    moves = [("Nodes", 900), ("Edges", 950), ("Nodes", 995), ("Edges", 1000), ("Nodes", 700), ("Nodes", 1000)]
    times = {}
    for label, value in moves:
        before = page.get_by_label(label, exact=True).input_value()
        attempts: list[float] = []
        while len(attempts) < ATTEMPTS and min(attempts, default=math.inf) > SLIDER:
            if attempts:
                page.evaluate(MOVE_SLIDER, [label, before])
            wait_until(page, ALL_DRAWN)
            attempts.append(page.evaluate(MOVE_SLIDER, [label, str(value)]))
        times[label, value] = round(min(attempts))
    print(f"slider to picture: {times} ms")  # noqa: T201
    assert max(times.values()) <= SLIDER
