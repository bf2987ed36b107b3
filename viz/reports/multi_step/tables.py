"""Tables of the multi-step report."""

from collections.abc import Iterator, Sequence

from circuits.studies.multi_step.results import ArmResult, ExperimentResult
from circuits.studies.multi_step.study import MultiStepResult
from circuits.studies.statistics import Estimate
from viz.reports.parts import Cell, Table

__all__ = ["choices_table", "contents_table", "examples_table", "rates_table", "readings_table", "sizes_table"]


def rates_table(results: Sequence[ExperimentResult]) -> Table:
    """Every arm that was scored."""
    first = ("what", "where", "prompts", "transcoder", "swaps", "succeed", "answer changes")
    columns = (*first, *("random: succeed", "random: changes", "attention held", "all features there"))
    rows: list[tuple[Cell, ...]] = []
    for one in results:
        operations = one.experiment.operations
        for operation in operations:
            for hop in one.experiment.hops:
                for where in one.groups:
                    swap, control, held = (
                        one.arm(operation, hop, where, control=control, held=held)
                        for control, held in ((False, False), (True, False), (False, True))
                    )
                    chosen = " *" if hop == one.main_hop and len(one.experiment.hops) > 1 else ""
                    name = one.experiment.name if operation == "swap" else f"{one.experiment.name}, {operation}"
                    cells: list[Cell] = [name, f"{hop}{chosen}", where, one.transcoder, swap.success.n]
                    cells += [each.text for each in (swap.success, swap.changed, control.success, control.changed)]
                    rows.append((*cells, held.success.text, _patched(one, operation, hop, where)))
    return Table(
        columns,
        tuple(rows),
        "Live attention, norms and MLPs but in the column `attention held`. * the place with the most success on the "
        "prompts that strengths were chosen on. `all features there`: every feature of these places set to what it is "
        "on a prompt that states the other value.",
    )


def _patched(one: ExperimentResult, operation: str, hop: str, where: str) -> str | None:
    arms = [arm for arm in one.arms if (arm.arm.operation, arm.arm.hop, arm.group) == ("patch", hop, where)]
    return arms[0].success.text if arms and operation == "swap" else None


def sizes_table(results: Sequence[ExperimentResult]) -> Table:
    """By size of supernode and by what features are ranked by."""
    rows: list[tuple[Cell, ...]] = []
    for one in results:
        hop = next(iter(one.experiment.hops))
        for arm in one.arms:
            if arm.arm.operation == "swap" and arm.arm.hop == hop and not (arm.arm.control or arm.arm.held):
                choice = arm.arm.choice
                size = choice.method, choice.n_features, choice.source_factor, choice.target_factor
                rows.append((one.transcoder, arm.group, *size, arm.success.text))
    rows.sort(key=lambda row: (row[0], row[1], row[2] != "graph", row[3]))
    columns = ("transcoder", "prompts", "ranked by", "features", "source x", "target x", "swaps succeed")
    return Table(
        columns, tuple(rows), "Ranked by influence in graphs against ranked by activation, at the first place."
    )


def readings_table(results: Sequence[ExperimentResult]) -> Table:
    """What graphs show without any intervention."""
    rows: list[tuple[Cell, ...]] = [
        (
            one.experiment.name,
            reading.hop,
            reading.group,
            one.transcoder,
            reading.right.text,
            1.0 / one.n_values,
            *(_mean(estimate) for estimate in (reading.influence, reading.from_token, reading.to_answer)),
        )
        for one in results
        for reading in one.readings
    ]
    columns = ("what", "where", "prompts", "transcoder", "read off rightly", "chance")
    return Table(
        (*columns, "influence", "from the word", "straight to the answer"),
        tuple(rows),
        "Graphs of the same prompts, nothing changed: how often the value whose supernode has the most influence is "
        "the one that the prompt states; and, for the stated value's supernode, its share of the influence of the "
        "features there, the share of its input that comes from the words that state something, and its share of the "
        "answer's direct input.",
    )


def _mean(estimate: Estimate) -> str:
    return f"{estimate.value:.2f} ({estimate.low:.2f} to {estimate.high:.2f})"


def examples_table(result: MultiStepResult) -> Table:
    """Swaps to look at."""
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (
            one.prompt,
            f"{one.source} for {one.target}, {one.hop}",
            one.transcoder,
            f"{one.before[0]} {one.before[1]:.2f}",
            f"{one.after[0]} {one.after[1]:.2f}",
            one.wanted,
        )
        for one in result.swaps
    )
    columns = ("prompt", "swap", "transcoder", "before", "after", "should be")
    return Table(columns, rows, "The first scored prompts of each experiment, whether the swap succeeds or not.")


def choices_table(result: MultiStepResult) -> Table:
    """Numbers of prompts, sizes and strengths."""
    rows: list[tuple[Cell, ...]] = []
    for one in result.experiments:
        for arm in _chosen(one):
            choice = arm.arm.choice
            cells: list[Cell] = [one.experiment.name, arm.arm.operation, arm.arm.hop, one.transcoder, one.n_values]
            cells += [one.n_found, one.n_tuned, arm.tuned]
            cells += [choice.n_features, choice.source_factor, choice.target_factor, one.n_cases, one.n_right]
            rows.append(tuple(cells))
    first = ("what", "operation", "where", "transcoder", "values", "graphs to find on", "prompts to tune on")
    columns = (*first, *("success there", "features", "source x", "target x", "prompts scored", "of which right"))
    return Table(
        columns,
        tuple(rows),
        "Features were found on the first set of prompts, sizes and strengths chosen on the second; prompts scored "
        "share no city, word or thing with either. Prompts that the model answers wrongly as they are are not tried.",
    )


def _chosen(one: ExperimentResult) -> Iterator[ArmResult]:
    for operation in one.experiment.operations:
        for hop in one.experiment.hops:
            yield one.arm(operation, hop, "all")


def contents_table(result: MultiStepResult) -> Table:
    """What features carry in addition."""
    rows: list[tuple[Cell, ...]] = [
        (name, one.place, one.layer, kind, one.n_features[kind], share)
        for name, found in result.contents.items()
        for one in found
        for kind, share in sorted(one.shares.items(), key=lambda item: -item[1])
    ]
    columns = ("transcoder", "place", "layer", "carried", "features", "share of influence")
    return Table(columns, tuple(rows), "What features carry in addition.")
