"""Labels of transcoder features, with the evidence that they rest on."""

from dataclasses import dataclass

__all__ = ["FeatureLabel"]


@dataclass(frozen=True, slots=True)
class FeatureLabel:
    """What a feature stands for, and how well that was measured.

    Attributes:
        text: short text for people.
        concept: the corpus concept that matches best, None where none does.
        f1, precision, recall: how well `activation > 0` predicts the concept on held-back text, None where not measured.
        top_logits, bottom_logits: tokens that the feature's decoder raises and lowers most.
    """

    text: str
    concept: str | None = None
    f1: float | None = None
    precision: float | None = None
    recall: float | None = None
    top_logits: tuple[str, ...] = ()
    bottom_logits: tuple[str, ...] = ()
