"""A report in Chromium: on screens of all sizes, and printed to pages."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from circuits.studies.folder import StudyFolder
from viz.figures import new_figure, paper_style
from viz.reports import FigurePart, Report, Section, Table, Text, write_report

CHROMIUM = os.environ.get("ORRERY_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
PROSE = "The model finds the state before it names the capital, as the swaps below show. " * 6

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="runs where Chromium is installed: apt install chromium"),
]


def plot() -> Any:
    with paper_style():
        figure = new_figure()
        figure.subplots().plot([1, 2, 3])
    return figure


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("study")
    short = Table(
        ("swap", "share of cities", "95% interval"), tuple(("Texas", 0.5, "0.4 to 0.6") for _ in range(16)), "S"
    )
    long = Table(("city", "state", "says"), tuple((f"City number {i}", "Texas", "Austin") for i in range(90)), "Long")
    sections = [
        Section(f"Part {i}", (Text(PROSE), FigurePart(f"figure-{i}", plot, f"Figure of part {i}"), short))
        for i in range(4)
    ]
    with StudyFolder.open(place, "sample", {"quick": True}, {"model/model.safetensors": "0a" * 32}) as folder:
        write_report(Report("Multi-step reasoning", PROSE, (*sections, Section("All", (long,)))), folder)
    return place / "report.html"


@pytest.fixture(scope="module")
def browser() -> Any:
    sync_api = pytest.importorskip("playwright.sync_api", reason="runs where Playwright is: pip install playwright")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.mark.parametrize("colours", ["light", "dark"])
def test_it_fits_every_screen_and_can_be_read_by_everyone(browser: Any, report: Path, colours: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="runs where axe-playwright-python is")
    page = browser.new_page(color_scheme=colours)
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("requestfailed", lambda request: said.append(request.url))
    page.goto(report.as_uri())
    for width in (360, 800, 1280, 2560):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert said == []
    violations = axe.Axe().run(page).response["violations"]
    assert [
        (one["id"], one["nodes"][0]["html"]) for one in violations if one["impact"] in ("serious", "critical")
    ] == []
    assert page.evaluate("document.documentElement.scrollHeight") > 3000
    page.close()


@pytest.mark.skipif(
    shutil.which("pdftotext") is None, reason="runs where Poppler is installed: apt install poppler-utils"
)
@pytest.mark.parametrize("paper", ["A4", "Letter"])
def test_printed_pages_have_numbers_and_hold_figures_and_tables_together(
    browser: Any, report: Path, paper: str, tmp_path: Path
) -> None:
    page = browser.new_page(color_scheme="dark")
    page.goto(report.as_uri())
    page.pdf(path=tmp_path / "report.pdf", format=paper, print_background=True)
    page.close()
    command = ["pdftotext", "-layout", str(tmp_path / "report.pdf"), "-"]
    pages = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\f")[:-1]
    assert 7 <= len(pages) <= 10
    for number, text in enumerate(pages, 1):
        assert text.rstrip().splitlines()[-1].replace(" ", "") == f"{number}/{len(pages)}"
    for number in range(1, 5):
        (at,) = [text for text in pages if f"Table {number}." in text]
        assert at.count("0.4 to 0.6") == 16 * at.count("share of cities")
        (at,) = [text for text in pages if f"Figure {number}." in text]
        assert "2.00" in at  # the axis of the plot
    long = [text for text in pages if "City number" in text]
    assert len(long) > 1
    assert all("says" in text for text in long)  # the head again on every page
    assert sum(text.count("City number") for text in long) == 90
