"""Many interventions on one prompt, run as batches of that prompt: what a study needs of each is one row of logits."""

from collections.abc import Iterator, Sequence
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from replacement_model.errors import InputError
from replacement_model.interventions.conditions import Conditions, Mode
from replacement_model.interventions.edited import run_edited
from replacement_model.interventions.edits import LayerEdits
from replacement_model.interventions.effects import Effect, direct_effects, measured_effects
from replacement_model.interventions.intervention import Intervention
from replacement_model.interventions.observation import Observation, observe
from replacement_model.interventions.run import edits_of
from replacement_model.model import ReplacementModel
from replacement_model.prompt import Prompt, PromptLike

__all__ = ["effects_of_many", "intervene_many"]

ROWS_AT_ONCE, BYTES_AT_ONCE = 2048, 2**27  # positions of a batch, and what is kept of all its layers
LOGIT_BYTES_AT_ONCE = 2**28

Many = Sequence[Intervention | Sequence[Intervention]]


def intervene_many(
    model: ReplacementModel,
    prompt: PromptLike | Prompt | Observation,
    interventions: Many,
    mode: Mode | Conditions = "free",
    *,
    batch_size: int | None = None,
) -> Float[Tensor, "n d_vocab"]:
    """Logits after each of many interventions on one prompt, each as `intervene` gives it alone.

    Args:
        model: the replacement model.
        prompt: as for `attribute`; or what `observe` gave, whose last logit position then counts.
        interventions: each one intervention, or several that act together, in order.
        mode: as for `intervene`.
        batch_size: how many are run at once; None for at most 2,048 positions. It changes time and memory alone.

    Returns:
        Before any softcap, at the prompt's last position.

    Raises:
        InputError: a feature, layer or position does not exist, or one has nothing to do.

    Example:
        >>> from replacement_model import Intervention, ReplacementModel, intervene_many
        >>> model = ReplacementModel.from_pretrained("pocket")
        >>> ablated = [Intervention.ablate(f"1/-1/{feature_idx}") for feature_idx in (1006, 37, 200)]
        >>> intervene_many(model, "the capital of the state containing Dallas is", ablated).shape[0]
        3
    """
    observed = prompt if isinstance(prompt, Observation) else observe(model, prompt)
    if observed.model is not model:
        raise InputError("the observation is of another model; observe the prompt with the one that is given")
    conditions = mode if isinstance(mode, Conditions) else Conditions(mode)
    effects = effects_of_many(observed, interventions, conditions, batch_size)
    return torch.cat([observed.capture.logits[:0], *(effect.logits[:, -1] for effect in effects)])


def effects_of_many(
    observed: Observation,
    interventions: Many,
    conditions: Conditions,
    batch_size: int | None = None,
    *,
    against_unedited: bool = False,
) -> Iterator[Effect]:
    """The effects of each, batch by batch in their order.

    Args:
        observed: the prompt, unedited.
        interventions: as for `intervene_many`.
        conditions: what responds.
        batch_size: as for `intervene_many`.
        against_unedited: changes are those from a row of the same batch without edits, not from the host's own pass:
            what is held is rounded otherwise than the host rounds, much so in half precision, which is no effect.

    Raises:
        InputError: as for `intervene_many`, or the batch size is not positive.
    """
    if batch_size is not None and batch_size < 1:
        raise InputError(f"batch_size must be at least 1, got {batch_size}")
    conditions.check_layers(observed.model.host.n_layers)
    edits = [edits_of(observed, (one,) if isinstance(one, Intervention) else tuple(one)) for one in interventions]
    size = _batch_size(observed) if batch_size is None else batch_size
    run = _against_unedited if against_unedited else _effects
    return (run(observed, edits[first : first + size], conditions) for first in range(0, len(edits), size))


def _batch_size(observed: Observation) -> int:
    host, itemsize = observed.model.host, observed.capture.embed.element_size()
    n_rows = min(ROWS_AT_ONCE, BYTES_AT_ONCE // (host.n_layers * host.d_model * itemsize))
    n_logits = observed.capture.logits.numel()
    return max(1, min(n_rows // observed.n_pos, LOGIT_BYTES_AT_ONCE // (n_logits * itemsize)))


def _effects(observed: Observation, edits: Sequence[dict[int, LayerEdits]], conditions: Conditions) -> Effect:
    if conditions.affine:
        return direct_effects(observed, edits)
    return measured_effects(observed, partial(run_edited, observed, edits, conditions), conditions)


def _against_unedited(observed: Observation, edits: Sequence[dict[int, LayerEdits]], conditions: Conditions) -> Effect:
    if conditions.affine:
        return direct_effects(observed, edits)
    found = _effects(observed, [*edits, {}], conditions)
    return Effect(
        tap_changes={layer: change[:-1] - change[-1:] for layer, change in found.tap_changes.items()},
        logits=observed.capture.logits + (found.logits[:-1] - found.logits[-1:]),
    )
