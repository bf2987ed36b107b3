"""The report of the hallucination study."""

from collections.abc import Callable, Iterator
from functools import partial

from circuits.graph_file import load_circuit
from circuits.studies.folder import StudyFolder
from circuits.studies.hallucination.examples import Example
from circuits.studies.hallucination.prediction import BEST_SINGLE, POPULATIONS, Prediction
from circuits.studies.hallucination.predictors import BASELINE, ERRORS_ALONE, PRIMARY, WITHOUT_ERRORS
from circuits.studies.hallucination.reading import OUTCOMES
from circuits.studies.hallucination.steering import TESTS, Steered
from circuits.studies.hallucination.study import HallucinationResult, TranscoderResult
from circuits.studies.statistics import Estimate
from circuits.supernodes.grouped import group
from circuits.supernodes.grouping import Group, Grouping
from viz.dot import graphviz
from viz.picture import Picture
from viz.reports.hallucination import figures, tables
from viz.reports.hallucination.texts import DEFAULT, LIMITS, METHOD, PREDICTION, SEPARATION, STEERING, TITLE
from viz.reports.markdown import plain
from viz.reports.parts import FigurePart, Part, Report, Section, Text

__all__ = ["report", "summary"]

QUICK = "**A quick look at a few prompts: its numbers mean little.** "
UNEVEN = 0.2
"""A rate that differs more than this between kinds of prompts is given for each."""
LED = (PRIMARY, BEST_SINGLE, WITHOUT_ERRORS, ERRORS_ALONE)


def report(result: HallucinationResult, folder: StudyFolder) -> Report:
    """The report of a study whose graphs are in `folder`."""
    first = result.transcoders[0]
    graphs = [_graph(folder, first.name, number, one) for number, one in enumerate(first.examples, 1)]
    shown = tables.shown_table(result)
    sections = [
        Section("How it was done", (Text(METHOD), tables.counts_table(first))),
        Section("What declining is made of", tuple(_each(result, DEFAULT, _default))),
        Section("Three graphs", tuple(graphs)),
        Section(
            "Which features tell known, declined and invented apart", tuple(_each(result, SEPARATION, _separation))
        ),
        Section("Suppressed and amplified", tuple(_steering(result))),
        Section(
            "Can the graph tell a wrong answer before it is checked?", tuple(_each(result, PREDICTION, _prediction))
        ),
        Section("Examples", (shown,)),
        Section("What this does not show", (Text(LIMITS),)),
    ]
    kept = tuple(one for one in sections if one.parts and (one.parts != (shown,) or shown.rows))
    return Report(TITLE, summary(result), kept)


def _graph(folder: StudyFolder, name: str, number: int, one: Example) -> FigurePart:
    says = f"“{one.prompt}” gives “{one.answer}”, {one.probability:.2f}"
    caption = f"{one.outcome.capitalize()} ({name}): {says}. Boxes with a heavy border are the supernodes."
    return FigurePart(f"graph-{number}", partial(_picture, folder, one), caption)


def _each(
    result: HallucinationResult, text: str, parts: Callable[[TranscoderResult], Iterator[Part]]
) -> Iterator[Part]:
    yield Text(text)
    for one in result.transcoders:
        yield from parts(one)


def _default(result: TranscoderResult) -> Iterator[Part]:
    yield tables.supernode_table(result)
    yield FigurePart(
        f"inputs-{result.name}",
        partial(figures.inputs_figure, result),
        f"What switches the “unknown” features on and off ({result.name}); direct effects, means over scored prompts.",
    )
    yield tables.inputs_table(result)


def _separation(result: TranscoderResult) -> Iterator[Part]:
    yield FigurePart(
        f"activation-{result.name}",
        partial(figures.activations_figure, result),
        f"The strongest “unknown” feature on scored prompts ({result.name}): share of prompts below each activation.",
    )
    yield FigurePart(
        f"separation-{result.name}",
        partial(figures.separation_figure, result),
        f"The best feature per layer and place ({result.name}), with 95% intervals over groups.",
    )
    yield tables.separation_table(result)


