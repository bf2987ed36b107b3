"""Writes what was measured: everything as JSON, and a page of tables for people."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

__all__ = ["write_facts", "write_report"]

MIB = 2**20
KINDS = {"clt": "cross-layer", "plt": "per-layer"}
MALLOC_NOTE = "`tuned` is `MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=100000000000`, set for the peer alone"


def write_report(found: dict[str, Any], folder: Path) -> None:
    """`<plan>.json`, and README.md, in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{found['plan']}.json").write_text(json.dumps(found, indent=2) + "\n")
    (folder / "README.md").write_text("\n".join(_page(found)) + "\n")


def write_facts(facts: dict[str, Any], path: Path) -> None:
    """What one run found, as a file of its own in the folder of results."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(facts, indent=1) + "\n")


def _page(found: dict[str, Any]) -> Iterable[str]:
    machine, peer = found["machine"], found["peer"]
    yield "# Benchmark results"
    yield ""
    yield f"Written by `{found['command']}` in {found['seconds'] / 60:.0f} minutes; details in `{found['plan']}.json`."
    yield ""
    hardware = f"{machine['processor']}, {machine['n_cores']} cores, {machine['memory_gib']} GiB"
    yield f"- Machine: {hardware}, {machine['system']}"
    yield f"- {found['n_threads']} threads for every tool; load {machine['load_average_at_start']:.2f} at the start"
    yield f"- Commit: {machine['commit']}{' with uncommitted changes' if machine['uncommitted_changes'] else ''}"
    yield f"- Ours: Python {machine['python']}, {_versions(machine)}"
    yield f"- Peer: {peer['name']} {peer['version']} ({peer['repository']}), with {_versions(peer)}"
    yield f"- {MALLOC_NOTE}. Ours runs as it comes."
    yield f"- The peer on golden/, largest difference of an edge: {_golden(peer['golden'])}"
    for kind, tracing in found["tracing"].items():
        yield from _tracing(kind, tracing, _peer_name(peer))
    yield from _pruning(found["pruning"], _peer_name(peer))


def _peer_name(peer: dict[str, Any]) -> str:
    return f"{peer['name']} {peer['version']}"


def _versions(tool: dict[str, Any]) -> str:
    return ", ".join(f"{name} {version}" for name, version in tool["versions"].items())


def _golden(differences: dict[str, float]) -> str:
    return ", ".join(f"{case} {difference:.1e}" for case, difference in differences.items())


def _tracing(kind: str, tracing: dict[str, Any], peer: str) -> Iterable[str]:
    agreement = tracing["agreement"]
    yield from ("", f"## Attribution, {KINDS[kind]} transcoder: {tracing['n_active']} active features", "")
    yield (
        f"Largest difference from our float64 run: ours {agreement['own_float64']['max_difference']:.1e}, "
        f"the peer {agreement['peer_own_float64']['max_difference']:.1e} "
        f"(largest edge {agreement['own_float64']['largest_edge']:.1f}; the peer and we selected "
        f"{agreement['own_peer']['n_common']} features in common of {agreement['own_peer']['n_selected'][0]}). "
        f"Books: residual {tracing['books_residual']:.1e}."
    )
    yield ""
    batch_sizes = {malloc: _fastest(tried) for malloc, tried in tracing["peer_batch_sizes"].items()}
    yield from _ratios(
        tracing, {malloc: f"{peer}, batch {size}, malloc {malloc}" for malloc, size in batch_sizes.items()}
    )
    yield ""
    yield (
        f"The causal cone holds {tracing['cone_flops'] / 1e12:.3f} TFLOP. Float32 matrix products of 2048 reach "
        f"{tracing['gemm_peak_flops_per_second'] / 1e9:.0f} GFLOP/s here; ours reaches "
        f"{tracing['share_of_gemm_peak']:.0%} of that."
    )
    yield from (
        "",
        f"The peer by batch size, one call each, {tracing['probe_features']} features:",
        "",
        "| malloc | batch | seconds | memory above, MiB |",
        "|---|---|---|---|",
    )
    for malloc, tried in tracing["peer_batch_sizes"].items():
        for one in tried:
            yield f"| {malloc} | {one['batch_size']} | {one['seconds']:.2f} | {one['extra_bytes'] / MIB:.0f} |"


def _fastest(tried: list[dict[str, Any]]) -> int:
    return min(tried, key=lambda one: one["seconds"])["batch_size"]


def _ratios(measured: dict[str, Any], peers: dict[str, str]) -> Iterable[str]:
    """Median seconds and memory of ours and of each peer, with the peer's as a multiple of ours."""
    yield "| | seconds, median (all) | times ours | memory above, MiB | times ours |"
    yield "|---|---|---|---|---|"
    for tool, name in {"own": "ours", **peers}.items():
        all_seconds = ", ".join(f"{seconds:.3f}" for seconds in measured["seconds"][tool])
        ratio, bytes_ratio = measured["times_ours"].get(tool), measured["bytes_times_ours"].get(tool)
        yield (
            f"| {name} | {measured['median_seconds'][tool]:.3f} ({all_seconds}) | {_multiple(ratio)} "
            f"| {measured['extra_bytes'][tool] / MIB:.0f} | {_multiple(bytes_ratio)} |"
        )


def _multiple(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.1f}"


def _pruning(pruning: dict[str, Any], peer: str) -> Iterable[str]:
    agreement = pruning["agreement"]
    size = f"{pruning['n_nodes']} nodes, {pruning['n_edges']} edges ({pruning['density']:.0%} of the rectangle)"
    yield from ("", f"## Pruning: {size}", "")
    yield (
        f"Masks equal to the peer's in float64; in float32 {agreement['float32_edges']} edges differ, "
        f"at most {agreement['float32_largest_distance_to_threshold']:.0e} from the threshold (relative)."
    )
    yield ""
    yield from _ratios(pruning, {malloc: f"{peer}, float32, malloc {malloc}" for malloc in pruning["times_ours"]})
