import re
import subprocess
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from matplotlib.figure import Figure

from circuits.studies.folder import StudyFolder
from circuits.versions import code_hash
from replacement_model.errors import InputError
from replacement_model.hashing import sha256
from viz.figures import new_figure, paper_style
from viz.picture import Picture
from viz.reports import FigurePart, Report, Section, Table, Text, code, plain, write_report
from viz.reports.inline_svg import inline_svg
from viz.reports.markdown import markdown_html
from viz.text import visible

HOSTILE = "<script>alert(1)</script> <img src=x onerror=y> **b** [a](javascript:z) ` | \\ &lt; \x00"
DOT = Picture('digraph circuit {\n\tgraph [layout=neato]\n\ta [label="<b>&x" pos="0,0" tooltip="<script>"]\n}\n')

SETTINGS, INPUTS = {"quick": True, "transcoders": ["clt", "plt"]}, {"model/model.safetensors": "0a" * 32}


class Page(HTMLParser):
    """Elements, their attributes, and the text of a page."""

    def __init__(self, page: str):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def plot() -> Figure:
    with paper_style():
        figure = new_figure()
        figure.subplots().plot([1, 2], [3, 4], label=HOSTILE[:-1])
        figure.legend()
    return figure


def sample() -> Report:
    table = Table(("name | x", "share"), ((HOSTILE, 0.12345), ("a", None), ("b", 1234)), f"Rates of {HOSTILE}")
    parts = (Text(f"Known: {plain(HOSTILE)}, {code(HOSTILE)}, <bos>"), table)
    figures = (FigurePart("plot", plot, "A plot"), FigurePart("again", plot, "Twice"), FigurePart("dot", DOT, HOSTILE))
    return Report(f"About {HOSTILE}", f"In short {plain(HOSTILE)}", (Section("One", parts), Section(HOSTILE, figures)))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("study")
    with StudyFolder.open(place, "sample", SETTINGS, INPUTS) as folder:
        folder.write_json("results.json", {"share": 0.12345})
        folder.write_text("interventions.json", "{}")
        files = write_report(sample(), folder, "orrery study sample --output FOLDER")
    names = ["figures/again.pdf", "figures/again.svg", "figures/dot.pdf", "figures/dot.svg", "figures/plot.pdf"]
    found = sorted(str(path.relative_to(place)) for path in files)
    assert found == [*names, "figures/plot.svg", "report.html", "report.md"]
    return place


@pytest.fixture(scope="module")
def page(written: Path) -> Page:
    return Page((written / "report.html").read_text())


def test_text_of_strangers_stays_text(page: Page) -> None:
    assert {tag for tag, _ in page.elements} & {"script", "img", "iframe", "object", "form", "b"} == {"b"}
    assert [attrs for _, attrs in page.elements if any(name.startswith("on") for name in attrs)] == []
    shown = visible(HOSTILE)
    # the title twice, summary, text twice, cell, caption, heading twice, two legends, caption of the figure
    assert page.text.count(shown) == 10
    assert page.text.count(visible(HOSTILE[:-1])) == 12
    assert "<bos>" in page.text


def test_the_page_needs_nothing_from_outside(page: Page) -> None:
    policy = [attrs["content"] for tag, attrs in page.elements if attrs.get("http-equiv") == "Content-Security-Policy"]
    assert policy == [
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
    ]
    links = [attrs[name] or "" for _, attrs in page.elements for name in ("href", "src") if name in attrs]
    assert len(links) > 10
    assert [link for link in links if not link.startswith(("#", "data:"))] == []


def test_ids_are_unique_and_every_reference_has_one(written: Path, page: Page) -> None:
    ids = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    assert len(ids) == len(set(ids)) > 30
    text = (written / "report.html").read_text()
    references = set(re.findall(r'(?:href="|url\()#([^")]+)', text))
    assert len(references) > 10
    assert references <= set(ids)


def test_markdown_holds_the_same_and_no_html(written: Path) -> None:
    text = (written / "report.md").read_text()
    tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse(text)
    inline = [child for token in tokens for child in token.children or ()]
    assert [token.type for token in [*tokens, *inline] if "html" in token.type] == []
    assert [child.attrs["href"] for child in inline if child.type == "link_open"] == []
    images = [child.attrs["src"] for child in inline if child.type == "image"]
    assert images == ["figures/plot.svg", "figures/again.svg", "figures/dot.svg"]
    assert all((written / str(image)).is_file() for image in images)
    cells = [child.content for child in inline]
    assert {"0.123", "–", "1,234"} <= set(cells)
    headings = [tokens[i + 1] for i, token in enumerate(tokens) if token.type == "heading_open"]
    assert ["".join(child.content for child in token.children or ()) for token in headings] == [
        f"About {visible(HOSTILE)}",
        "One",
        visible(HOSTILE),
        "How this was made",
    ]


def test_equal_reports_are_equal_bytes(written: Path, tmp_path: Path) -> None:
    with StudyFolder.open(tmp_path, "sample", SETTINGS, INPUTS) as folder:
        folder.write_json("results.json", {"share": 0.12345})
        folder.write_text("interventions.json", "{}")
        for path in write_report(sample(), folder, "orrery study sample --output FOLDER"):
            assert path.read_bytes() == (written / path.relative_to(tmp_path)).read_bytes(), path.name


