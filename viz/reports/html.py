"""A report as one HTML file: no scripts, nothing from outside; light or dark on a screen, numbered pages in print."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from viz.reports.inline_svg import inline_svg
from viz.reports.markdown import is_numeric, markdown_html
from viz.reports.parts import Cell, FigurePart, Part, Report, Table, Text, cell_text
from viz.text import visible

__all__ = ["report_html"]

FOLDER = Path(__file__).parent
SHA256 = re.compile(r"[0-9a-f]{64}")
WIDE = 14  # characters
LONG_INTERVAL = 22
LONG_TABLE = 16  # rows; a longer one may go over to the next page, under its head again


@dataclass(frozen=True, slots=True)
class _Shown:
    """One part for the template: Markdown as HTML, a table, or a figure."""

    kind: str
    content: Markup | None = None
    number: int = 0
    caption: str = ""
    name: str = ""
    table: Table | None = None
    numeric: tuple[bool, ...] = ()
    widths: tuple[int, ...] = ()
    is_long: bool = False


def report_html(report: Report, drawn: Mapping[str, bytes | None]) -> str:
    """The page.

    Args:
        report: the report.
        drawn: for each figure's name its SVG, None if it could not be drawn.

    Raises:
        InputError: an SVG cannot be a part of a page.
    """
    loader = FileSystemLoader(FOLDER)
    pages = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    pages.filters["visible"] = visible
    pages.tests["hash"] = lambda text: SHA256.fullmatch(text) is not None
    numbers = {"table": 0, "figure": 0}
    sections = [
        (visible(section.heading), [_shown(part, drawn, numbers) for part in section.parts])
        for section in report.sections
    ]
    return pages.get_template("report.html").render(
        title=visible(report.title),
        summary=Markup(markdown_html(report.summary)),
        sections=sections,
        style=Markup((FOLDER / "report.css").read_text(encoding="utf-8")),
        cell_text=cell_text,
        pieces=_pieces,
    )


def _shown(part: Part, drawn: Mapping[str, bytes | None], numbers: dict[str, int]) -> _Shown:
    if isinstance(part, Text):
        return _Shown("text", Markup(markdown_html(part.markdown)))
    kind = "table" if isinstance(part, Table) else "figure"
    numbers[kind] += 1
    if isinstance(part, Table):
        numeric = tuple(is_numeric(row[i] for row in part.rows) for i in range(len(part.columns)))
        widths, is_long = tuple(map(_width, zip(*part.rows, strict=True))), len(part.rows) > LONG_TABLE
        return _Shown(
            kind, None, numbers[kind], part.caption, table=part, numeric=numeric, widths=widths, is_long=is_long
        )
    return _figure(part, drawn[part.name], numbers[kind])


def _width(column: tuple[Cell, ...]) -> int:
    """Characters below which a column is not made narrower: up to two words or so."""
    return min(WIDE, max(len(cell_text(cell)) for cell in column))


def _pieces(text: str) -> tuple[str, str]:
    """A number and what follows in brackets, which is kept on one line: `0.87 (0.71 to 0.95)`."""
    number, space, interval = text.partition(" (")
    return (number, f"({interval}") if space and len(interval) < LONG_INTERVAL else (text, "")


def _figure(part: FigurePart, svg: bytes | None, number: int) -> _Shown:
    content = None if svg is None else Markup(inline_svg(svg, f"figure-{number}-", part.caption))
    return _Shown("figure", content, number, part.caption, part.name)
