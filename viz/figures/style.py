"""How plots for papers look, and how they are written: one place for sizes, fonts, colours and equal bytes.

Matplotlib's object-oriented interface only: no pyplot, and `rcParams` are as they were after every call.

Text stays text: SVG keeps characters (they can be searched, read aloud and edited), PDF embeds the TrueType font
(type 42, as journals ask). An SVG names families that are drawn to one measure, Arial, Helvetica and Liberation Sans or
Times New Roman, Times and Liberation Serif, so that a viewer with any of them sets the lines as they were planned, and
each line carries its length, to which browsers fit any other font: nothing is clipped where the font is absent.
"""

import io
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

import matplotlib as mpl
from cycler import cycler
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font
from matplotlib.textpath import TextPath
from matplotlib.typing import RcKeyType

from replacement_model.errors import InputError
from viz.files import write_files

__all__ = [
    "COLUMN",
    "HATCHES",
    "MARKERS",
    "NEGATIVE",
    "POSITIVE",
    "SERIES",
    "TEXT",
    "Font",
    "PaperFigure",
    "figure_bytes",
    "new_figure",
    "paper_style",
    "plain",
    "portable_svg",
    "save_figure",
]

Font = Literal["sans", "serif"]
COLUMN = 3.25  # inches: one of two columns (ICML; IEEE has 3.5, ACL 3.03)
TEXT = 6.75  # inches: both columns and the gap between them (ICML; IEEE has 7.16, NeurIPS' one column 5.5)
RATIO = 0.62
SMALLEST = 6.0  # points; nothing here is set smaller
PNG_DPI = 300

# Told apart by people who see few colours and, lighter by a step each, in grey-scale print (Tol's high-contrast set).
# Use a marker, a dash or a hatch besides: the cycle of lines does, and bars take `HATCHES`.
SERIES = ("#004488", "#BB5566", "#DDAA33", "#000000", "#BBCCEE")
MARKERS = ("o", "s", "^", "D", "v")
DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1)), (0, (5, 1.2, 1.2, 1.2)), (0, (8, 2)))
HATCHES = ("", "////", "....", "xxxx", "\\\\\\\\")
POSITIVE, NEGATIVE = "#0072B2", "#D55E00"  # as in the pictures of graphs; there dashes tell them apart, here a hatch
INK, GREY = "#222222", "#666666"

# The first that is installed is drawn; all are TrueType, which a PDF holds as it is. The last comes with Matplotlib.
FAMILIES: Mapping[Font, tuple[str, ...]] = {
    "sans": ("Arial", "Liberation Sans", "Arimo", "DejaVu Sans"),
    "serif": ("Times New Roman", "Liberation Serif", "Tinos", "STIXGeneral", "DejaVu Sans"),
}
# What an SVG asks for.
SVG_FAMILIES: Mapping[Font, str] = {
    "sans": "Arial, Helvetica, 'Liberation Sans', 'Nimbus Sans', Arimo, sans-serif",
    "serif": "'Times New Roman', Times, 'Liberation Serif', 'Nimbus Roman', Tinos, serif",
}
NO_DATES: Mapping[str, dict[str, None]] = {
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "png": {"Software": None},
}
SVG_NAMESPACE = "http://www.w3.org/2000/svg"


class PaperFigure(Figure):
    """A figure that knows the font that it is drawn with."""

    font: Font = "sans"


@contextmanager
def paper_style(font: Font = "sans") -> Iterator[None]:
    """Matplotlib's settings for a paper, while the block runs; build and change figures in it.

    Args:
        font: `sans` (Arial's measure) or `serif` (that of Times).

    Raises:
        InputError: another font.

    Example:
        with paper_style("serif"):
            figure = new_figure(COLUMN)
            figure.subplots().plot(counts, scores)
        save_figure(figure, Path("scores.pdf"))
    """
    with mpl.rc_context(_settings(font)):
        yield


