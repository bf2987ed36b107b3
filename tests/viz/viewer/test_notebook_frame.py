"""The page in the output of a notebook: it works in its sandbox, and reaches nothing outside."""

from pathlib import Path
from typing import Any

import pytest

from circuits import attribute, prune
from replacement_model import ReplacementModel
from viz.notebook import html

pytestmark = pytest.mark.browser

PROMPTS = ("the capital of the state containing Dallas is", "the opposite of hot is")
OUTSIDE = "() => { try { return parent.document.title } catch (error) { return error.name } }"


@pytest.fixture
def frames(browser: Any, tmp_path: Path) -> Any:
    """The frames of a notebook with two circuits."""
    model = ReplacementModel.from_pretrained("pocket")
    outputs = [f"<div>{html(prune(attribute(model, prompt)))}</div>" for prompt in PROMPTS]
    (tmp_path / "notebook.html").write_text("<title>A notebook</title>" + "".join(outputs), encoding="utf-8")
    context = browser.new_context(viewport={"width": 1100, "height": 1400})
    page, complaints = context.new_page(), []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto((tmp_path / "notebook.html").as_uri())
    found = [element.content_frame() for element in page.query_selector_all("iframe")]
    for frame in found:
        frame.locator(".node-list").first.wait_for(state="attached")
    yield found
    context.close()
    assert complaints == []


def test_every_output_has_its_own_graph(frames: Any) -> None:
    assert [frame.title() for frame in frames] == [f"{prompt} · Orrery" for prompt in PROMPTS]


def test_it_prunes_and_cannot_reach_the_notebook(frames: Any) -> None:
    first = frames[0]
    before = first.locator(".node-list").first.inner_text()
    slider = first.locator('input[type="range"]').first
    slider.focus()
    for _ in range(15):
        slider.press("ArrowLeft")
    first.wait_for_function("before => document.querySelector('.node-list').innerText !== before", arg=before)
    assert first.evaluate(OUTSIDE) == "SecurityError"
