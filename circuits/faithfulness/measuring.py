"""The model on a graph's prompt, and by how much every row of the graph changes in an intervention."""

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuits.graph import Graph, Target
from replacement_model import InputError, Intervention, ReplacementModel
from replacement_model.interventions import Conditions, Observation, observe
from replacement_model.interventions.effects import Effect
from replacement_model.interventions.many import effects_of_many
from replacement_model.prompt import Prompt

__all__ = ["ablation_changes", "ablations", "mean_free", "observe_graph", "target_change"]


def observe_graph(model: ReplacementModel, graph: Graph) -> Observation:
    """The model on the graph's prompt, with the logits that its targets read.

    Raises:
        InputError: the graph was traced with another model or transcoder, or is what another file says of one.
    """
    metadata = graph.metadata
    if graph.read_from is not None:
        raise InputError(
            "a graph that was read from JSON does not hold what must be checked; trace the prompt, or give the "
            ".safetensors file"
        )
    if model.transcoder.name != metadata.transcoder_name:
        raise InputError(
            f"the graph was traced with transcoder {metadata.transcoder_name}, this is {model.transcoder.name}; give "
            "the one that it was traced with"
        )
    other = [name for name, value in model.hashes.items() if metadata.hashes.get(name, value) != value]
    if other:
        raise InputError(f"the graph was traced with other weights: {other[0]} differs; give those, or trace again")
    shape = (graph.n_layers, int(graph.token_ids.max()) < model.host.d_vocab)
    if shape != (model.host.n_layers, True):
        raise InputError(f"the graph has {graph.n_layers} layers, the model {model.host.n_layers}, or fewer tokens")
    read = Prompt(
        text=metadata.prompt,
        token_ids=torch.from_numpy(np.asarray(graph.token_ids)).long(),
        tokens=graph.tokens,
        n_ignored_pos=graph.n_ignored_pos,
        prepended=None,
        prefix=tuple(metadata.settings.get("prefix_token_ids", ())),
    )
    positions = {target.pos for target in graph.targets if target.token_ids}
    return observe(model, read, tuple(sorted(positions)) or (-1,))


def ablation_changes(
    observed: Observation, graph: Graph, nodes: Int[np.ndarray, "n"], conditions: Conditions
) -> Float[np.ndarray, "n n_rows"]:
    """Change of every row of the graph when each of these feature nodes is ablated; NaN where it cannot be measured.

    Of a feature that is its pre-activation; of a logit the logit minus the mean logit, before any softcap.
    """
    effects = effects_of_many(observed, ablations(graph, nodes), conditions, against_unedited=True)
    found = [row for effect in effects for row in _rows(observed, graph, effect)]
    return np.stack(found) if found else np.empty((0, graph.layout.n_rows))


def ablations(graph: Graph, nodes: Int[np.ndarray, "n"]) -> list[Intervention]:
    """Each feature set to zero, alone."""
    return [Intervention.ablate([(layer, pos, idx)]) for layer, pos, idx in graph.features[nodes].tolist()]


def target_change(
    observed: Observation, target: Target, change: Float[Tensor, "*batch n d_vocab"]
) -> Float[Tensor, "*batch"]:
    """By how much a logit, or a difference of two, changes; `change` is that of all logits.

    Raises:
        InputError: the target is of another kind.
    """
    if target.kind not in ("logit", "difference"):
        raise InputError(f"expected a logit or a difference of logits, got the {target.kind} {target.label}")
    at = observed.capture.logit_positions.index(target.pos)
    moved = mean_free(change[..., at, :])
    return moved[..., target.token_ids[0]] - (moved[..., target.token_ids[1]] if target.kind == "difference" else 0.0)


def mean_free(logits: Float[Tensor, "*batch d_vocab"]) -> Float[Tensor, "*batch d_vocab"]:
    """Logits minus their mean, in float64."""
    logits = logits.double()
    return logits - logits.mean(-1, keepdim=True)


def _rows(observed: Observation, graph: Graph, effect: Effect) -> Iterator[Float[np.ndarray, "n_rows"]]:
    layout = graph.layout
    places = np.array([_place(target) for target in graph.targets], dtype=np.int64).reshape(-1, 3)
    places = np.concatenate([graph.features.astype(np.int64), places])  # layer -1: not a feature
    found = np.full((len(effect.logits), layout.n_rows), np.nan)
    for layer, change in effect.tap_changes.items():
        at = np.flatnonzero(places[:, 0] == layer)
        if len(at):
            idx, pos = (torch.from_numpy(places[at, k]).to(change.device) for k in (2, 1))
            rows = observed.model.transcoder.encoder_rows(layer, idx)
            for index, one in enumerate(change):
                found[index, at] = (rows * one[pos]).sum(-1).double().cpu().numpy()
    logits = effect.logits - observed.capture.logits
    for k, target in enumerate(graph.targets):
        if target.token_ids:
            found[:, layout.target_rows.start + k] = target_change(observed, target, logits).cpu().numpy()
    yield from found


def _place(target: Target) -> tuple[int, int, int]:
    return (-1, 0, 0) if target.feature_idx is None else (target.layer, target.pos, target.feature_idx)
