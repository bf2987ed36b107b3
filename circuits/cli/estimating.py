"""`orrery info --estimate`: what a trace would take."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from circuits.cli.sources import located_headers, read_options

if TYPE_CHECKING:
    from circuits.estimate import Estimate
    from replacement_model import Transcoder

__all__ = ["estimate_trace"]


def estimate_trace(
    model: str,
    transcoder: str | None,
    *,
    tokens: int,
    features: int | None,
    memory: str,
    device: str | None,
    places: tuple[str | None, str | None, int | None],
) -> dict[str, Any]:
    """Memory and time of a trace, as plain values.

    Args:
        model, transcoder: their names; only configs and file headers are read.
        tokens: of the prompt, with <bos>.
        features: at most so many get a row; None for all.
        memory: attribution's budget.
        device: where it would run.
        places: `--encoder-tap`, `--decoder-site` and `--l0`.

    Raises:
        OrreryError: a name leads nowhere, files are damaged, or the trace does not fit the budget.
    """
    import torch

    from circuits.estimate import DEFAULT_L0, TraceShape, estimate, gemm_rate
    from replacement_model.formats import read_draft
    from replacement_model.host import adapt
    from replacement_model.loading import load_empty_model

    with located_headers(model, transcoder) as (model_folder, transcoder_folder):
        host = adapt(load_empty_model(model_folder))
        read = replace(read_options(*places), n_layers=host.n_layers)
        loaded = read_draft(transcoder_folder, read).load()
        l0 = _declared_l0(transcoder_folder, loaded)
        shape = TraceShape(tokens, features, memory, l0 or DEFAULT_L0, max(1, len(loaded.prefix)))
        on_device = device is not None and torch.device(device).type != "cpu"
        rate = gemm_rate(device or "cpu")
        found = estimate(host, loaded, shape, on_device=on_device, flops_per_second=rate)
    return _plain(found, shape.l0, rate)


def _declared_l0(folder: Path, transcoder: "Transcoder") -> float | None:
    """Active features per layer and position, where the files say it: `l0` in a config.json, or k of a TopK."""
    from replacement_model.formats.files import read_json
    from replacement_model.formats.layer_folders import holders

    known = [read_json(place / "config.json").get("l0") for place in holders(folder, "config.json")]
    numbers = [value for value in known if isinstance(value, int | float)]
    numbers = numbers or [layer.activation.k for layer in transcoder.layers if layer and layer.activation.k]
    return sum(numbers) / len(numbers) if numbers else None


def _plain(found: "Estimate", l0: float, rate: float) -> dict[str, Any]:
    return {
        "active features": found.n_active_features,
        "L0": l0,
        "rows": found.n_rows,
        "host memory": found.host_bytes,
        "mapped files": found.mapped_bytes,
        "device memory": found.device_bytes,
        "seconds": found.seconds,
        "flops": found.flops,
        "flops per second here": rate,
        "plan": asdict(found.plan),
    }


def readable(found: dict[str, Any]) -> dict[str, Any]:
    """The same for people: sizes and durations with their units, how the budget is used in words."""
    plan = found["plan"]
    held = "in memory" if not plan["rows_in_file"] else "in a temporary file"
    return {
        "active features": found["active features"],
        "L0": f"{found['L0']:g} per layer and token",
        "rows of the graph": found["rows"],
        "peak host memory": _size(found["host memory"]),
        "weights mapped from files": _size(found["mapped files"]),
        "peak device memory": _size(found["device memory"]) if found["device memory"] else None,
        "time": f"about {_duration(found['seconds'])}",
        "work": f"{found['flops'] / 1e9:,.0f} GFLOP at {found['flops per second here'] / 1e9:,.0f} GFLOP/s",
        "batches": f"{plan['batch_size']} targets, rows {held}",
    }


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 2**30:.2f} GiB" if n_bytes >= 2**30 else f"{n_bytes / 2**20:.0f} MiB"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