def _steering(result: HallucinationResult) -> Iterator[Part]:
    yield Text(STEERING)
    yield FigurePart(
        "rates",
        partial(figures.rates_figure, result.transcoders),
        "Rates on scored prompts with 95% intervals over groups. Filled: the supernode; hollow: random features.",
    )
    yield tables.steering_table(result.transcoders)
    subsets = tables.subsets_table(result.transcoders)
    if subsets.rows:
        yield subsets
    yield tables.strengths_table(result.transcoders)


def _prediction(result: TranscoderResult) -> Iterator[Part]:
    yield FigurePart(
        f"roc-{result.name}",
        partial(figures.curves_figure, result),
        f"Wrong answers told from right ones ({result.name}): AUROC, with 95% intervals over groups.",
    )
    for population in POPULATIONS:
        yield tables.prediction_table(result, population)
        yield tables.leading_table(result, population, LED)


def summary(result: HallucinationResult) -> str:
    """What was found, in plain words, as Markdown."""
    lines = [f"- {line}" for part in result.transcoders for line in _claims(part)]
    head = f"{result.n_prompts} prompts about known and unknown entities, of {result.n_groups} groups."
    return (QUICK if result.quick else "") + "\n".join([head, "", *lines])


def _claims(result: TranscoderResult) -> Iterator[str]:
    name = plain(result.name)
    yield f"**On by default** ({name}): {_default_claim(result)}"
    expected = {test.name: test.expected for test in TESTS}
    for one in result.steering:
        yield (
            f"**{one.test.capitalize()}** ({name}): the model {expected[one.test]} in **{one.rate.text}** of "
            f"{one.rate.n} prompts, with random features in {one.control.text}{_by_subset(one)}."
        )
    for found in result.prediction:
        if found.name == PRIMARY:
            yield f"**Wrong answers from the graph, {found.population} prompts** ({name}): {_verdict(found, result)}"


def _by_subset(steered: Steered) -> str:
    """Where it depends on the kind of prompt, the rate of each."""
    rates = [rate.value for rate in steered.by_subset.values()]
    if not rates or max(rates) - min(rates) < UNEVEN:
        return ""
    each = ", ".join(f"{plain(name)} {rate.value:.2f}" for name, rate in steered.by_subset.items())
    return f"; by kind of prompt: {each}"


def _default_claim(result: TranscoderResult) -> str:
    on = [one.active.get(OUTCOMES[0]) for one in result.supernode]
    shares = ", ".join("unknown" if share is None else f"{share:.0%}" for share in on)
    found = {(row["feature"], row["outcome"]): row["parts"]["features at the entity"] for row in result.inputs}
    lowered = [
        f"{label} {value:+.2f}"
        for outcome, label in ((OUTCOMES[0], "known"), (OUTCOMES[3], "invented"), (OUTCOMES[2], "declined"))
        if (value := found.get((result.supernode[0].name, outcome))) is not None
    ]
    return (
        f"the {len(result.supernode)} features that say “unknown” are on for known entities too ({shares} of prompts); "
        f"features at the entity change the strongest by {', '.join(lowered)}."
    )


def _verdict(one: Prediction, result: TranscoderResult) -> str:
    above = one.above
    if above is None:
        return f"AUROC {one.auroc.text}."
    entropy = next(each for each in result.prediction if (each.population, each.name) == (one.population, BASELINE))
    line = (
        f"AUROC of its structure {one.auroc.text}, of the output's entropy {entropy.auroc.text}; "
        f"{_answer(above)} the baseline, by {_signed(above)}"
    )
    if one.above_answered is None:
        return f"{line}."
    return f"{line}, and by {_signed(one.above_answered)} above knowing only that the model answered."


def _answer(above: Estimate) -> str:
    if above.low > 0:
        return "**yes**, above"
    return "**no**, below" if above.high < 0 else "**not shown to be** above"


def _signed(one: Estimate) -> str:
    return f"{one.value:+.3f} ({one.low:+.3f} to {one.high:+.3f})"


def _picture(folder: StudyFolder, example: Example) -> Picture:
    circuit = load_circuit(folder.path / example.graph)
    node = {place: k for k, place in enumerate(map(tuple, circuit.graph.features.tolist()))}
    groups = []
    for label, places in example.supernodes:
        kept = tuple(node[place] for place in places if place in node and circuit.node_mask[node[place]])
        if kept:
            groups.append(Group(label, kept))
    return graphviz(group(circuit, Grouping(tuple(groups))), max_nodes=16, max_edges=32)
