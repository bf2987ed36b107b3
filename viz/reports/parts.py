"""What a report is made of: titles and captions are plain text, `Text` and the summary are Markdown without HTML."""

from collections.abc import Callable
from dataclasses import dataclass

from matplotlib.figure import Figure

from replacement_model.errors import InputError
from viz.picture import Picture

__all__ = ["Cell", "Drawing", "FigurePart", "Part", "Report", "Section", "Table", "Text", "cell_text"]

Cell = str | int | float | None
Drawing = Figure | Picture


@dataclass(frozen=True, slots=True)
class Text:
    """Markdown (CommonMark and tables). What comes from users or tokens goes through `plain` or `code` first."""

    markdown: str


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of plain text and numbers; floats are shown with three digits, None as a dash.

    Raises:
        InputError: a row has another length than the columns.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise InputError(f"expected {len(self.columns)} cells for {self.columns}, got {row}")


@dataclass(frozen=True, slots=True)
class FigurePart:
    """A figure, drawn when the report is written: Matplotlib's (of `viz.figures.new_figure`), or one of Graphviz.

    Attributes:
        name: of its files, `figures/NAME.svg` and `figures/NAME.pdf`.
        draw: gives the figure.
        caption: what it shows, of how many cases, with which settings.
    """

    name: str
    draw: Callable[[], Drawing] | Picture
    caption: str


Part = Text | Table | FigurePart


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and what is below it, in order."""

    heading: str
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """A report.

    Attributes:
        summary: what was found, in plain words for somebody who has not read the rest; Markdown.
    """

    title: str
    summary: str
    sections: tuple[Section, ...]


def cell_text(cell: Cell) -> str:
    """A cell as people read it."""
    if cell is None:
        return "–"
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, float):
        return f"{cell:.3g}"
    return f"{cell:,}" if isinstance(cell, int) else cell
