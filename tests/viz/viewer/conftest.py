"""Headless Chromium, pages that must not complain, and graphs to show."""

import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from circuits import attribute, prune
from circuits.graph import Graph
from replacement_model import ReplacementModel
from viz.viewer.page import page as page_of

ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
# What was drawn, and when: `drawn` events do not bubble, but are seen on their way down.
RECORDER = """
window.drawings = [];
document.addEventListener(
    "drawn", (event) => window.drawings.push({ ...event.detail, time: performance.now() }), true);
"""
PROMPTS = (
    ("clt", "the capital of the state containing Dallas is"),
    ("clt", "the opposite of hot is"),
    ("plt", "the capital of the state containing Oakland is"),
    ("plt", "12 + 34 ="),
    ("clt", "the capital of the state containing Miami is"),
)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Debian's Chromium, or that of `$ORRERY_CHROMIUM`, driven by Playwright."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="runs where Playwright is: pip install playwright")
    program = os.environ.get("ORRERY_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("runs where Chromium is: apt install chromium, or name one in $ORRERY_CHROMIUM")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=list(ARGUMENTS))
        yield chromium
        chromium.close()


@pytest.fixture
def open_page(browser: Any, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Opens HTML or an address; the test fails if a page writes an error to the console or throws one."""
    contexts: list[Any] = []
    complaints: list[str] = []

    def opened(content: str, *, width: int = 1280, height: int = 800, colours: str = "light") -> Any:
        address = content
        if not content.startswith(("http:", "file:")):
            file = tmp_path / f"page{len(contexts)}.html"
            file.write_text(content, encoding="utf-8")
            address = file.as_uri()
        contexts.append(browser.new_context(viewport={"width": width, "height": height}, color_scheme=colours))
        page = contexts[-1].new_page()
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.add_init_script(RECORDER)
        page.goto(address)
        page.locator(".node-list").first.wait_for(state="attached")
        until(page, "drawings.some(({layer, complete}) => layer === 'graph' && complete)")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []


def until(page: Any, expression: str, seconds: float = 20.0) -> None:
    """Waits until JavaScript is true. Playwright's own way needs `eval`, which the page's policy forbids."""
    end = time.monotonic() + seconds
    while not page.evaluate(expression):
        if time.monotonic() > end:
            raise TimeoutError(f"not within {seconds} s: {expression}")
        time.sleep(0.02)


@pytest.fixture(scope="session")
def wait_until() -> Callable[..., None]:
    return until


@pytest.fixture(scope="session")
def pocket_graphs() -> Sequence[Graph]:
    """Five prompts, traced with the pocket model's cross-layer and per-layer transcoders."""
    models = {name: ReplacementModel.from_pretrained("pocket", transcoder=name) for name in ("clt", "plt")}
    return [attribute(models[name], prompt) for name, prompt in PROMPTS]


@pytest.fixture(scope="session")
def dallas_page(pocket_graphs: Sequence[Graph]) -> str:
    return page_of(prune(pocket_graphs[0]))


@pytest.fixture(scope="session")
def two_graphs_page(pocket_graphs: Sequence[Graph]) -> str:
    return page_of(prune(pocket_graphs[0]), prune(pocket_graphs[4]))
