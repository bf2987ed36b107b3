"""The results of `benchmarks.gemma_scope_2` as a table of text: `python -m benchmarks.gemma_table`."""

import json
from pathlib import Path
from typing import Any

__all__ = ["table"]

RESULTS = Path(__file__).with_name("results")
TITLES = {"270m": "270M, 18 layers", "1b": "1B, 26 layers"}
HEADER = (
    "Gemma 3 shape",
    "CLT on disk",
    "active",
    "attributed",
    "load",
    "hash once",
    "trace",
    "memory above the model",
)


def table(folder: Path = RESULTS) -> str:
    """One line for each published size, and one for the comparison with the peer, from the files in `folder`."""
    rows = [HEADER, *(_row(TITLES[case], json.loads(_path(folder, case).read_text())["own"]) for case in TITLES)]
    widths = [max(len(row[col]) for row in rows) for col in range(len(HEADER))]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join([*lines, "", _beside_the_peer(json.loads(_path(folder, "270m-plain").read_text()))])


def _beside_the_peer(found: dict[str, Any]) -> str:
    own, peer = found["own"], found["peer"]
    ours = f"{own['trace_seconds']:.1f} s, {own['trace_anonymous_bytes'] / 2**20:,.0f} MiB"
    theirs = f"{peer['seconds']:.1f} s, {peer['extra_bytes'] / 2**20:,.0f} MiB (batches of {peer['batch_size']})"
    return f"270M without skips, {own['n_attributed']:,} features, model in float32: {ours}; circuit-tracer: {theirs}"


def _path(folder: Path, case: str) -> Path:
    return folder / f"gemma_scope_2_{case}.json"


def _row(title: str, own: dict[str, Any]) -> tuple[str, ...]:
    return (
        title,
        f"{own['transcoder_bytes'] / 2**30:.1f} GiB",
        f"{own['n_active']:,}",
        f"{own['n_attributed']:,}",
        f"{own['load_seconds']:.1f} s",
        f"{own['hash_seconds']:.1f} s",
        f"{own['trace_seconds']:.1f} s",
        f"{own['trace_anonymous_bytes'] / 2**20:,.0f} MiB",
    )


if __name__ == "__main__":
    print(table())
