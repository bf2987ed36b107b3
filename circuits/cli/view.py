"""`orrery view`: graphs in the browser, served on this machine alone."""

import threading
import webbrowser
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from circuits.cli.console import say, stdout
from circuits.cli.options import DebugOption, DeviceOption, TranscoderOption
from circuits.cli.progress import step
from circuits.cli.sources import loading, located
from circuits.cli.startup import collector_paused
from replacement_model.errors import InputError

if TYPE_CHECKING:
    from replacement_model import ReplacementModel

__all__ = ["view"]


def view(
    place: Annotated[Path, typer.Argument(metavar="OUT", help="A folder with graphs (.safetensors), or one of them.")],
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Where to listen; 0 for any free port.")] = 0,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Print the address, and leave opening it to you.")
    ] = False,
    features: Annotated[
        Path | None,
        typer.Option("--features", metavar="FOLDER", help="Evidence that `orrery features collect` wrote."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "-m", help="The graphs' model, to steer it from the page; those of pocket need no option."
        ),
    ] = None,
    transcoder: TranscoderOption = None,
    device: DeviceOption = None,
    debug: DebugOption = False,
) -> None:
    """Show graphs in the browser: explore, prune, annotate, compare and steer them.

    Serves this machine alone, offline, until Ctrl-C. Annotations are saved beside each graph, in
    NAME.annotations.json, which `orrery export` and `orrery group --supernodes` read.

    For example:

        orrery view out

        orrery view out/dallas.safetensors --features evidence --port 8000 --no-browser
    """
    if transcoder is not None and model is None:
        raise InputError(f"--transcoder {transcoder} needs the model that it goes with; add --model")
    with step("Reading the folder"), collector_paused():
        from viz.viewer.evidence import FeatureTexts
        from viz.viewer.library import Library
        from viz.viewer.server import ViewerServer, make_app
        from viz.viewer.steering import Steering

        library = Library(place)
        n_graphs = len(library.summaries())
        if not n_graphs:
            raise InputError(f"{place} holds no graphs; write some with `orrery trace PROMPT -o {place}`")
        texts = None if features is None else FeatureTexts(features)
    loaded = None if model is None else _loaded(model, transcoder, device)
    server = ViewerServer(make_app(library, texts, Steering(loaded)), port)
    stdout().print(server.url, markup=False)
    say(f"{n_graphs} graph{'' if n_graphs == 1 else 's'} of {place}; Ctrl-C ends it")
    if not no_browser:
        threading.Thread(target=webbrowser.open, args=(server.url,), daemon=True).start()
    with suppress(KeyboardInterrupt):
        server.run()
    say("stopped")


def _loaded(model: str, transcoder: str | None, device: str | None) -> "ReplacementModel":
    from replacement_model import ReplacementModel

    sources = located(model, transcoder)
    with loading(*sources):
        return ReplacementModel.from_pretrained(*sources, device=device)
