"""What an intervention did: logits and probabilities before and after, tokens, features, and a continuation."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from replacement_model.display import Displayed
from replacement_model.interventions.conditions import Conditions
from replacement_model.interventions.intervention import Intervention

__all__ = ["Continuation", "FeatureChange", "InterventionResult", "TokenChange", "Watched"]


@dataclass(frozen=True, slots=True)
class TokenChange:
    """A next token's probability and logit (before any softcap), without and with the intervention."""

    token_id: int
    token: str
    probability_before: float
    probability_after: float
    logit_before: float
    logit_after: float

    @property
    def probability_change(self) -> float:
        return self.probability_after - self.probability_before


@dataclass(frozen=True, slots=True)
class FeatureChange:
    """A feature's activation without and with the intervention; of one that is changed, what it is set to."""

    layer: int
    pos: int
    feature_idx: int
    before: float
    after: float
    label: str | None = None

    @property
    def change(self) -> float:
        return self.after - self.before


@dataclass(frozen=True, slots=True, eq=False)
class Watched:
    """Pre-activations of the features that were asked for, without and with the intervention."""

    features: Int[Tensor, "n 3"]
    pre_acts_before: Float[Tensor, "n"]
    pre_acts_after: Float[Tensor, "n"]


@dataclass(frozen=True, slots=True, eq=False)
class Continuation:
    """What the model goes on to say, greedily.

    Attributes:
        text: all of it, decoded.
        logits: before any softcap; row i chose token i.
    """

    token_ids: tuple[int, ...]
    tokens: tuple[str, ...]
    text: str
    logits: Float[Tensor, "n d_vocab"]


@dataclass(frozen=True, slots=True, eq=False)
class InterventionResult(Displayed):
    """A prompt without and with an intervention.

    Attributes:
        tokens: the prompt's.
        logit_positions: where logits were read; `raised` and `lowered` are those of the last of them.
        logits_before, logits_after: before any softcap.
        probabilities_before, probabilities_after: after it.
        raised, lowered: tokens whose probability changed most, most first.
        features: (layer, pos, feature_idx) of every feature whose activation changed, sorted.
        acts_before, acts_after: their activations.
        changed: those that changed most, most first, with labels.
        watched: None if nothing was asked for.
        before, after: continuations; None if none was asked for.
    """

    tokens: tuple[str, ...]
    interventions: tuple[Intervention, ...]
    conditions: Conditions
    logit_positions: tuple[int, ...]
    logits_before: Float[Tensor, "n d_vocab"]
    logits_after: Float[Tensor, "n d_vocab"]
    probabilities_before: Float[Tensor, "n d_vocab"]
    probabilities_after: Float[Tensor, "n d_vocab"]
    raised: tuple[TokenChange, ...]
    lowered: tuple[TokenChange, ...]
    features: Int[Tensor, "k 3"]
    acts_before: Float[Tensor, "k"]
    acts_after: Float[Tensor, "k"]
    changed: tuple[FeatureChange, ...]
    watched: Watched | None = None
    before: Continuation | None = None
    after: Continuation | None = None

    @property
    def probability_changes(self) -> Float[Tensor, "n d_vocab"]:
        """Of every token at every position that was read."""
        return self.probabilities_after - self.probabilities_before

    def to_dict(self) -> dict[str, Any]:
        """A summary in plain values for JSON: no tensors, but the tokens and features that changed most."""
        return {
            "tokens": list(self.tokens),
            "interventions": [one.to_dict() for one in self.interventions],
            "conditions": self.conditions.to_dict(),
            "position": self.logit_positions[-1],
            "raised": [asdict(one) for one in self.raised],
            "lowered": [asdict(one) for one in self.lowered],
            "n_changed_features": len(self.features),
            "changed_features": [asdict(one) for one in self.changed],
            "continuation_before": None if self.before is None else self.before.text,
            "continuation_after": None if self.after is None else self.after.text,
        }


def token_changes(
    before: tuple[Float[Tensor, "d_vocab"], Float[Tensor, "d_vocab"]],
    after: tuple[Float[Tensor, "d_vocab"], Float[Tensor, "d_vocab"]],
    token_ids: Sequence[int],
    tokens: Sequence[str],
) -> tuple[TokenChange, ...]:
    """Changes of some tokens.

    Args:
        before, after: logits and probabilities.
        token_ids, tokens: of which.
    """
    values = [
        values[torch.tensor(list(token_ids), dtype=torch.long, device=values.device)].tolist()
        for values in (*before, *after)
    ]
    return tuple(
        TokenChange(token_id, token, p_before, p_after, l_before, l_after)
        for token_id, token, l_before, p_before, l_after, p_after in zip(token_ids, tokens, *values, strict=True)
    )