def new_figure(width: float = COLUMN, height: float | None = None) -> PaperFigure:
    """An empty figure in the font of the `paper_style` around it, laid out so that labels have room.

    Args:
        width: inches: `COLUMN`, `TEXT`, or what the paper's class says.
        height: inches; 0.62 of the width when None.

    Raises:
        InputError: a size of zero or less.
    """
    height = RATIO * width if height is None else height
    if not (width > 0 and height > 0):
        raise InputError(f"expected a figure with a width and height above 0 inches, got {width:g} by {height:g}")
    figure = PaperFigure(figsize=(width, height), layout="constrained")
    figure.font = "serif" if tuple(mpl.rcParams["font.family"]) == installed("serif") else "sans"
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure; the ending of `path` is the format: `.svg`, `.pdf` or `.png` (300 dpi).

    The file appears whole or not at all, and is equal, byte for byte, for equal figures.

    Raises:
        InputError: another ending, or the file cannot be written.
    """
    write_files({path: figure_bytes(figure, path.suffix.removeprefix(".").lower())})


def figure_bytes(figure: Figure, file_format: str) -> bytes:
    """What `save_figure` writes; `file_format` is `svg`, `pdf` or `png`.

    Raises:
        InputError: another format.
    """
    if file_format not in NO_DATES:
        raise InputError(f"expected a plot in one of {', '.join(NO_DATES)}, got {file_format!r}; choose one of them")
    font: Font = figure.font if isinstance(figure, PaperFigure) else "sans"
    buffer = io.BytesIO()
    with paper_style(font):  # ticks are made when they are drawn, with the settings of that moment
        figure.savefig(buffer, format=file_format, dpi=PNG_DPI, metadata=NO_DATES[file_format])
    return portable_svg(buffer.getvalue(), font) if file_format == "svg" else buffer.getvalue()


def plain(text: str, font: Font = "sans") -> str:
    """Text that Matplotlib draws as it is, for labels that others wrote.

    Dollar signs start no formula, and a character that no font here has is written as its code point.
    """
    known = _characters(font)
    return "".join(c if ord(c) in known else f"U+{ord(c):04X}" for c in text).replace("$", r"\$")


@cache
def _characters(font: Font) -> frozenset[int]:
    paths = (findfont(FontProperties(family=name)) for name in installed(font))
    return frozenset().union(*(get_font(path).get_charmap() for path in paths))


@cache
def installed(font: Font) -> tuple[str, ...]:
    """The families of `font` that are on this machine, best first; the rest stands in for missing characters."""
    names = {entry.name for entry in fontManager.ttflist}
    return tuple(name for name in FAMILIES[font] if name in names)


def _settings(font: Font) -> dict[RcKeyType, Any]:
    if font not in get_args(Font):
        raise InputError(f"expected the font {' or '.join(get_args(Font))}, got {font!r}; choose one of them")
    lines = cycler(color=SERIES) + cycler(linestyle=DASHES) + cycler(marker=MARKERS)
    return {
        "font.family": list(installed(font)),
        "font.size": 8.0,
        "mathtext.fontset": "stix" if font == "serif" else "dejavusans",
        "axes.titlesize": 8.0,
        "axes.labelsize": 8.0,
        "xtick.labelsize": 7.0,
        "ytick.labelsize": 7.0,
        "legend.fontsize": 7.0,
        "legend.frameon": False,
        "legend.handlelength": 2.4,
        "text.color": INK,
        "axes.labelcolor": INK,
        "axes.edgecolor": GREY,
        "xtick.color": INK,
        "ytick.color": INK,
        "axes.linewidth": 0.6,
        "xtick.major.width": 0.6,
        "ytick.major.width": 0.6,
        "xtick.major.size": 2.5,
        "ytick.major.size": 2.5,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.prop_cycle": lines,
        "axes.unicode_minus": True,
        "lines.linewidth": 1.1,
        "lines.markersize": 3.0,
        "patch.linewidth": 0.6,
        "hatch.linewidth": 0.5,
        "grid.linewidth": 0.4,
        "grid.color": "#DDDDDD",
        "image.cmap": "cividis",
        "figure.facecolor": "white",
        "savefig.facecolor": "white",
        "savefig.bbox": None,  # a figure is as wide as was asked for
        "figure.dpi": 100.0,
        "svg.fonttype": "none",
        "svg.hashsalt": "orrery",
        "pdf.fonttype": 42,
        "path.simplify": True,
    }


def portable_svg(svg: bytes, font: Font) -> bytes:
    """An SVG of Matplotlib or Graphviz whose text names fonts of many systems and says how long each line is."""
    return re.sub(r"<text ([^>]*)>([^<]+)</text>", lambda found: _portable_text(found, font), svg.decode()).encode()


def _portable_text(found: re.Match[str], font: Font) -> str:
    attributes, content = found[1], found[2]
    size = re.search(r"(?:font(?:-size)?:[^;\"]*?|font-size=\")([\d.]+)", attributes)
    text = ET.fromstring(f"<t>{content}</t>").text or ""
    if size is None or not text.strip():
        return found[0]
    bold = re.search(r"\b(bold|[67]00)\b", attributes) is not None
    length = _length(text.replace("\u00a0", " "), float(size[1]), font, bold, "italic" in attributes)
    attributes = re.sub(r"(font(?:-family)?:[^;\"]*?)'[^;\"]*(?=[;\"])", rf"\1{SVG_FAMILIES[font]}", attributes)
    attributes = re.sub(r'font-family="[^"]*"', f'font-family="{SVG_FAMILIES[font]}"', attributes)
    return f'<text {attributes} textLength="{length:.2f}" lengthAdjust="spacingAndGlyphs">{content}</text>'


@cache
def _length(text: str, size: float, font: Font, bold: bool, italic: bool) -> float:
    """Advance width in points; between bars, since Matplotlib measures ink alone."""
    weight: Literal["bold", "normal"] = "bold" if bold else "normal"
    style: Literal["italic", "normal"] = "italic" if italic else "normal"
    prop = FontProperties(family=list(installed(font)), weight=weight, style=style, size=size)
    return _ink(f"|{text}|", prop) - _ink("||", prop)


def _ink(text: str, prop: FontProperties) -> float:
    return float(TextPath((0, 0), text, prop=prop, usetex=False).get_extents().width)
