"""The report of the multi-step study."""

import re
from collections.abc import Iterator
from functools import partial

from circuits.graph_file import load_circuit
from circuits.studies.folder import StudyFolder
from circuits.studies.multi_step.examples import Example
from circuits.studies.multi_step.results import ExperimentResult
from circuits.studies.multi_step.study import MultiStepResult
from circuits.supernodes.grouped import group
from circuits.supernodes.grouping import Group, Grouping
from viz.dot import graphviz
from viz.picture import Picture
from viz.reports.markdown import plain
from viz.reports.multi_step.figures import contents_figure, outer_groups, rate_rows, rates_figure, sizes_figure
from viz.reports.multi_step.tables import (
    choices_table,
    contents_table,
    examples_table,
    rates_table,
    readings_table,
    sizes_table,
)
from viz.reports.multi_step.texts import CLAIMS, HEADINGS, LIMITS, METHOD, QUESTIONS
from viz.reports.report import FigurePart, Report, Section, Table, Text

__all__ = ["report", "summary"]

PICTURES_PER_TABLE = 1
PICTURED = ("cities", "meanings")
RATES = (
    "Rates with 95% intervals over independent groups of prompts. Filled: the swap; hollow: as many random features "
    "that write as much. Dotted: 0.5."
)
RANKED = (
    "Each size has strengths of its own. Ranked by influence in graphs, a feature counts by what it does for the "
    "answer; ranked by activation, by how active it is."
)
BOXES = "Boxes with a heavy border are the supernodes that were found on other prompts."
CONTENTS = (
    "What explains most of the variance of a feature's activation over sums, if it is at least a half; features weigh "
    "by their influence on the sum in graphs."
)
QUICK = "**A quick look at a few prompts: its numbers mean nothing.** "


def report(result: MultiStepResult, folder: StudyFolder) -> Report:
    """The report of a study whose graphs are in `folder`."""
    tables = dict.fromkeys(one.table for one in result.experiments)
    sections = [
        Section("How it was done", (Text(METHOD),)),
        *(Section(HEADINGS.get(table, table), tuple(_parts(result, table, folder))) for table in tables),
        Section("Examples", (examples_table(result),)),
        Section("What was chosen, on what", (choices_table(result),)),
        Section("Limits", (Text(LIMITS),)),
    ]
    return Report("Does the model reason in steps?", summary(result), tuple(sections))


def summary(result: MultiStepResult) -> str:
    """What was found, in plain words, as Markdown."""
    lines = [f"- {line}" for line in _claims(result)]
    return (QUICK if result.quick else "") + "\n".join(
        [
            "Features were found through attribution graphs, and swapped on prompts that nothing was chosen on.",
            "In brackets: the transcoder, the 95% interval, and how often random features do the same.",
            "",
            *lines,
        ]
    )


def _claims(result: MultiStepResult) -> Iterator[str]:
    """One line for each claim, with the rates of all transcoders."""
    found: dict[tuple[str, str], list[ExperimentResult]] = {}
    for one in result.experiments:
        for name in outer_groups(one):
            found.setdefault((one.experiment.name, name), []).append(one)
    for (experiment, name), results in found.items():
        where = f", {plain(results[0].claimed_hop)}" + ("" if name == "all" else f" ({plain(name)})")
        claim = CLAIMS.get(experiment, "changes what it should")
        yield f"**{plain(experiment)}**{where}: {claim} in {', '.join(_rate(one, name) for one in results)}"


def _rate(one: ExperimentResult, group_name: str) -> str:
    best, control = (one.arm("swap", one.claimed_hop, group_name, control=control).success for control in (False, True))
    details = f"{plain(one.transcoder)}: {best.low:.0%} to {best.high:.0%}; random features {control.value:.0%}"
    return f"**{best.value:.0%}** of {best.n} swaps ({details})"


def _parts(result: MultiStepResult, table: str, folder: StudyFolder) -> Iterator[Text | Table | FigurePart]:
    results = [one for one in result.experiments if one.table == table]
    file_name = re.sub(r"[^A-Za-z0-9]+", "-", table).strip("-")[:60] or "table"
    if table in QUESTIONS:
        yield Text(QUESTIONS[table])
    yield FigurePart(
        f"{file_name}-rates",
        partial(rates_figure, rate_rows(results)),
        RATES,
    )
    yield rates_table(results)
    compared = [one for one in results if one.experiment.compares_methods]
    if compared:
        first, where = compared[0].experiment, outer_groups(compared[0])[0]
        what = f"Swaps of {first.name} at the {next(iter(first.hops))}, group {where}, by number of features. {RANKED}"
        yield FigurePart(f"{file_name}-sizes", partial(sizes_figure, compared, where), what)
        yield sizes_table(compared)
    yield readings_table(results)
    if table == "addition" and any(result.contents.values()):
        yield FigurePart("addition-contents", partial(contents_figure, result.contents), CONTENTS)
        yield contents_table(result)
    shown = [one for one in result.examples if one.table == table][:PICTURES_PER_TABLE]
    for number, one in enumerate(shown if table in PICTURED else ()):
        yield FigurePart(
            f"{file_name}-graph-{number + 1}",
            partial(_picture, folder, one),
            f"The pruned graph of a withheld prompt ({one.transcoder}). {BOXES}",
        )


def _picture(folder: StudyFolder, example: Example) -> Picture:
    circuit = load_circuit(folder.path / example.graph)
    graph = circuit.graph
    node = {(layer, pos, idx): k for k, (layer, pos, idx) in enumerate(graph.features.tolist())}
    groups = []
    for label, features in example.supernodes:
        kept = [node[one] for one in features if circuit.node_mask[node[one]]]
        if kept:
            groups.append(Group(label, tuple(kept)))
    return graphviz(group(circuit, Grouping(tuple(groups))), max_nodes=14, max_edges=30)
