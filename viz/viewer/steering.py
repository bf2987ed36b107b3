"""Interventions that the page asks for: features changed on the graph's prompt, logits before and after."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from replacement_model import Intervention, ReplacementModel, intervene
from replacement_model.errors import InputError
from replacement_model.interventions.conditions import Mode
from replacement_model.interventions.observation import Observation, observe
from replacement_model.interventions.result import InterventionResult
from viz.viewer.library import OpenGraph

__all__ = ["POCKET", "SteerRequest", "Steering", "parse_request"]

POCKET = {"pocket-clt": "clt", "pocket-plt": "plt"}
OPERATIONS = ("set", "scale", "add", "ablate")
KEYS = ("slug", "interventions", "mode", "generate")
MAX_GENERATE, MAX_INTERVENTIONS, N_TOP = 32, 500, 10


@dataclass(frozen=True, slots=True)
class SteerRequest:
    """What is done to which features of a graph's prompt, and how many tokens follow."""

    slug: str
    interventions: tuple[Intervention, ...]
    mode: Mode
    generate: int


def parse_request(value: Any) -> SteerRequest:
    """A request from what the page sent.

    Raises:
        InputError: it is something else; the message says what.
    """
    if not isinstance(value, dict) or not set(value) <= set(KEYS) or not isinstance(value.get("slug"), str):
        raise InputError(f"expected an object with {', '.join(KEYS)}, got {_short(value)}")
    given = value.get("interventions")
    if not isinstance(given, list) or not 0 < len(given) <= MAX_INTERVENTIONS:
        raise InputError(f"expected a list of 1 to {MAX_INTERVENTIONS} interventions, got {_short(given)}")
    mode, generate = value.get("mode", "free"), value.get("generate", 0)
    if not isinstance(mode, str) or mode not in get_args(Mode):
        raise InputError(f"mode must be one of {', '.join(get_args(Mode))}, got {_short(mode)}")
    if not isinstance(generate, int) or isinstance(generate, bool) or not 0 <= generate <= MAX_GENERATE:
        raise InputError(f"generate must be a whole number from 0 to {MAX_GENERATE}, got {_short(generate)}")
    return SteerRequest(value["slug"], tuple(map(_intervention, given)), mode, generate)  # type: ignore[arg-type]


def _intervention(given: Any) -> Intervention:
    """One operation with one value for all its features, or one for each."""
    is_known = isinstance(given, dict) and given.get("operation") in OPERATIONS
    features = given.get("features") if is_known else None
    if not isinstance(features, list) or not all(isinstance(name, str) and len(name) < 100 for name in features):
        raise InputError(
            f"expected an intervention with operation ({', '.join(OPERATIONS)}), features such as 2/-1/1234 and "
            f"value, got {_short(given)}"
        )
    if given["operation"] == "ablate":
        return Intervention.ablate(features)
    make = {"set": Intervention.set, "scale": Intervention.scale, "add": Intervention.add}[given["operation"]]
    return make(features, _number(given.get("value")))


def _number(value: Any) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not abs(value) < 1e30:
        raise InputError(f"expected a finite number as value, got {_short(value)}")
    return float(value)


class Steering:
    """The model behind the page, one request at a time.

    Args:
        model: what graphs were traced with; None for the pocket model, for graphs of it, loaded when it is first asked.
        load: how the pocket model is loaded.
    """

    def __init__(
        self,
        model: ReplacementModel | None = None,
        load: Callable[[str, str], ReplacementModel] = ReplacementModel.from_pretrained,
    ) -> None:
        self.model = model
        self._load = load
        self._pocket: dict[str, ReplacementModel] = {}
        self._observed: tuple[tuple[int, ...], Observation] | None = None
        self._lock = threading.Lock()

    def can_steer(self, graph: OpenGraph) -> bool:
        """Whether the graph is one of the model that is there."""
        is_pocket = graph.metadata.model_name == "pocket" and graph.metadata.transcoder_name in POCKET
        has_tokens = min(graph.token_ids) >= 0  # graph JSON need not say them
        return has_tokens and (is_pocket or self._is_of_model(graph))

    def _is_of_model(self, graph: OpenGraph) -> bool:
        return self.model is not None and self.model.transcoder.name == graph.metadata.transcoder_name

    def run(self, graph: OpenGraph, request: SteerRequest) -> dict[str, Any]:
        """Intervene on the graph's prompt.

        Raises:
            InputError: no model of this graph is loaded, or a feature or position does not exist.
        """
        if not self.can_steer(graph):
            raise InputError(
                f"no model is loaded for transcoder {graph.metadata.transcoder_name}; start `orrery view` with the "
                "--model and --transcoder that the graph was traced with"
            )
        with self._lock:
            model = self._model_of(graph)
            _check_files(model, graph)
            observed = self._observation(model, graph)
            result = intervene(
                model, observed, request.interventions, request.mode, generate=request.generate, n_top=N_TOP
            )
            return _summary(model, result)

    def _model_of(self, graph: OpenGraph) -> ReplacementModel:
        if self.model is not None and self._is_of_model(graph):
            return self.model
        name = graph.metadata.transcoder_name
        if name not in self._pocket:
            self._pocket[name] = self._load("pocket", POCKET[name])
        return self._pocket[name]

    def _observation(self, model: ReplacementModel, graph: OpenGraph) -> Observation:
        """The model on the graph's tokens; the last one is kept, since steering goes on with the same prompt."""
        known = self._observed
        if known is not None and known[0] == graph.token_ids and known[1].model is model:
            return known[1]
        prompt = model.read_prompt(torch.tensor(graph.token_ids), prepend=False, n_ignored_pos=graph.n_ignored_pos)
        observed = observe(model, prompt)
        self._observed = graph.token_ids, observed
        return observed


def _check_files(model: ReplacementModel, graph: OpenGraph) -> None:
    """Raise where the graph was traced with other files under the same names."""
    there, here = graph.metadata.hashes, model.hashes
    other = sorted(name for name, value in there.items() if here.get(name, value) != value)
    if other:
        raise InputError(f"the graph was traced with another {other[0]} than the loaded model has; trace it again")


def _summary(model: ReplacementModel, result: InterventionResult) -> dict[str, Any]:
    before = result.logits_before[-1], result.probabilities_before[-1]
    after = result.logits_after[-1], result.probabilities_after[-1]
    return {**result.to_dict(), "before": _top(model, *before), "after": _top(model, *after)}


def _top(
    model: ReplacementModel, logits: Float[Tensor, "d_vocab"], probabilities: Float[Tensor, "d_vocab"]
) -> list[dict[str, Any]]:
    """The likeliest tokens, with logits before any softcap."""
    order = torch.argsort(probabilities, descending=True, stable=True)[:N_TOP].tolist()
    return [
        {
            "token_id": token_id,
            "token": model.token_string(token_id),
            "logit": float(logits[token_id]),
            "probability": float(probabilities[token_id]),
        }
        for token_id in order
    ]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
