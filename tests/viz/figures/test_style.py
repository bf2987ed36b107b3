import re
import xml.etree.ElementTree as ET
from itertools import pairwise
from pathlib import Path

import matplotlib as mpl
import pytest

from replacement_model.errors import InputError
from viz.figures.style import (
    COLUMN,
    SERIES,
    SVG_NAMESPACE,
    PaperFigure,
    figure_bytes,
    installed,
    new_figure,
    paper_style,
    save_figure,
)
from viz.text import text_width


def draw(font: str = "sans") -> PaperFigure:
    with paper_style(font):
        figure = new_figure(COLUMN, 1.5)
        axes = figure.subplots()
        axes.plot([1, 2, 3], [0.1, 0.5, 0.9], label="a < b & c")
        axes.set_xlabel("nodes")
        axes.legend()
    return figure


@pytest.mark.parametrize("file_format", ["svg", "pdf", "png"])
def test_equal_figures_are_equal_bytes_without_a_date(file_format: str):
    data = figure_bytes(draw(), file_format)
    assert data == figure_bytes(draw(), file_format)
    assert not re.search(rb"20\d\d-\d\d-\d\d|D:20\d\d|Matplotlib", data)


def test_the_settings_of_others_are_as_they_were():
    before = dict(mpl.rcParams)
    figure_bytes(draw("serif"), "svg")
    assert dict(mpl.rcParams) == before


def test_the_text_of_an_svg_is_text_of_a_stated_length():
    root = ET.fromstring(figure_bytes(draw(), "svg"))
    texts = {text.text: text for text in root.iter(f"{{{SVG_NAMESPACE}}}text")}
    assert {"a < b & c", "nodes", "1.25"} <= set(texts)
    assert float(texts["nodes"].attrib["textLength"]) == pytest.approx(text_width("nodes", 8), rel=0.06)
    assert float(texts["1.25"].attrib["textLength"]) == pytest.approx(text_width("1.25", 7), rel=0.06)
    assert all("Arial, Helvetica" in text.attrib["style"] for text in texts.values())
    assert root.attrib["width"] == f"{72 * COLUMN:g}pt"


def test_serif_is_another_font():
    assert set(installed("serif")[:1]).isdisjoint(installed("sans"))
    assert "Times" in figure_bytes(draw("serif"), "svg").decode()
    assert draw("serif").font == "serif"


def test_a_pdf_holds_true_type():
    data = figure_bytes(draw(), "pdf")
    assert b"/Type3" not in data
    assert b"/CIDFontType2" in data or b"/TrueType" in data


def test_colours_of_series_are_apart_in_grey():
    """Lightness L* of CIE Lab; a step of 8 is plain to see side by side."""
    lightness = sorted(_lightness(colour) for colour in SERIES)
    assert min(b - a for a, b in pairwise(lightness)) > 8


def _lightness(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return 116 * luminance ** (1 / 3) - 16 if luminance > 0.008856 else 903.3 * luminance


def test_a_figure_is_written_whole_or_not_at_all(tmp_path: Path):
    save_figure(draw(), tmp_path / "new" / "plot.svg")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["plot.svg"]
    with pytest.raises(InputError, match="cannot write"):
        save_figure(draw(), tmp_path / "new" / "plot.svg" / "plot.pdf")


@pytest.mark.usefixtures("without_shape_checks")
def test_an_unknown_font():
    with pytest.raises(InputError, match="expected the font sans or serif, got 'comic'"):
        draw("comic")


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (lambda: figure_bytes(draw(), "gif"), "expected a plot in one of svg, pdf, png, got 'gif'"),
        (lambda: new_figure(0), "width and height above 0 inches, got 0 by 0"),
        (lambda: new_figure(3, float("nan")), "got 3 by nan"),
    ],
)
def test_bad_input(act, words: str):
    with pytest.raises(InputError, match=words):
        act()
