"""Measures this project against circuit-tracer, side by side in one run, and writes what it found."""

import argparse
import os
import shlex
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.environment import Tools, install_peer, machine
from benchmarks.golden import check_peer
from benchmarks.pruning import run_pruning
from benchmarks.report import write_report
from benchmarks.shapes import QUICK, REFERENCE, Plan
from benchmarks.tracing import Case, run_tracing
from benchmarks.weights import write_reference

RESULTS = Path(__file__).with_name("results")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    cores = len(os.sched_getaffinity(0))
    parser.add_argument("--quick", action="store_true", help="a tiny shape: does it run? Its figures mean nothing")
    parser.add_argument("--threads", type=int, default=cores, help="threads of every tool (all cores)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the results (benchmarks/results)")
    arguments = parser.parse_args()
    install_peer()
    command = shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]])
    with tempfile.TemporaryDirectory(prefix="orrery-bench-") as work:
        for found in run(QUICK if arguments.quick else REFERENCE, Tools(arguments.threads), Path(work)):
            write_report({"command": command, "n_threads": arguments.threads, **found}, arguments.out)
            print(f"wrote {arguments.out}/README.md", flush=True)


def run(plan: Plan, tools: Tools, work: Path) -> Iterator[dict[str, Any]]:
    """All measurements of a plan; what is known so far after each kind of transcoder."""
    start = time.perf_counter()
    facts = {"plan": plan.name, "machine": machine()}

    def say(text: str) -> None:
        print(f"[{time.perf_counter() - start:6.0f} s] {text}", flush=True)

    say("the peer on golden/")
    facts["peer"] = check_peer(tools, plan.golden_cases, work)
    say("pruning")
    pruning = run_pruning(plan, tools, work)
    say("writing the reference weights")
    reference = write_reference(plan.model, plan.kinds, work)
    tracing = {}
    for kind in plan.kinds:
        say(f"attribution, {kind}")
        tracing[kind] = run_tracing(Case(kind, plan, reference, work), tools)
        yield {**facts, "tracing": tracing, "pruning": pruning, "seconds": time.perf_counter() - start}
    say("done")


if __name__ == "__main__":
    main()
