"""Attribution, ours against the peer's: outputs are compared first, then time and memory are measured."""

from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.edges import Edges, compare
from benchmarks.environment import Tools
from benchmarks.flops import Sites, cone_flops
from benchmarks.shapes import Plan
from benchmarks.side_by_side import side_by_side
from benchmarks.weights import Reference
from benchmarks.worker import Worker

__all__ = ["Case", "run_tracing"]

TOLERANCE = 1e-5  # absolute, float32 against float64
PEER_UPDATE_INTERVAL = 4  # batches between two rankings, the peer's default
WARM_UP_TOKENS = 4
WARM_UP_FEATURES = 8


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of transcoder (`clt` or `plt`) on the reference model."""

    kind: str
    plan: Plan
    reference: Reference
    work: Path

    def start_peer(self, tools: Tools, malloc: str = "default") -> Worker:
        worker = tools.peer(malloc)
        self._load(worker, {}, {"batch_size": self.plan.batch_sizes[0]})
        return worker

    def start_own(self, tools: Tools, dtype: str = "float32") -> Worker:
        worker = tools.own()
        self._load(worker, {"dtype": dtype}, {})
        return worker

    def _load(self, worker: Worker, load_settings: dict[str, Any], trace_settings: dict[str, Any]) -> None:
        """Loads the weights and traces a few tokens, so that both tools have imported and compiled what they need."""
        paths = {"model": str(self.reference.model), "transcoder": str(self.reference.transcoders[self.kind])}
        worker.call("load_model", **paths, **load_settings)
        few = list(self.reference.token_ids[:WARM_UP_TOKENS])
        worker.call("trace", token_ids=few, max_feature_nodes=WARM_UP_FEATURES, **trace_settings)

    def trace(self, worker: Worker, save_to: Path | None = None, **settings: Any) -> dict[str, Any]:
        """One attribution of the whole prompt."""
        defaults = {"max_feature_nodes": self.plan.model.max_feature_nodes}
        return worker.call(
            "trace",
            token_ids=list(self.reference.token_ids),
            save_to=None if save_to is None else str(save_to),
            **(defaults | settings),
        )


def run_tracing(case: Case, tools: Tools) -> dict[str, Any]:
    """Everything that is reported about one kind of transcoder.

    Raises:
        ValueError: the outputs differ; nothing is timed then.
    """
    agreement = _compare_outputs(case, tools)
    batch_sizes = {malloc: _try_batch_sizes(case, tools, malloc) for malloc in case.plan.mallocs}
    fastest = {malloc: min(tried, key=lambda one: one["seconds"]) for malloc, tried in batch_sizes.items()}
    timed = _time(case, tools, {malloc: one["batch_size"] for malloc, one in fastest.items()})
    probe = {"peer_batch_sizes": batch_sizes, "probe_features": case.plan.probe_features}
    return {"agreement": agreement, **probe, **timed}


def _compare_outputs(case: Case, tools: Tools) -> dict[str, Any]:
    """Both tools in float32, and ours in float64, with as many features between rankings."""
    batch_size = case.plan.batch_sizes[-1]
    paths = {name: case.work / f"{case.kind}-{name}.npz" for name in ("peer", "float32", "float64")}
    with case.start_peer(tools) as peer:
        case.trace(peer, paths["peer"], batch_size=batch_size)
    for dtype in ("float32", "float64"):
        with case.start_own(tools, dtype) as own:
            case.trace(own, paths[dtype], update_interval=PEER_UPDATE_INTERVAL * batch_size)
    edges = {name: Edges.load(path) for name, path in paths.items()}
    pairs = {
        "own_float64": ("float32", "float64"),
        "peer_own_float64": ("peer", "float64"),
        "own_peer": ("float32", "peer"),
    }
    found = {name: compare(edges[one], edges[other]) for name, (one, other) in pairs.items()}
    for name in ("own_float64", "peer_own_float64"):
        if found[name].max_difference > TOLERANCE:
            raise ValueError(f"expected {case.kind} edges within {TOLERANCE} of float64, got {name}: {found[name]}")
    return {name: asdict(agreement) for name, agreement in found.items()}


def _try_batch_sizes(case: Case, tools: Tools, malloc: str) -> list[dict[str, Any]]:
    """Time and memory of the peer by batch size on fewer features, each in a process of its own."""
    tried = []
    for batch_size in case.plan.batch_sizes:
        with case.start_peer(tools, malloc) as peer:
            found = case.trace(peer, batch_size=batch_size, max_feature_nodes=case.plan.probe_features)
            tried.append({"batch_size": batch_size, **found})
    return tried


def _time(case: Case, tools: Tools, batch_sizes: dict[str, int]) -> dict[str, Any]:
    """The tools in turn, each in its process with its model loaded; the peer with its fastest batch size."""
    with ExitStack() as stack:
        own = stack.enter_context(case.start_own(tools))
        calls = {"own": partial(case.trace, own)}
        for malloc, batch_size in batch_sizes.items():
            peer = stack.enter_context(case.start_peer(tools, malloc))
            calls[malloc] = partial(case.trace, peer, batch_size=batch_size)
        peak = own.call("gemm_peak")["flops_per_second"]
        timed = side_by_side(calls, case.plan.repeats)
        saved = case.work / f"{case.kind}-timed.npz"
        books_residual = case.trace(own, saved)["books_residual"]
    active = case.reference.active[case.kind]
    flops = cone_flops(case.plan.model, _targets(Edges.load(saved), case), active, cross_layer=case.kind == "clt")
    return {
        "n_active": len(active.layer),
        "books_residual": books_residual,
        "gemm_peak_flops_per_second": peak,
        "cone_flops": flops,
        "share_of_gemm_peak": flops / peak / timed["median_seconds"]["own"],
        **timed,
    }


def _targets(edges: Edges, case: Case) -> Sites:
    """What was attributed: the selected features, and the logits at the last position."""
    shape, n_logits = case.plan.model, len(edges.logit_token_ids)
    layers, positions = edges.features[:, 0], edges.features[:, 1]
    return Sites(
        np.concatenate([layers, np.full(n_logits, shape.n_layers)]),
        np.concatenate([positions, np.full(n_logits, shape.n_pos - 1)]),
    )
