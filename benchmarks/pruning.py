"""Pruning of a large random graph, ours from the stored sparse file, the peer's from its dense matrix.

Masks are compared first, then time and memory are measured.
"""

from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.environment import Tools
from benchmarks.layered_graph import LayeredGraph
from benchmarks.shapes import QUICK, Plan
from benchmarks.side_by_side import side_by_side

__all__ = ["run_pruning"]

THRESHOLDS = {"node_threshold": 0.8, "edge_threshold": 0.98}
FLOAT32_MARGIN = 1e-6  # relative to the cut: float32 scores this close to it may fall on either side


def run_pruning(plan: Plan, tools: Tools, work: Path) -> dict[str, Any]:
    """Masks, then seconds and memory above the loaded graph; each tool first prunes a small graph, to load and compile.

    Raises:
        ValueError: the masks differ; nothing is timed then.
    """
    graph = LayeredGraph.random(plan.prune)
    paths = {"small": work / "prune-small.npz", "large": work / "prune-large.npz"}
    LayeredGraph.random(QUICK.prune).save(paths["small"])
    graph.save(paths["large"])
    with tools.own() as own:
        for path in paths.values():
            own.call("store_graph", path=str(path))
    agreement = _compare_masks(graph, tools, paths["large"], work)
    return {
        "n_nodes": plan.prune.n_nodes,
        "n_edges": len(graph.values),
        "density": len(graph.values) / graph.n_rows / graph.n_cols,
        "agreement": agreement,
        **_time(plan, tools, paths),
    }


def _compare_masks(graph: LayeredGraph, tools: Tools, path: Path, work: Path) -> dict[str, Any]:
    masks = {name: work / f"masks-{name}.npz" for name in ("own", "float32", "float64")}
    differing = work / "differing-edges.npy"
    with tools.own() as own:
        own.call("load_graph", path=str(path))
        own.call("prune", save_to=str(masks["own"]), **THRESHOLDS)
    with tools.peer() as peer:
        for dtype in ("float32", "float64"):
            peer.call("load_graph", path=str(path), dtype=dtype)
            peer.call("prune", save_to=str(masks[dtype]), **THRESHOLDS)
        np.save(differing, _differing_edges(masks["own"], masks["float32"], graph.n_cols))
        distance = peer.call("distances", edges=str(differing), **THRESHOLDS)["largest"]
    found = {
        "float64_nodes": _differing_nodes(masks["own"], masks["float64"]),
        "float64_edges": len(_differing_edges(masks["own"], masks["float64"], graph.n_cols)),
        "float32_nodes": _differing_nodes(masks["own"], masks["float32"]),
        "float32_edges": len(np.load(differing)),
        "float32_largest_distance_to_threshold": distance,
    }
    if found["float64_nodes"] or found["float64_edges"] or found["float32_nodes"] or distance > FLOAT32_MARGIN:
        raise ValueError(f"expected equal masks (in float32 up to {FLOAT32_MARGIN} from the cut), got {found}")
    return found


def _differing_nodes(one: Path, other: Path) -> int:
    return int((np.load(one)["node_mask"] != np.load(other)["node_mask"]).sum())


def _differing_edges(one: Path, other: Path, n_cols: int) -> np.ndarray:
    """(target, source) of every edge that only one of the two kept."""
    bits = np.load(one)["edge_mask"] ^ np.load(other)["edge_mask"]
    rows = np.flatnonzero(bits.any(axis=1))
    targets, sources = np.nonzero(np.unpackbits(bits[rows], axis=1, count=n_cols))
    return np.column_stack([rows[targets], sources])


def _time(plan: Plan, tools: Tools, paths: dict[str, Path]) -> dict[str, Any]:
    with ExitStack() as stack:
        workers = {"own": stack.enter_context(tools.own())}
        workers |= {malloc: stack.enter_context(tools.peer(malloc)) for malloc in plan.mallocs}
        calls = {name: partial(worker.call, "prune", **THRESHOLDS) for name, worker in workers.items()}
        for name, worker in workers.items():
            worker.call("load_graph", path=str(paths["small"]))
            calls[name]()
            worker.call("load_graph", path=str(paths["large"]))
        return side_by_side(calls, plan.repeats)
