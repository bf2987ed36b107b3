"""Traces random Gemma 3 models with cross-layer transcoders of Gemma Scope 2's shapes and layout, from disk.

    python -m benchmarks.gemma_scope_2 --case 270m          # 18 layers, 262,080 features: 12 GiB
    python -m benchmarks.gemma_scope_2 --case 1b            # 26 layers, 262,080 features: 30 GiB
    python -m benchmarks.gemma_scope_2 --case 8gib          # 8 GiB, 2,000 active features, all attributed
    python -m benchmarks.gemma_scope_2 --case 270m-plain --peer     # no skips, beside circuit-tracer

Weights are random, so the graph means nothing; time and memory depend on the shapes and on how many features are
active, which the thresholds set. Loading, tracing and pruning run in a fresh process, with the files' pages dropped
from memory before, as is the plain read of the same bytes that they are compared with.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.anonymous import AnonymousPeak, anonymous_bytes
from benchmarks.environment import Tools, install_peer, machine
from benchmarks.gemma_weights import CASES, GemmaCase, read_prompt, write_case
from benchmarks.report import write_facts
from circuits import attribute, prune
from replacement_model import ReplacementModel

__all__ = ["measure_case", "measure_peer"]

RESULTS = Path(__file__).with_name("results")
READ_BYTES = 2**24
PEER_BATCH_SIZE = 8


def measure_case(folder: Path, prompt: tuple[int, ...], case: GemmaCase, **settings: Any) -> dict[str, Any]:
    """Loads, traces and prunes in a process of its own, after a plain read of the transcoder.

    Args:
        folder: what `write_case` wrote.
        prompt: its prompt.
        case: its sizes.
        settings: `memory`, `device` and `dtype` of the model.
    """
    _forget(folder)
    read_seconds = _plain_read(folder / "clt")
    _forget(folder)
    request = {"folder": str(folder), "prompt": prompt, "max_feature_nodes": case.max_feature_nodes, **settings}
    command = [sys.executable, "-m", "benchmarks.gemma_scope_2", "--worker", json.dumps(request)]
    answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(answer.stdout.splitlines()[-1])
    n_bytes = sum(path.stat().st_size for path in _files(folder / "clt"))
    return {"plain_read_seconds": read_seconds, "transcoder_bytes": n_bytes, **found}


def measure_peer(folder: Path, prompt: tuple[int, ...], case: GemmaCase, tools: Tools) -> dict[str, Any]:
    """circuit-tracer on the same weights in its own layout, loaded whole, in float32."""
    converted = folder / "peer"
    if not converted.is_dir():
        convert = [sys.executable, "-m", "circuits.cli", "convert", str(folder / "clt"), str(converted)]
        subprocess.run([*convert, "--to", "circuit-tracer"], check=True)
    install_peer()
    with tools.peer() as peer:
        start = time.perf_counter()
        peer.call("load_model", model=str(folder / "model"), transcoder=str(converted))
        loaded = time.perf_counter() - start
        settings = {"batch_size": PEER_BATCH_SIZE, "max_feature_nodes": case.max_feature_nodes}
        return {"load_seconds": loaded, **settings, **peer.call("trace", token_ids=list(prompt), **settings)}


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _forget(folder: Path) -> None:
    """Drop the files' pages from memory, so that whoever reads next reads from the disk."""
    for path in _files(folder):
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _plain_read(folder: Path) -> float:
    start, buffer = time.perf_counter(), bytearray(READ_BYTES)
    for path in _files(folder):
        with path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass
    return time.perf_counter() - start


def _work(
    folder: str, prompt: list[int], max_feature_nodes: int | None, memory: str, device: str, dtype: str | None
) -> dict[str, Any]:
    """What the worker measures; the trace's memory is above that of the loaded model."""
    start = time.perf_counter()
    model_dtype = None if dtype is None else getattr(torch, dtype)
    model = ReplacementModel.from_pretrained(f"{folder}/model", f"{folder}/clt", dtype=model_dtype, device=device)
    loaded, model_bytes = time.perf_counter(), anonymous_bytes()
    hashes = model.hashes  # read from the files once in their life; later from what is remembered
    hashed = time.perf_counter()
    with AnonymousPeak() as peak:
        graph = attribute(model, prompt, max_feature_nodes=max_feature_nodes, memory_budget=memory)
    traced = time.perf_counter()
    circuit = prune(graph)
    pruned = time.perf_counter()
    return {
        "load_seconds": loaded - start,
        "hash_seconds": hashed - loaded,
        "n_hashed_files": len(hashes),
        "trace_seconds": traced - hashed,
        "prune_seconds": pruned - traced,
        "loaded_anonymous_bytes": model_bytes,
        "trace_anonymous_bytes": peak.extra_bytes,
        "n_active": graph.metadata.settings["n_active_features"],
        "n_attributed": len(graph.features),
        "n_edges": int(graph.adjacency.nnz),
        "n_pruned_nodes": int(circuit.node_mask.sum()),
        "books_residual": graph.books.residual,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gemma_scope_2", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--case", choices=CASES, default="270m")
    parser.add_argument("--transcoder-dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--dtype", help="of the model (bfloat16, as in its file)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--memory", default="4GiB", help="the trace's memory budget")
    parser.add_argument("--peer", action="store_true", help="circuit-tracer too, on a case without skips, in float32")
    parser.add_argument("--weights", type=Path, help="folder for the weights: kept, and used if they are there")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        print(json.dumps(_work(**json.loads(arguments.worker))))
        return
    case = replace(CASES[arguments.case], dtype=arguments.transcoder_dtype)
    dtype = "float32" if arguments.peer else arguments.dtype
    settings = {"memory": arguments.memory, "device": arguments.device, "dtype": dtype}
    facts = {"case": arguments.case, **asdict(case), "settings": settings, "machine": machine()}
    with tempfile.TemporaryDirectory(prefix="orrery-bench-") as temporary:
        folder = arguments.weights or Path(temporary)
        prompt = read_prompt(folder) or write_case(case, folder)
        facts["own"] = measure_case(folder, prompt, case, **settings)
        if arguments.peer:
            facts["peer"] = measure_peer(folder, prompt, case, Tools(len(os.sched_getaffinity(0))))
    path = arguments.out / f"gemma_scope_2_{arguments.case}.json"
    write_facts(facts, path)
    print(json.dumps(facts, indent=1), f"\nwrote {path}")


if __name__ == "__main__":
    main()
