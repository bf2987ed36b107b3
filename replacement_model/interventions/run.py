"""Intervening on a prompt, in one call."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from jaxtyping import Int
from torch import Tensor

from replacement_model.errors import InputError
from replacement_model.interventions.conditions import Conditions, Mode
from replacement_model.interventions.edited import run_edited
from replacement_model.interventions.edits import LayerEdits, resolve_edits
from replacement_model.interventions.effects import direct_effects, measured_effects
from replacement_model.interventions.features import Feature
from replacement_model.interventions.generation import check_causal, continued
from replacement_model.interventions.intervention import Intervention, resolve_swaps
from replacement_model.interventions.observation import Observation, feature_widths, measure, observe
from replacement_model.interventions.result import InterventionResult
from replacement_model.interventions.summary import changed_features, summarise, watched
from replacement_model.model import ReplacementModel
from replacement_model.prompt import Prompt, PromptLike

__all__ = ["edits_of", "intervene"]


def intervene(
    model: ReplacementModel,
    prompt: PromptLike | Prompt | Observation,
    interventions: Intervention | Sequence[Intervention],
    mode: Mode | Conditions = "free",
    *,
    logit_positions: Sequence[int] = (-1,),
    generate: int = 0,
    use_cache: bool = True,
    watch: Int[Tensor, "n 3"] | None = None,
    n_top: int = 10,
) -> InterventionResult:
    """Change features on a prompt and see what the model says; the model itself is as before afterwards.

    Args:
        model: the replacement model.
        prompt: as for `attribute`; or what `observe` gave, whose logit positions then count, for many interventions.
        interventions: in the order in which they act.
        mode: `direct`, `iterative` or `free`; or `Conditions`, which also say what else is held.
        logit_positions: where logits are wanted; the last of them is the one that the summary is about.
        generate: how many tokens to go on for, greedily, with and without the intervention.
        use_cache: keep keys and values while generating; without it every token runs the whole sequence again.
        watch: (layer, pos, feature_idx) of features whose pre-activations are wanted, active or not.
        n_top: how many tokens and features the summary names.

    Raises:
        InputError: a feature, layer or position does not exist, or there is nothing to do.

    Example:
        >>> from replacement_model import Intervention, ReplacementModel, intervene
        >>> model = ReplacementModel.from_pretrained("pocket")
        >>> ablated = Intervention.ablate("1/-1/1006")
        >>> result = intervene(model, "the capital of the state containing Dallas is", ablated)
        >>> result.lowered[0].token, result.raised[0].token
        ('Austin', 'Houston')
    """
    observed = prompt if isinstance(prompt, Observation) else observe(model, prompt, logit_positions)
    if observed.model is not model:
        raise InputError("the observation is of another model; observe the prompt with the one that is given")
    given = (interventions,) if isinstance(interventions, Intervention) else tuple(interventions)
    conditions = mode if isinstance(mode, Conditions) else Conditions(mode)
    conditions.check_layers(model.host.n_layers)
    edits = edits_of(observed, given)
    if generate:
        check_causal({layer: weights.activation for layer in edits if (weights := model.transcoder.layers[layer])})
    unedited, edited = (partial(run_edited, observed, (each,), conditions) for each in ({}, edits))
    affine = conditions.affine
    effects = direct_effects(observed, (edits,)) if affine else measured_effects(observed, edited, conditions)
    effect = effects.of(0)
    changes = changed_features(observed, conditions, edits, effect)
    found = summarise(observed, given, conditions, effect, changes, n_top)
    if watch is not None:
        found = replace(found, watched=watched(observed, effect, watch))
    if generate:
        found = replace(
            found,
            before=continued(observed, unedited, conditions, generate, use_cache),
            after=continued(observed, edited, conditions, generate, use_cache),
        )
    return found


def edits_of(observed: Observation, interventions: Sequence[Intervention]) -> dict[int, LayerEdits]:
    """What interventions become on the prompt, by layer."""

    def measured(prompt: PromptLike, features: Sequence[Feature]) -> tuple[float, ...]:
        return measure(observe(observed.model, prompt), features)

    return resolve_edits(
        resolve_swaps(interventions, measured),
        feature_widths(observed.model),
        observed.model.host.n_layers,
        observed.n_pos,
        observed.prompt.n_ignored_pos,
        observed.capture.embed.device,
    )
