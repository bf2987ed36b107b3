"""Tables of the hallucination study."""

from collections.abc import Sequence

from circuits.studies.hallucination.inputs import PARTS
from circuits.studies.hallucination.reading import OUTCOMES
from circuits.studies.hallucination.study import HallucinationResult, TranscoderResult
from circuits.studies.statistics import Estimate
from viz.reports.parts import Cell, Table

__all__ = [
    "counts_table",
    "inputs_table",
    "leading_table",
    "prediction_table",
    "separation_table",
    "shown_table",
    "steering_table",
    "strengths_table",
    "subsets_table",
    "supernode_table",
]


def counts_table(result: TranscoderResult) -> Table:
    """What the model did, by split and subset."""
    parts = list(dict.fromkeys((row["split"], row["subset"]) for row in result.counts))
    counts = {(row["split"], row["subset"], row["outcome"]): row["n"] for row in result.counts}
    rows = [(*part, *(counts.get((*part, outcome), 0) for outcome in OUTCOMES)) for part in parts]
    caption = (
        "Prompts by what the model did: the most probable next token. A probability above one half have "
        f"{result.confident['choose']} (choose) and {result.confident['score']} (score) of the inventions."
    )
    return Table(("split", "prompts", *OUTCOMES), tuple(rows), caption)


def supernode_table(result: TranscoderResult) -> Table:
    """The "unknown" supernode."""
    outcomes = list(dict.fromkeys(outcome for one in result.supernode for outcome in one.active))
    rows = [
        (one.name, label or None, one.edge, one.activation, *(one.active.get(outcome) for outcome in outcomes))
        for one, label in zip(result.supernode, result.labels, strict=True)
    ]
    columns = (
        "feature",
        "label",
        "mean effect on the contrast",
        "mean activation",
        *(f"on: {name}" for name in outcomes),
    )
    caption = (
        f"The “unknown” supernode ({result.name}): effect on the contrast, and share of prompts on which it is on."
    )
    return Table(columns, tuple(rows), caption)


def inputs_table(result: TranscoderResult) -> Table:
    """Parts of pre-activations."""
    rows = [
        (row["feature"], row["outcome"], row["n"], *(row["parts"][part] for part in PARTS), row["pre_activation"])
        for row in result.inputs
    ]
    caption = f"What the pre-activation of each feature is made of ({result.name}); means over scored prompts."
    return Table(("feature", "prompts", "number", *PARTS, "sum"), tuple(rows), caption)


def separation_table(result: TranscoderResult) -> Table:
    """The best features."""
    rows = [
        (
            f"{one.first} / {one.second}",
            one.role,
            one.layer,
            f"#{one.feature_idx} ({'more' if one.sign > 0 else 'less'} active on the first)",
            one.chosen,
            one.scored.text,
            f"{one.n_still_good} of {one.n_good} of {one.n_features}",
        )
        for one in result.separation
    ]
    columns = ("told apart", "place", "layer", "best feature", "AUROC, choose", "AUROC, score (95%)", "good on both")
    caption = (
        f"Per layer and place, the feature that tells two outcomes apart best on choose, and how well on score "
        f"({result.name}). Good: an AUROC of at least 0.8."
    )
    return Table(columns, tuple(rows), caption)


def steering_table(results: Sequence[TranscoderResult]) -> Table:
    """Rates and controls."""
    rows: list[tuple[Cell, ...]] = []
    for result in results:
        rows.extend(
            (
                one.test,
                result.name,
                one.strength,
                one.n_features,
                one.rate.n,
                one.rate.n_clusters,
                one.rate.text,
                one.control.text,
                one.other,
            )
            for one in result.steering
        )
    columns = (
        "test",
        "transcoder",
        "strength",
        "features",
        "prompts",
        "groups",
        "rate (95%)",
        "random (95%)",
        "neither",
    )
    return Table(
        columns, tuple(rows), "Scored prompts on which what is expected follows; random features of equal norms."
    )


def subsets_table(results: Sequence[TranscoderResult]) -> Table:
    """Rates by subset."""
    rows = [
        (one.test, result.name, subset, rate.n, rate.text)
        for result in results
        for one in result.steering
        if len(one.by_subset) > 1
        for subset, rate in one.by_subset.items()
    ]
    return Table(
        ("test", "transcoder", "prompts", "number", "rate (95%)"), tuple(rows), "The same rates by kind of prompt."
    )


def strengths_table(results: Sequence[TranscoderResult]) -> Table:
    """What strengths were chosen from."""
    rows = [
        (
            one.test,
            result.name,
            ", ".join(f"{name}: {one.chosen[name]:.2f} / {one.chosen_control[name]:.2f}" for name in one.chosen),
        )
        for result in results
        for one in result.steering
    ]
    caption = "Rates on the split choose by strength, with random features after the stroke."
    return Table(("test", "transcoder", "strength: rate / random"), tuple(rows), caption)


def prediction_table(result: TranscoderResult, population: str) -> Table:
    """All predictors on one population."""
    found = [one for one in result.prediction if one.population == population]
    compared = any(one.above_answered is not None for one in found)
    rows = []
    for one in found:
        cells: tuple[Cell, ...] = (one.name, one.n_inputs or None, one.chosen, one.auroc.text, _signed(one.above))
        rows.append((*cells, _signed(one.above_answered)) if compared else cells)
    columns = ("predictor", "inputs fitted", "AUROC, choose", "AUROC, score (95%)", "above entropy (95%)")
    caption = f"{population.capitalize()} prompts ({result.name}): {found[0].n_wrong} wrong, {found[0].n_right} right."
    return Table((*columns, "above “it answered”") if compared else columns, tuple(rows), caption)


def leading_table(result: TranscoderResult, population: str, names: Sequence[str]) -> Table:
    """What the fitted predictors go by, and how they do on each kind of wrong prompt."""
    rows = []
    for one in result.prediction:
        if one.population == population and one.name in names:
            leading = ", ".join(f"{name} {weight:+.2f}" for name, weight in one.leading.items())
            subsets = ", ".join(f"{name}: {area:.2f}" for name, area in one.by_subset.items())
            rows.append((one.name, leading or None, subsets or None))
    caption = (
        f"{population.capitalize()} prompts ({result.name}): what counts most, and the AUROC by kind of wrong prompt."
    )
    return Table(("predictor", "largest weights (+ speaks for a wrong answer)", "AUROC by kind"), tuple(rows), caption)


def shown_table(result: HallucinationResult) -> Table:
    """The examples."""
    rows = [
        (one.test, part.name, one.prompt, f"{one.before[0]} {one.before[1]:.2f}", f"{one.after[0]} {one.after[1]:.2f}")
        for part in result.transcoders
        for one in part.shown
    ]
    caption = "One prompt for each test, whatever came of it; orrery replay runs them again."
    return Table(("test", "transcoder", "prompt", "before", "after"), tuple(rows), caption)


def _signed(estimate: Estimate | None) -> str | None:
    return None if estimate is None else f"{estimate.value:+.3f} ({estimate.low:+.3f} to {estimate.high:+.3f})"
