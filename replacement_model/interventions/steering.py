"""Steering with the features of sparse autoencoders, by the same interventions.

An autoencoder replaces nothing, so all is live: at its place x becomes x + (wanted - present activation) x decoder row,
and what it does not explain of x stays. Attention patterns may be held.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from replacement_model.autoencoder import Autoencoder, AutoencoderSite
from replacement_model.errors import InputError
from replacement_model.interventions.conditions import Conditions
from replacement_model.interventions.edited import run_edited
from replacement_model.interventions.edits import LayerEdits, activate, resolve_edits
from replacement_model.interventions.effects import measured_effects
from replacement_model.interventions.features import Feature
from replacement_model.interventions.generation import check_causal, continued
from replacement_model.interventions.intervention import Intervention, resolve_swaps
from replacement_model.interventions.observation import Observation, observe
from replacement_model.interventions.places import changed_at
from replacement_model.interventions.result import InterventionResult
from replacement_model.interventions.summary import Changes, summarise
from replacement_model.labels import FeatureLabels
from replacement_model.model import ReplacementModel
from replacement_model.prompt import Prompt, PromptLike

__all__ = ["steer"]


def steer(
    model: ReplacementModel,
    prompt: PromptLike | Prompt | Observation,
    autoencoders: Autoencoder | Sequence[Autoencoder],
    interventions: Intervention | Sequence[Intervention],
    *,
    frozen_attention: bool = False,
    generate: int = 0,
    use_cache: bool = True,
    n_top: int = 10,
) -> InterventionResult:
    """Change features of autoencoders on a prompt and see what the model says.

    Args:
        model: its host is what is steered; its transcoder takes no part.
        prompt: as for `intervene`.
        autoencoders: at most one a layer; a feature's layer says which is meant.
        interventions: as for `intervene`.
        frozen_attention: hold attention patterns at the prompt's positions.
        generate, use_cache, n_top: as for `intervene`.

    Returns:
        As for `intervene`, with the features that were changed (and no others).

    Raises:
        InputError: a feature, layer or position does not exist, or there is nothing to do.
    """
    observed = prompt if isinstance(prompt, Observation) else observe(model, prompt)
    if observed.model is not model:
        raise InputError("the observation is of another model; observe the prompt with the one that is given")
    coders = {one.layer: one for one in ([autoencoders] if isinstance(autoencoders, Autoencoder) else autoencoders)}
    given = (interventions,) if isinstance(interventions, Intervention) else tuple(interventions)
    conditions = Conditions("free", frozen_attention=frozen_attention)
    steering = _Steering(observed, coders, _edits(observed, coders, given))
    if frozen_attention and any(coder.site is AutoencoderSite.HEADS for coder in coders.values()):
        raise InputError("an autoencoder of the heads' output steers inside attention; leave attention live")
    if generate:
        check_causal({layer: coder.activation for layer, coder in coders.items()})
    unedited, steered = (
        partial(run_edited, observed, ({},), conditions, hooks=hooks) for hooks in (None, steering.hooks)
    )
    effect = measured_effects(observed, steered, conditions).of(0)
    found = summarise(observed, given, conditions, effect, steering.changes(), n_top, FeatureLabels())
    if not generate:
        return found
    before, after = (continued(observed, run, conditions, generate, use_cache) for run in (unedited, steered))
    return replace(found, before=before, after=after)


def _edits(
    observed: Observation, coders: dict[int, Autoencoder], interventions: tuple[Intervention, ...]
) -> dict[int, LayerEdits]:
    def measured(prompt: PromptLike, features: Sequence[Feature]) -> tuple[float, ...]:
        there = observe(observed.model, prompt)
        read = _edits(there, coders, tuple(Intervention.scale(one, 1.0) for one in features))
        steering = _Steering(there, coders, read)
        run_edited(there, ({},), Conditions(), there.capture.token_ids, hooks=steering.hooks)
        places, before, _ = steering.changes()
        acts = {tuple(place): act for place, act in zip(places.tolist(), before.tolist(), strict=True)}
        return tuple(acts[one.layer, _only(one) % there.n_pos, one.feature_idx] for one in features)

    return resolve_edits(
        resolve_swaps(interventions, measured),
        {layer: coder.d_sae for layer, coder in sorted(coders.items())},
        observed.model.host.n_layers,
        observed.n_pos,
        observed.prompt.n_ignored_pos,
        observed.capture.embed.device,
    )


def _only(feature: Feature) -> int:
    if not isinstance(feature.positions, int):
        raise InputError(f"{feature.text}: its value is read at one position; give one, such as read_at=-1")
    return feature.positions


class _Steering:
    """The hooks of all autoencoders, and what their features were and became on the prompt."""

    def __init__(self, observed: Observation, coders: dict[int, Autoencoder], edits: dict[int, LayerEdits]) -> None:
        self._observed, self._coders, self._edits = observed, coders, edits
        self._seen: dict[int, Changes] = {}

    @contextmanager
    def hooks(self, n_done: int) -> Iterator[None]:
        """Within the block, passes that begin at position `n_done` are steered."""
        with ExitStack() as stack:
            for layer, edits in self._edits.items():
                change = partial(self._change, layer, edits, n_done)
                block = self._observed.model.host.blocks[layer]
                stack.enter_context(changed_at(block, self._coders[layer].site, change))
            yield

    def changes(self) -> Changes:
        """Of the features that are steered on the prompt, in the first pass."""
        none = self._observed.capture.embed.new_empty(0)
        empty = (none.new_empty(0, 3, dtype=torch.long), none, none)
        places, before, after = zip(empty, *(self._seen[layer] for layer in sorted(self._seen)), strict=True)
        return torch.cat(places), torch.cat(before), torch.cat(after)

    def _change(
        self, layer: int, edits: LayerEdits, n_done: int, stream: Float[Tensor, "row d_in"]
    ) -> Float[Tensor, "row d_in"]:
        coder, embed = self._coders[layer], self._observed.capture.embed
        x = stream.to(embed.device, embed.dtype)
        positions = torch.arange(n_done, n_done + len(x), device=x.device)
        acts = _acts(coder, x, edits.feature_idx)
        wanted = edits.apply(acts, positions)
        if layer not in self._seen:
            row, column = edits.covered(positions).nonzero().T
            places = torch.stack([torch.full_like(row, layer), row, edits.feature_idx[column]], dim=1)
            self._seen[layer] = places, acts[row, column], wanted[row, column]
        return (x + (wanted - acts) @ coder.decoder_rows(edits.feature_idx).to(x)).to(stream.device, stream.dtype)


def _acts(coder: Autoencoder, x: Float[Tensor, "row d_in"], feature_idx: Int[Tensor, "n"]) -> Float[Tensor, "row n"]:
    if not coder.activation.elementwise:
        return coder.encode(x)[:, feature_idx]
    b_enc = coder.b_enc[feature_idx.to(coder.b_enc.device)].to(x)
    return activate(coder.activation, x @ coder.encoder_rows(feature_idx).to(x).T + b_enc, feature_idx)
