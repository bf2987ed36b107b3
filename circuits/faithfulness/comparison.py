"""The same prompt and targets traced with another transcoder, such as a per-layer one beside a cross-layer one."""

from dataclasses import dataclass

import numpy as np

from circuits.attribution import attribute
from circuits.faithfulness.flow import Flow, measure_flow, overlap
from circuits.graph import Graph, Target
from circuits.targets import DifferenceTarget, TargetSpec, TokenTarget
from replacement_model import InputError, ReplacementModel

__all__ = ["Comparison", "compare", "trace_again"]


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """Two graphs of one prompt.

    Attributes:
        first, second: where the influence of each runs; `first` is the graph that is checked.
        tokens, positions, layers: overlap of the two distributions, 0 to 1.
        tokens_even: overlap of the first's tokens with an even distribution over those that are not ignored: what an
            overlap says little below.
    """

    first: Flow
    second: Flow
    tokens: float
    tokens_even: float
    positions: float
    layers: float


def compare(graph: Graph, other: Graph) -> Comparison:
    """Compare where the influence of two graphs of one prompt runs.

    Raises:
        InputError: they are of different prompts.
    """
    if graph.token_ids.tolist() != other.token_ids.tolist():
        raise InputError("expected two graphs of one prompt; trace the same text with both transcoders")
    first, second = measure_flow(graph), measure_flow(other)
    even = np.ones(len(graph.tokens))
    even[: graph.n_ignored_pos] = 0.0
    return Comparison(
        first=first,
        second=second,
        tokens=overlap(first.tokens, second.tokens),
        tokens_even=overlap(first.tokens, even / max(float(even.sum()), 1.0)),
        positions=overlap(first.positions, second.positions),
        layers=overlap(first.layers, second.layers),
    )


def trace_again(graph: Graph, model: ReplacementModel) -> Graph:
    """The graph's prompt, explained to the same targets, with another transcoder of the same model.

    Raises:
        InputError: a target is no logit and no difference of logits, or the model has another vocabulary or depth.
    """
    if model.host.n_layers != graph.n_layers:
        raise InputError(
            f"the graph has {graph.n_layers} layers, this model {model.host.n_layers}; give the same model"
        )
    specs = [_spec(target) for target in graph.targets]
    read = model.read_prompt(graph.token_ids, prepend=False, n_ignored_pos=graph.n_ignored_pos)
    return attribute(model, read, specs)


def _spec(target: Target) -> TargetSpec:
    if target.kind == "logit":
        return TokenTarget(target.token_ids[0], target.pos)
    if target.kind == "difference":
        return DifferenceTarget(target.token_ids[0], target.token_ids[1], target.pos)
    raise InputError(f"a {target.kind} ({target.label}) is no target of another transcoder's graph; trace a token")
