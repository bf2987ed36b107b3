"""From an effect to what is told of it: tokens and features that changed."""

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from replacement_model.errors import InputError
from replacement_model.interventions.conditions import Conditions
from replacement_model.interventions.edits import LayerEdits, check_feature, current_acts
from replacement_model.interventions.effects import Effect
from replacement_model.interventions.features import Feature
from replacement_model.interventions.intervention import Intervention
from replacement_model.interventions.observation import Observation, aligned, feature_widths
from replacement_model.interventions.result import FeatureChange, InterventionResult, Watched, token_changes
from replacement_model.labels import FeatureLabels
from replacement_model.transcoder import ActiveFeatures
from replacement_model.verification import TOLERANCES

__all__ = ["Changes", "changed_features", "summarise", "watched"]

Changes = tuple[Int[Tensor, "k 3"], Float[Tensor, "k"], Float[Tensor, "k"]]
"""(layer, pos, feature_idx), and activations before and after."""


def summarise(
    observed: Observation,
    interventions: tuple[Intervention, ...],
    conditions: Conditions,
    effect: Effect,
    changes: Changes,
    n_top: int,
    labels: FeatureLabels | None = None,
) -> InterventionResult:
    """The result of an intervention, without what was asked for beside it.

    `labels` are those of the features that changed; None for the model's.
    """
    capture = observed.capture
    probabilities = observed.model.host.capped(effect.logits).softmax(-1)
    moved = probabilities[-1] - capture.probabilities[-1]
    values = ((capture.logits[-1], capture.probabilities[-1]), (effect.logits[-1], probabilities[-1]))
    raised, lowered = (_top(observed, sign * moved, n_top) for sign in (1, -1))
    features, before, after = changes
    return InterventionResult(
        tokens=observed.prompt.tokens,
        interventions=interventions,
        conditions=conditions,
        logit_positions=capture.logit_positions,
        logits_before=capture.logits,
        logits_after=effect.logits,
        probabilities_before=capture.probabilities,
        probabilities_after=probabilities,
        raised=token_changes(*values, *raised),
        lowered=token_changes(*values, *lowered),
        features=features,
        acts_before=before,
        acts_after=after,
        changed=_named(observed.model.labels if labels is None else labels, changes, n_top),
    )


def watched(observed: Observation, effect: Effect, features: Int[Tensor, "n 3"]) -> Watched:
    """Pre-activations of `features`, (layer, pos, feature_idx).

    Raises:
        InputError: one does not exist, or is outside the prompt.
    """
    widths, transcoder = feature_widths(observed.model), observed.model.transcoder
    before, change = effect.logits.new_empty(len(features)), effect.logits.new_empty(len(features))
    for layer, pos, feature_idx in features.tolist():
        check_feature(Feature(layer, feature_idx, pos), widths, observed.model.host.n_layers)
        if not 0 <= pos < observed.n_pos:
            raise InputError(f"position {pos} is outside the prompt; choose 0 to {observed.n_pos - 1}")
    for layer in features[:, 0].unique().tolist():
        where = (features[:, 0] == layer).nonzero().squeeze(1)
        pos, idx = features[where, 1], features[where, 2]
        rows = transcoder.encoder_rows(layer, idx)
        before[where] = (rows * observed.tapped(layer)[pos]).sum(-1) + transcoder.encoder_biases(layer, idx)
        change[where] = (rows * effect.tap_changes[layer][pos]).sum(-1)
    return Watched(features, before, before + change)


def _top(observed: Observation, gain: Float[Tensor, "d_vocab"], n_top: int) -> tuple[list[int], list[str]]:
    """Tokens that gain most; none that does not gain."""
    order = torch.argsort(gain, descending=True, stable=True)[:n_top]
    token_ids = order[gain[order] > 0].tolist()
    return token_ids, [observed.model.token_string(token_id) for token_id in token_ids]


def changed_features(
    observed: Observation, conditions: Conditions, edits: Mapping[int, LayerEdits], effect: Effect
) -> Changes:
    """Every feature whose activation changed."""
    none = effect.logits.new_empty(0)
    places, befores, afters = [none.new_empty(0, 3, dtype=torch.long)], [none], [none]
    tolerance = TOLERANCES[observed.model.dtype if conditions.affine else observed.model.host.dtype]
    for layer, acts in observed.acts.items():
        change = effect.tap_changes[layer]
        if layer not in edits and not bool(change.any()):
            continue
        pos, idx, before, after = aligned(acts, _acts_after(observed, conditions, edits.get(layer), layer, change))
        largest = float(torch.cat([before.abs(), after.abs(), none.new_zeros(1)]).max())
        moved = (after - before).abs() > tolerance * largest  # less is the host's rounding
        layers = torch.full_like(pos[moved], layer)
        places.append(torch.stack([layers, pos[moved], idx[moved]], dim=1))
        befores.append(before[moved])
        afters.append(after[moved])
    return torch.cat(places), torch.cat(befores), torch.cat(afters)


def _acts_after(
    observed: Observation,
    conditions: Conditions,
    edits: LayerEdits | None,
    layer: int,
    change: Float[Tensor, "pos d_model"],
) -> ActiveFeatures:
    """Activations that the changed model gives; those that are edited are what they were set to."""
    transcoder, tapped = observed.model.transcoder, observed.tapped(layer)
    now = transcoder.active_features(layer, tapped + change).since(observed.prompt.n_ignored_pos)
    if edits is None:
        return now
    positions = torch.arange(observed.n_pos, device=change.device)
    x = tapped if conditions.mode == "direct" else tapped + change
    wanted = edits.apply(current_acts(transcoder, layer, x, edits.feature_idx), positions)
    pinned, kept = edits.select(wanted, positions), ~_is_edited(edits, now, positions)
    return ActiveFeatures(
        torch.cat([now.pos[kept], pinned.pos]),
        torch.cat([now.feature_idx[kept], pinned.feature_idx]),
        torch.cat([now.acts[kept], pinned.acts]),
    )


def _is_edited(edits: LayerEdits, active: ActiveFeatures, positions: Int[Tensor, "pos"]) -> Bool[Tensor, "n"]:
    column = torch.searchsorted(edits.feature_idx, active.feature_idx).clamp(max=len(edits.feature_idx) - 1)
    return (edits.feature_idx[column] == active.feature_idx) & edits.covered(positions)[active.pos, column]


def _named(labels: FeatureLabels, changes: Changes, n_top: int) -> tuple[FeatureChange, ...]:
    features, before, after = changes
    order = torch.argsort((after - before).abs(), descending=True, stable=True)[:n_top]
    found = zip(features[order].tolist(), before[order].tolist(), after[order].tolist(), strict=True)
    return tuple(
        FeatureChange(layer, pos, idx, was, now, None if (label := labels.get(layer, idx)) is None else label.text)
        for (layer, pos, idx), was, now in found
    )
