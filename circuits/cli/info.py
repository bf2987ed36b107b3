"""`orrery info`: what lies at a path or a hub name, how well a transcoder fits a model, and what a trace would take."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from circuits.cli.console import stdout
from circuits.cli.estimating import estimate_trace, readable
from circuits.cli.facts import facts_about
from circuits.cli.measuring import measure, measurement_text
from circuits.cli.options import (
    DebugOption,
    DecoderSiteOption,
    DeviceOption,
    EncoderTapOption,
    JsonOption,
    L0Option,
    MemoryOption,
    TranscoderOption,
)
from circuits.cli.progress import step
from circuits.cli.sources import loading, located, read_options
from replacement_model.errors import InputError

__all__ = ["info"]

DEFAULT_TOKENS = 64


def info(
    path: Annotated[
        str,
        typer.Argument(metavar="PATH", help="A graph file, a transcoder's or a model's folder or hub name, or pocket."),
    ],
    transcoder: TranscoderOption = None,
    measured: Annotated[
        bool, typer.Option("--measure", help="Run the model PATH on text: how much does --transcoder explain, and how?")
    ] = False,
    text: Annotated[
        Path | None, typer.Option("--text", metavar="FILE", help="Measure on this text; else on some that is built in.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="With --measure: exit with 1 unless what the files declare is the best.")
    ] = False,
    estimated: Annotated[
        bool, typer.Option("--estimate", help="Memory and time of a trace of PATH, from configs and headers alone.")
    ] = False,
    tokens: Annotated[
        int | None, typer.Option("--tokens", min=2, help="With --estimate: of the prompt, <bos> included; else 64.")
    ] = None,
    features: Annotated[
        int | None,
        typer.Option("--features", min=1, help="With --estimate: trace's --max-feature-nodes; else all."),
    ] = None,
    memory: MemoryOption = "4GiB",
    encoder_tap: EncoderTapOption = None,
    decoder_site: DecoderSiteOption = None,
    l0: L0Option = None,
    device: DeviceOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Say what a file, folder or hub name is, and how well a transcoder fits a model.

    A transcoder's files are checked by their headers. A model's config is checked against the host adapters, without
    its weights: if this succeeds, its architecture can be traced.

    With --measure, a model is run on text, and its transcoder is applied as its files say and in every other plausible
    way: another place to read or write, the skip transposed, with or without a prefix. Each gives its FVU (the fraction
    of the variance left unexplained) and its L0 (active features per token).

    With --estimate, nothing is run and no weights are read: peak memory and time of a trace follow from the sizes, the
    L0 that the files declare (else 50) and a quick measurement of this machine's matrix products.

    For example:

        orrery info out/dallas.safetensors

        orrery info pocket --json

        orrery info ./gemma-3-1b --transcoder ./transcoder --measure

        orrery info ./gemma-3-1b --transcoder ./transcoder --estimate --tokens 200 --features 5000
    """
    if not measured and (text is not None or check):
        raise InputError("--text and --check belong to --measure")
    if not estimated and (tokens is not None or features is not None):
        raise InputError("--tokens and --features belong to --estimate")
    if measured and estimated:
        raise InputError("give either --measure or --estimate")
    found: dict[str, Any] = {}
    if estimated:
        found = estimate_trace(
            path,
            transcoder,
            tokens=DEFAULT_TOKENS if tokens is None else tokens,
            features=features,
            memory=memory,
            device=device,
            places=(encoder_tap, decoder_site, l0),
        )
    elif measured:
        found["measured"] = _measure(path, transcoder, text, encoder_tap, decoder_site, l0, device)
    else:
        with step(f"Reading {path}"):
            found = facts_about(path)
    if as_json:
        typer.echo(json.dumps(found))
    elif measured:
        stdout().print(measurement_text(found["measured"]))
    else:
        stdout().print(_table(readable(found) if estimated else found))
    if check and not found["measured"]["declared is best"]:
        raise typer.Exit(1)


def _measure(
    path: str,
    transcoder: str | None,
    text: Path | None,
    encoder_tap: str | None,
    decoder_site: str | None,
    l0: int | None,
    device: str | None,
) -> dict[str, Any]:
    model_at, transcoder_at = located(path, transcoder)
    with loading(model_at, transcoder_at):
        from replacement_model import ReplacementModel

        model = ReplacementModel.from_pretrained(
            model_at, transcoder_at, device=device, read=read_options(encoder_tap, decoder_site, l0)
        )
    with step("Measuring"):
        return {"model": model.name, "transcoder": model.transcoder.name} | measure(model, text)


def _table(facts: dict[str, Any]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        if value not in (None, {}, []):
            table.add_row(name, _table(value) if isinstance(value, dict) else _text(value))
    return table


def _text(value: Any) -> Text:
    if isinstance(value, bool):
        return Text("yes" if value else "no")
    if isinstance(value, list):
        return Text(", ".join("none" if item is None else str(item) for item in value))
    return Text(f"{value:,}" if isinstance(value, int) else f"{value:.2g}" if isinstance(value, float) else str(value))
