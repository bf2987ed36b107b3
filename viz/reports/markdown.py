"""Markdown in and out: a report as one file for a repository, and text of strangers that stays text."""

import re
from collections.abc import Iterable, Mapping

from markdown_it import MarkdownIt
from markdown_it.token import Token

from viz.reports.parts import Cell, FigurePart, Report, Table, Text, cell_text
from viz.text import visible

__all__ = ["code", "markdown_html", "plain", "report_markdown"]

NUMBER = re.compile(r"[-+−±<>≤≥]?\s?\d[\d.,]*(e[-+]?\d+)?\s?%?(\s?(to|of|±|–|/|\(|\[).*)?")
SPECIAL = re.compile(r"[\\`*_\[\]>|~$]")
BLOCK_START = re.compile(r"^(\d*)([.)#+=-])(?=\s|$|\2)")  # what begins a list, a heading or a rule
CODE = re.compile(
    r"(^(?P<fence>`{3,}|~{3,})[^\n]*\n.*?^(?P=fence)[^\n]*$|(?<!`)(?P<ticks>`+)(?!`).+?(?<!`)(?P=ticks)(?!`))",
    re.M | re.S,
)


def plain(text: str) -> str:
    """Text of a user, a token or a label, for `Text` and summaries: shown as it is, whatever characters it has."""
    escaped = SPECIAL.sub(r"\\\g<0>", _line(text)).replace("&", "&amp;").replace("<", "&lt;")
    return BLOCK_START.sub(r"\1\\\2", escaped)


def code(text: str) -> str:
    """The same as a code span, in which spaces at the ends can be seen."""
    line = _line(text, keep_spaces=True)
    ticks = "`" * (1 + max((len(run) for run in re.findall("`+", line)), default=0))
    padding = " " if line.startswith(("`", " ")) or line.endswith(("`", " ")) or not line else ""
    return f"{ticks}{padding}{line}{padding}{ticks}"


def markdown_html(markdown: str) -> str:
    """Safe HTML: tags are text, images are left out, and links lead only where browsers expect them to."""
    return _reader(html=False).render(markdown)


def report_markdown(report: Report, drawn: Mapping[str, bool]) -> str:
    """The report as Markdown, its figures by relative links.

    Args:
        report: the report.
        drawn: for each figure's name, whether there is an SVG; else there is a DOT source.
    """
    numbers = {"Table": 0, "Figure": 0}
    lines = [f"# {plain(report.title)}", _without_tags(report.summary)]
    for section in report.sections:
        lines.append(f"## {plain(section.heading)}")
        for part in section.parts:
            if isinstance(part, Text):
                lines.append(_without_tags(part.markdown))
                continue
            kind = "Table" if isinstance(part, Table) else "Figure"
            numbers[kind] += 1
            shown = _table(part) if isinstance(part, Table) else _figure(part, numbers[kind], drawn[part.name])
            caption = f"**{kind} {numbers[kind]}.** {plain(part.caption)}"
            lines += [caption, shown] if isinstance(part, Table) else [shown, caption]
    return "\n\n".join(line.strip("\n") for line in lines) + "\n"


def _figure(part: FigurePart, number: int, is_drawn: bool) -> str:
    if is_drawn:
        return f"![Figure {number}](figures/{part.name}.svg)"
    return f"(Not drawn, since Graphviz was not installed: [{part.name}.dot](figures/{part.name}.dot).)"


def _table(table: Table) -> str:
    numeric = [is_numeric(row[i] for row in table.rows) for i in range(len(table.columns))]
    rows = [table.columns, tuple("---:" if right else "---" for right in numeric)]
    texts = [_row(map(plain, table.columns)), _row(rows[1])]
    return "\n".join([*texts, *(_row(plain(cell_text(cell)) for cell in row) for row in table.rows)])


def is_numeric(cells: Iterable[Cell]) -> bool:
    """Whether a column holds numbers, so that it is set to the right."""
    texts = [cell_text(cell) for cell in cells]
    return any(text != "–" for text in texts) and all(text == "–" or NUMBER.fullmatch(text) for text in texts)


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _line(text: str, keep_spaces: bool = False) -> str:
    """One line, in which every character can be seen."""
    return visible(text) if keep_spaces else visible(re.sub(r"\s+", " ", text))


def _without_tags(markdown: str) -> str:
    """The same Markdown for readers that pass HTML on: outside of code, a tag is text."""
    pieces, last = [], 0
    for found in CODE.finditer(markdown):
        pieces += [markdown[last : found.start()].replace("<", "&lt;"), found[0]]
        last = found.end()
    escaped = "".join([*pieces, markdown[last:].replace("<", "&lt;")])
    tags = any(token.type.startswith("html_") for token in _flat(_reader(html=True).parse(escaped)))
    return markdown.replace("<", "&lt;") if tags else escaped


def _flat(tokens: Iterable[Token]) -> Iterable[Token]:
    for token in tokens:
        yield token
        yield from token.children or ()


def _reader(html: bool) -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": html}).enable("table").disable("image")
