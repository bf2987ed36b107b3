"""What the shapes and lines of a picture mean, and where each sample of the legend stands."""

from collections.abc import Sequence
from dataclasses import dataclass

from viz.excerpt import Excerpt
from viz.measures import Measures
from viz.placement import Plan
from viz.text import text_width

__all__ = ["WIDER", "PlacedSample", "Sample", "legend", "placed"]

WIDER = 1.06  # small type is wider than its measure, since letters are set on whole pixels
LEFT = 4.0


@dataclass(frozen=True, slots=True)
class Sample:
    """One entry: a box of a kind (`token`, `feature`, `supernode`, `error`), or a line of a weight and strength."""

    text: str
    kind: str = ""
    line: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class PlacedSample:
    """A sample, the left end of its shape, the left end of its text, and on which line of the legend it stands."""

    sample: Sample
    x: float
    text_x: float
    line: int


def legend(part: Excerpt, plan: Plan, is_short: bool) -> list[Sample]:
    """Samples of what a picture shows."""
    strongest = max((edge.influence for edge in part.edges), default=0.0)
    kinds = {box.kind for box in plan.boxes.values()}
    has_supernodes = any(node in part.captions for node in part.nodes)
    error = "err: error" if is_short else "error (MLP output not explained)"
    return [
        Sample("token", "token"),
        Sample("feature (dark: influence)" if is_short else "feature, darker with influence", "feature"),
        *([Sample("supernode", "supernode")] if has_supernodes else []),
        *([Sample(error, "error")] if "error" in kinds else []),
        Sample("raises", line=(1.0, 0.8)),
        Sample("lowers", line=(-1.0, 0.8)),
        *([] if is_short else [Sample(f"width: share of the influence, up to {strongest:.0%}", line=(1.0, 0.2))]),
    ]


def placed(samples: Sequence[Sample], width: float, measures: Measures) -> list[PlacedSample]:
    """Samples from left to right, on as many lines as it takes."""
    found: list[PlacedSample] = []
    x, line = LEFT, 0
    for sample in samples:
        wide = 40 + text_width(sample.text, measures.legend_size) * WIDER
        if x > LEFT and x + wide > width:
            x, line = LEFT, line + 1
        found.append(PlacedSample(sample, x, x + (25 if sample.line is None else 31), line))
        x += wide + 8
    return found
