"""`orrery convert`: a transcoder's files in another layout."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from circuits.cli.console import say
from circuits.cli.options import DebugOption, DecoderSiteOption, EncoderTapOption, JsonOption, L0Option
from circuits.cli.progress import step
from circuits.cli.sources import loading, read_options

__all__ = ["convert"]

LABELS_NAME = "labels.json"


def convert(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="A transcoder: a local folder or OWNER/NAME[//FOLDER][@REVISION].")
    ],
    destination: Annotated[Path, typer.Argument(metavar="DESTINATION", help="A folder, which is made.")],
    to: Annotated[str, typer.Option("--to", metavar="LAYOUT", help="orrery or circuit-tracer.")] = "orrery",
    encoder_tap: EncoderTapOption = None,
    decoder_site: DecoderSiteOption = None,
    n_layers: Annotated[
        int | None,
        typer.Option("--n-layers", min=1, help="Of the model, for a set that lacks some and does not say it."),
    ] = None,
    l0: L0Option = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Write a transcoder in another layout, layer by layer.

    Tensors are copied bit by bit, unless a factor has to be folded in. What the layout cannot hold is refused, and
    named. DESTINATION appears whole or not at all.

    For example:

        orrery convert google/gemma-scope-2-1b-pt//clt/width_262k_l0_medium_affine my-clt

        orrery convert my-transcoders theirs --to circuit-tracer
    """
    with step("Looking for the files"):
        from replacement_model import formats
        from replacement_model.hub import downloads_shown
        from replacement_model.source import TRANSCODER_FILES, locate

    options = replace(read_options(encoder_tap, decoder_site, l0), n_layers=n_layers)
    with downloads_shown():
        found = locate(source, TRANSCODER_FILES)
    with loading(found):
        draft = formats.read_draft(found.folder, options)
    labels = found.folder / LABELS_NAME
    with step(f"Writing {destination}"):
        paths = formats.convert(draft, destination, to, beside=[labels] if labels.is_file() else ())
    for note in draft.notes:
        say(f"Note: {note}")
    n_bytes = sum(path.stat().st_size for path in paths)
    if as_json:
        typer.echo(json.dumps({"files": [str(path) for path in paths], "bytes": n_bytes, "notes": list(draft.notes)}))
    else:
        say(f"wrote {destination} ({len(paths)} files, {n_bytes / 2**20:,.1f} MiB)")
