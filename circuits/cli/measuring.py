"""`orrery info --measure`: how well a transcoder explains a model's MLPs, under every plausible convention."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.text import Text

from replacement_model.errors import InputError

if TYPE_CHECKING:
    from replacement_model import ReplacementModel
    from replacement_model.conventions import Measurement

__all__ = ["measure", "measurement_text"]

SITES = {"mlp_out": "the MLP's output", "post_norm": "the post-norm's output"}
TAPS = {
    "resid_mid": "the residual stream",
    "normalized": "the norm without its gain",
    "mlp_in": "the MLP's input",
}
EXPLAINS_LITTLE = 0.2


def measure(model: "ReplacementModel", text: Path | None) -> dict[str, Any]:
    """What was measured, as plain values: every convention, the best first, and a verdict.

    Raises:
        InputError: the text cannot be read, or the model has no tokenizer.
    """
    from replacement_model.conventions import best_convention, measure_conventions
    from replacement_model.sample_text import sample_texts, split_text

    texts = sample_texts(model) if text is None else split_text(model, _read(text))
    measurements = measure_conventions(model, texts)
    best = best_convention(measurements)
    ranked = sorted(measurements, key=lambda m: (m is not best, -m.explained))
    declared = next(m for m in measurements if m.declared)
    return {
        "text": "built in" if text is None else str(text),
        "tokens": declared.n_tokens,
        "declared is best": best.declared,
        "verdict": _verdict(best, declared),
        "conventions": [_plain(m, m is best) for m in ranked],
    }


def measurement_text(found: Mapping[str, Any]) -> Text:
    """For people: every convention with FVU and L0 of its layers, the best first, and the verdict."""
    text = Text(f"{found['transcoder']} on {found['model']}, {found['tokens']} tokens ({found['text']})\n")
    for row in found["conventions"]:
        prefix = f", prefix {','.join(map(str, row['prefix']))}" if row["prefix"] else ""
        skip = ", skip transposed" if row["skip"] == "transposed" else ""
        marks = ", ".join(mark for mark in ("declared", "best") if row[mark])
        use = f"\n{row['explained']:6.1%}  {row['encoder reads']} to {row['decoder writes']}{skip}{prefix}"
        text.append(f"{use}{f' ({marks})' if marks else ''}\n", style="bold" if row["best"] else "")
        text.append(f"        FVU {_listed(row['FVU'])}\n        L0  {_listed(row['L0'])}\n")
    text.append(f"\n{found['verdict']}", style="green" if found["declared is best"] else "red")
    return text


def _plain(measured: "Measurement", best: bool) -> dict[str, Any]:
    use = measured.convention
    return {
        "encoder reads": use.tap.value,
        "decoder writes": use.site.value,
        "skip": "transposed" if use.skip_transposed else "as stored",
        "prefix": list(use.prefix),
        "declared": measured.declared,
        "best": best,
        "explained": measured.explained,
        "FVU": [value if math.isfinite(value) else None for value in measured.fvu],
        "L0": [value if math.isfinite(value) else None for value in measured.l0],
    }


def _verdict(best: "Measurement", declared: "Measurement") -> str:
    if not best.declared:
        return (
            f"Warning: this transcoder is declared to read {_said(declared)}, which explains {declared.explained:.1%} "
            f"of the MLPs' variance; {best.explained:.1%} is explained if it reads {_said(best, declared)}. Graphs "
            "that are made as declared are most likely wrong."
        )
    if best.explained < EXPLAINS_LITTLE:
        return (
            f"The declared convention is the best, but explains only {best.explained:.1%} of the MLPs' variance; "
            "is this transcoder for this model?"
        )
    return f"The declared convention is the best: it explains {best.explained:.1%} of the MLPs' variance."


def _said(measured: "Measurement", beside: "Measurement | None" = None) -> str:
    use = measured.convention
    text = f"{TAPS[use.tap.value]} and write {SITES[use.site.value]}"
    other = use if beside is None else beside.convention
    if use.skip_transposed != other.skip_transposed:
        text += ", with its skip transposed"
    if use.prefix != other.prefix:
        text += f", with the prefix {','.join(map(str, use.prefix))}" if use.prefix else ", without a prefix"
    return text if beside is None else text.replace("and write", "and writes")


def _listed(values: Sequence[float | None]) -> str:
    """Numbers short enough for a line of many layers."""
    return " ".join("-" if value is None else f"{value:.3f}" if value < 1 else f"{value:.3g}" for value in values)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as text ({error}); give --text a UTF-8 file") from error
