"""Traces a long prompt on a random model of Gemma 2 2B's shape in bfloat16, with per-layer transcoders.

    python -m benchmarks.long_prompt                                  # 2,048 tokens, 4,000 features: hours on 2 cores
    python -m benchmarks.long_prompt --tokens 512 --features 500
    python -m benchmarks.long_prompt --shape tiny --tokens 40 --features 60

Weights are random, so the graph means nothing; time and memory depend on the shapes and on how many features are
active, which the thresholds set. They need 9 GiB of disk. Loading, tracing and pruning run in a fresh process.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.anonymous import AnonymousPeak
from benchmarks.environment import machine
from benchmarks.long_weights import SHAPES, write_long
from benchmarks.report import write_facts
from circuits import attribute, prune
from replacement_model import ReplacementModel

__all__ = ["measure_long"]

RESULTS = Path(__file__).with_name("results")
REPORT_SECONDS = 60.0


def measure_long(folder: Path, prompt: tuple[int, ...], max_feature_nodes: int, memory: str) -> dict[str, Any]:
    """Loads, traces and prunes what `write_long` wrote, in a process of its own; `memory` is the trace's budget."""
    request = {"folder": str(folder), "prompt": prompt, "max_feature_nodes": max_feature_nodes, "memory": memory}
    path = folder / "request.json"
    path.write_text(json.dumps(request))
    command = [sys.executable, "-m", "benchmarks.long_prompt", "--worker", str(path)]
    answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(answer.stdout.splitlines()[-1])
    return found


def _work(folder: str, prompt: list[int], max_feature_nodes: int, memory: str) -> dict[str, Any]:
    """What the worker measures. `bytes` are of anonymous memory, above that before the model was loaded."""
    found: dict[str, Any] = {}
    with AnonymousPeak() as whole:
        with _measuring("load", found):
            model = ReplacementModel.from_pretrained(f"{folder}/model", f"{folder}/plt")
        with _measuring("trace", found):
            graph = attribute(
                model, prompt, max_feature_nodes=max_feature_nodes, memory_budget=memory, progress=_reporter()
            )
        with _measuring("prune", found):
            circuit = prune(graph)
    return {
        **found,
        "peak_bytes": whole.extra_bytes,
        "n_active": graph.metadata.settings["n_active_features"],
        "n_attributed": len(graph.features),
        "n_edges": int(graph.adjacency.nnz),
        "n_pruned_nodes": int(circuit.node_mask.sum()),
        "n_pruned_edges": int(circuit.edges.nnz),
        "books_residual": graph.books.residual,
    }


class _measuring(AbstractContextManager["_measuring"]):
    """Seconds and anonymous memory of a block, as `<name>_seconds` and `<name>_bytes` of `found`."""

    def __init__(self, name: str, found: dict[str, Any]) -> None:
        self._name, self._found, self._peak = name, found, AnonymousPeak()

    def __enter__(self) -> "_measuring":
        self._start = time.perf_counter()
        self._peak.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._peak.__exit__(*error)
        self._found[f"{self._name}_seconds"] = time.perf_counter() - self._start
        self._found[f"{self._name}_bytes"] = self._peak.extra_bytes


def _reporter() -> Callable[[int, int], None]:
    """Says on stderr how far the trace is, once a minute."""
    last = [time.perf_counter()]

    def report(done: int, total: int) -> None:
        now = time.perf_counter()
        if now - last[0] > REPORT_SECONDS:
            last[0] = now
            print(f"{done} of {total} rows", file=sys.stderr, flush=True)

    return report


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.long_prompt", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--shape", choices=SHAPES, default="gemma2_2b")
    parser.add_argument("--tokens", type=int, default=2048)
    parser.add_argument("--features", type=int, default=4000, help="max_feature_nodes")
    parser.add_argument("--l0", type=float, default=30.0, help="active features at each layer and position")
    parser.add_argument("--memory", default="16GiB", help="the trace's memory budget, beside the model's 5 GiB")
    parser.add_argument("--work", type=Path, help="where weights are written and, if it has them, read")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        print(json.dumps(_work(**json.loads(arguments.worker.read_text()))))
        return
    settings = {name: getattr(arguments, name) for name in ("tokens", "features", "l0", "memory")}
    shape = SHAPES[arguments.shape]
    facts = {"shape": arguments.shape, **asdict(shape), "settings": settings, "machine": machine()}
    kept = nullcontext(str(arguments.work)) if arguments.work else tempfile.TemporaryDirectory(prefix="orrery-bench-")
    with kept as work:
        prompt = write_long(shape, arguments.tokens, arguments.l0, Path(work))
        print("weights are written", file=sys.stderr, flush=True)
        facts["found"] = measure_long(Path(work), prompt, arguments.features, arguments.memory)
    path = arguments.out / f"long_prompt_{arguments.shape}_{arguments.tokens}_{arguments.features}.json"
    write_facts(facts, path)
    print(json.dumps(facts, indent=1), f"\nwrote {path}")


if __name__ == "__main__":
    main()