def test_the_last_section_says_what_it_was_made_with(written: Path, page: Page) -> None:
    hashes = {"0a" * 32, code_hash(), sha256(written / "results.json"), sha256(written / "interventions.json")}
    for text in (page.text, (written / "report.md").read_text()):
        assert {value for value in hashes if value in text} == hashes
        assert "orrery study sample --output FOLDER" in text
        assert "orrery replay FOLDER/interventions.json" in text
        assert "clt, plt" in text
    assert sum(attrs.get("class") == "hash" for tag, attrs in page.elements if tag == "td") == len(hashes)


def test_many_graphs_have_one_hash_that_sha256sum_gives(tmp_path: Path) -> None:
    with StudyFolder.open(tmp_path, "sample", {}, {}) as folder:
        for i in range(20):
            folder.write_text(f"graphs/{'aB'[i % 2]}-{i}.safetensors", str(i))
        write_report(Report("T", "S", ()), folder)
    command = "LC_ALL=C; export LC_ALL; sha256sum graphs/*.safetensors | sha256sum"
    done = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split()[0] in (tmp_path / "report.md").read_text()


def test_without_graphviz_the_source_is_written_and_the_report_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    report = Report("T", "S", (Section("One", (FigurePart("dot", DOT, "A graph"),)),))
    with StudyFolder.open(tmp_path / "study", "sample", {}, {}) as folder:
        files = write_report(report, folder)
    assert [path.name for path in files] == ["report.md", "report.html", "dot.dot"]
    assert all("Not drawn, since Graphviz was not installed" in path.read_text() for path in files[:2])


def test_two_figures_of_one_name_are_refused(tmp_path: Path) -> None:
    twice = (FigurePart("one", plot, ""), FigurePart("one", plot, ""))
    with (
        StudyFolder.open(tmp_path, "sample", {}, {}) as folder,
        pytest.raises(InputError, match="two figures are named 'one'"),
    ):
        write_report(Report("T", "S", (Section("A", twice),)), folder)
    assert not (tmp_path / "report.md").exists()


def test_a_row_of_another_length_is_refused() -> None:
    with pytest.raises(InputError, match="expected 2 cells"):
        Table(("a", "b"), (("x",),), "")


@given(st.text(max_size=40))
@example("1. a")
@example("- a")
@example("# a")
@example("---")
@example("===")
@example("> a")
@example("&amp;")
@example("a_b_ *c* ~~d~~ <http://x> `e`\\")
def test_plain_text_is_shown_as_it_is(text: str) -> None:
    shown = visible(re.sub(r"\s+", " ", text))
    html = MarkdownIt("commonmark", {"html": True}).enable("table").render(plain(text))
    assert Page(html).text.strip() == shown.strip()
    assert {tag for tag, _ in Page(html).elements} <= {"p"}
    assert Page(markdown_html(f"x {plain(text)} y")).text.split() == f"x {shown} y".split()


@given(st.text(max_size=40))
@example("``")
@example(" a ")
@example("<b>")
def test_code_is_shown_as_it_is(text: str) -> None:
    found = Page(markdown_html(f"x {code(text)} y"))
    assert found.text.strip() == f"x {visible(text) or ' '} y".replace("\n", " ") or not text.strip()
    assert [tag for tag, _ in found.elements] == ["p", "code"]


def test_links_that_run_code_are_text_and_images_are_left_out() -> None:
    html = markdown_html("[a](javascript:b) [c](data:text/html,d) ![e](https://f/g.png) <i>h</i>")
    assert {tag for tag, _ in Page(html).elements} == {"p", "a"}
    assert [attrs["href"] for tag, attrs in Page(html).elements if tag == "a"] == ["https://f/g.png"]


def svg(body: str) -> bytes:
    names = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return f"<svg {names} onload='x()'>{body}</svg>".encode()


def test_what_an_inline_picture_keeps() -> None:
    body = (
        '<defs><clipPath id="c"/></defs><g clip-path="url(#c)" style="fill: url(#c)" onclick="y()"/>'
        '<use xlink:href="#c"/><a xlink:href="https://a" xlink:title="t"><title>&lt;b&gt;</title></a>'
        '<image href="https://b/c.png"/><image xlink:href="data:image/png;base64,AA=="/>'
    )
    text = inline_svg(svg(body), "p-", 'what "it" shows')
    root = ET.fromstring(text)
    assert root.attrib == {"id": "p-svg", "role": "img", "aria-label": 'what "it" shows'}
    assert [one.attrib for one in root.iter() if one is not root] == [
        {},
        {"id": "p-c"},
        {"clip-path": "url(#p-c)", "style": "fill: url(#p-c)"},
        {"href": "#p-c"},
        {},
        {},
        {},
        {"href": "data:image/png;base64,AA=="},
    ]


@pytest.mark.parametrize(
    ("given_svg", "message"),
    [
        (svg("<script>x</script>"), "got 'script'"),
        (svg("<foreignObject/>"), "got 'foreignObject'"),
        (svg("<style>body {display: none}</style>"), "expected one style rule"),
        (svg("<style>* {} body {}</style>"), "expected one style rule"),
        (b"<html/>", "got an XML file of html"),
        (b"<svg", "expected an SVG"),
    ],
)
def test_other_pictures_are_refused(given_svg: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        inline_svg(given_svg, "p-", "")
