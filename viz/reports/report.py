"""Writing a report into its study's folder: report.md, report.html, and each figure as SVG and PDF."""

from dataclasses import replace
from pathlib import Path

from matplotlib.figure import Figure

from circuits.studies.folder import StudyFolder
from replacement_model.errors import InputError, MissingDependencyError
from viz.figures import figure_bytes
from viz.picture import Picture
from viz.reports.html import report_html
from viz.reports.markdown import report_markdown
from viz.reports.parts import Cell, Drawing, FigurePart, Report, Section, Table, Text
from viz.reports.provenance import provenance

__all__ = ["Cell", "FigurePart", "Report", "Section", "Table", "Text", "write_report"]

FORMATS = ("svg", "pdf")


def write_report(report: Report, folder: StudyFolder, command: str | None = None) -> tuple[Path, ...]:
    """Write the report and its figures; equal bytes for an equal report.

    A last section says what it was made with: write `results.json` and all else that it should name before.
    Without Graphviz, its pictures are written as DOT sources, and the report says so.

    Args:
        report: the report.
        folder: the study's.
        command: by which somebody else makes the study in a `FOLDER`.

    Returns:
        The files: report.md and report.html first.

    Raises:
        InputError: two figures have one name, or a file cannot be written.
    """
    report = replace(report, sections=(*report.sections, provenance(folder, command)))
    figures = [part for section in report.sections for part in section.parts if isinstance(part, FigurePart)]
    names = [figure.name for figure in figures]
    twice = sorted(name for name in set(names) if names.count(name) > 1)
    if twice:
        raise InputError(f"two figures are named {twice[0]!r}; give each its own name, as it is that of its files")
    contents = {figure.name: _drawn(figure) for figure in figures}
    markdown = report_markdown(report, {name: "svg" in files for name, files in contents.items()})
    html = report_html(report, {name: files.get("svg") for name, files in contents.items()})
    written = [
        folder.write_bytes(f"figures/{name}.{ending}", data)
        for name, files in contents.items()
        for ending, data in files.items()
    ]
    return (folder.write_text("report.md", markdown), folder.write_text("report.html", html), *written)


def _drawn(part: FigurePart) -> dict[str, bytes]:
    """The figure's files by their endings."""
    drawing: Drawing = part.draw if isinstance(part.draw, Picture) else part.draw()
    if isinstance(drawing, Figure):
        return {name: figure_bytes(drawing, name) for name in FORMATS}
    try:
        return {name: drawing.pipe(name) for name in FORMATS}
    except MissingDependencyError:
        return {"dot": drawing.pipe("dot")}
