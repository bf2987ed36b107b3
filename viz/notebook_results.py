"""Results that are no graphs, for a notebook: what was found in words, and a figure where there is one."""

import io
import json
from collections.abc import Callable
from hashlib import sha256
from html import escape
from importlib import import_module
from typing import Any

from matplotlib.figure import Figure
from rich.console import Console, RenderableType

from circuits.faithfulness.check import Checks
from replacement_model.interventions import InterventionResult, ReplayResult, result_table
from viz.faithfulness import check_summary
from viz.figures import figure_bytes, intervention_bars
from viz.figures.check import check_figure
from viz.replayed import replay_table
from viz.reports.inline_svg import inline_svg
from viz.reports.markdown import markdown_html

__all__ = ["plain_text", "result_html", "result_text"]

COLUMNS = 100
MAX_TEXT = 4_000
TABLES: tuple[tuple[type, Callable[[Any], RenderableType]], ...] = (
    (InterventionResult, result_table),
    (ReplayResult, replay_table),
    (Checks, check_summary),
)
STUDIES = {
    ("circuits.studies.hallucination.study", "HallucinationResult"): "viz.reports.hallucination.report",
    ("circuits.studies.multi_step.study", "MultiStepResult"): "viz.reports.multi_step.report",
}
"""Where the summary of a study's result is made; loaded when one is shown."""


def result_html(value: object) -> str:
    """A result as HTML; labels and prompts in it are text, whatever they hold."""
    study = _study_summary(value)
    if study is not None:
        return f"<div>{markdown_html(study)}</div>"
    return f'<div>{_drawing(value)}<pre style="line-height: 1.25">{escape(result_text(value))}</pre></div>'


def result_text(value: object) -> str:
    """A result as plain text: a table, a study's summary, or its plain values as far as they are of a readable size."""
    for kind, draw in TABLES:
        if isinstance(value, kind):
            return plain_text(draw(value))
    study = _study_summary(value)
    if study is not None:
        return study
    to_dict = getattr(value, "to_dict", None)
    if to_dict is None:
        return repr(value)
    facts = json.dumps(to_dict(), indent=2, ensure_ascii=False, default=str)
    rest = f"\n… ({len(facts) - MAX_TEXT:,} more characters, see to_dict())" if len(facts) > MAX_TEXT else ""
    return f"{type(value).__name__}\n{facts[:MAX_TEXT]}{rest}"


def plain_text(content: RenderableType) -> str:
    """What rich would print, without colours."""
    console = Console(file=io.StringIO(), width=COLUMNS, record=True, color_system=None, force_jupyter=False)
    console.print(content)
    return "\n".join(line.rstrip() for line in console.export_text().splitlines())


def _study_summary(value: object) -> str | None:
    place = STUDIES.get((type(value).__module__, type(value).__qualname__))
    return None if place is None else str(import_module(place).summary(value))


def _drawing(value: object) -> str:
    """The tokens whose probability changed most, or what a check found, drawn; nothing of anything else."""
    if isinstance(value, InterventionResult) and (value.raised or value.lowered):
        return _inline(intervention_bars(value), "Probabilities of next tokens before and after the intervention")
    return _inline(check_figure(value), "What the check measured") if isinstance(value, Checks) else ""


def _inline(figure: Figure, description: str) -> str:
    """A figure within a page that may hold others."""
    svg = figure_bytes(figure, "svg")
    return inline_svg(svg, f"f{sha256(svg).hexdigest()[:8]}-", description)
