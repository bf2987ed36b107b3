"""`orrery check`: what a graph predicts, against what interventions on the model do."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from circuits.cli.console import say, stdout
from circuits.cli.inputs import EDGE_THRESHOLD, NODE_THRESHOLD, POCKET, open_circuit
from circuits.cli.options import (
    DebugOption,
    DeviceOption,
    JsonOption,
    OtherEdgeThresholdOption,
    OtherNodeThresholdOption,
    TranscoderOption,
)
from circuits.cli.output import OutputFile, check_output
from circuits.cli.progress import step, steps
from circuits.cli.sources import loading, located
from replacement_model.errors import InputError

if TYPE_CHECKING:
    from circuits import Circuit
    from circuits.faithfulness.check import Checks
    from replacement_model import ReplacementModel

__all__ = ["check"]

OTHER = {"clt": "plt", "plt": "clt"}


def check(
    graphs: Annotated[
        list[str],
        typer.Argument(metavar="GRAPH...", help="Files that `orrery trace --output` wrote; or prompts, traced first."),
    ],
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "-m", help="The model that the graphs were traced with; for the pocket model's: found."
        ),
    ] = None,
    transcoder: TranscoderOption = None,
    other_transcoder: Annotated[
        str | None,
        typer.Option(
            "--other-transcoder",
            metavar="NAME",
            help="Trace the prompts with this one too and compare; none: do not. For pocket: the other of clt and plt.",
        ),
    ] = None,
    n_features: Annotated[
        int, typer.Option("--features", min=3, help="Influential features to intervene on, and as many by chance.")
    ] = 20,
    most_ablations: Annotated[
        int, typer.Option("--most-ablations", min=3, help="Ablate at most so many of the active features, each alone.")
    ] = 2000,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of what is drawn by chance.")] = 0,
    node_threshold: OtherNodeThresholdOption = None,
    edge_threshold: OtherEdgeThresholdOption = None,
    device: DeviceOption = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FOLDER", help="Write check.json, summary.md, check.svg and check.pdf."),
    ] = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Test graphs by interventions, and say how much of them held.

    Direct effects must be exact, or the exit code is 1. Effects further on, influence against ablation, stability over
    thresholds and agreement with another transcoder are measured. Several graphs of one model give intervals.

    For example:

        orrery check out/dallas.safetensors

        orrery check "the opposite of small is" "the opposite of empty is" -o out/check

        orrery check gemma.safetensors -m google/gemma-3-1b-pt -t OWNER/NAME//FOLDER --other-transcoder OWNER/OTHER
    """
    if output is not None and output.is_file():
        raise InputError(f"--output {output} is a file; name a folder")
    names = ("check.json", "summary.md", "check.svg", "check.pdf")
    check_output([] if output is None else [OutputFile("check", output / name) for name in names])
    with step("Reading graphs"):
        read = {text: open_circuit(Path(text), node_threshold, edge_threshold) for text in graphs if _is_file(text)}
    loaded, chosen = _load(list(read.values()), model, transcoder, device)
    circuits = [read.get(text) or _traced(loaded, text, node_threshold, edge_threshold) for text in graphs]
    other = _other(circuits, chosen, other_transcoder, device)
    from circuits.faithfulness.check import CheckSettings, check_circuits

    settings = CheckSettings(n_features, most_ablations, seed)
    with steps("Checking") as progress:
        found = check_circuits(loaded, circuits, other, settings, progress)
    written = [] if output is None else _write(found, output)
    if as_json:
        typer.echo(json.dumps(found.to_dict() | {"files": written}))
    else:
        from viz.faithfulness import check_summary

        stdout().print(check_summary(found))
    for path in written:
        say(f"wrote {path}")
    if not found.holds:
        raise typer.Exit(1)


def _is_file(text: str) -> bool:
    return text.endswith(".safetensors") or Path(text).exists()


def _load(
    circuits: "Sequence[Circuit]", model: str | None, transcoder: str | None, device: str | None
) -> "tuple[ReplacementModel, tuple[str, str | None]]":
    """The model, and the names that it was asked for by."""
    known = {(one.graph.metadata.model_name, one.graph.metadata.transcoder_name) for one in circuits}
    if len(known) > 1:
        pairs = "; ".join(f"{of} with {by}" for of, by in sorted(known))
        raise InputError(f"graphs of one model and transcoder are checked together, these are of {pairs}")
    of, by = next(iter(known), ("pocket", "pocket-clt"))
    if model is None and of != "pocket":
        raise InputError(f"the graph was traced with {of} and {by}; say where they are with --model and --transcoder")
    if model is None or (model == "pocket" and transcoder is None):
        model, transcoder = "pocket", transcoder or POCKET.get(by, "clt")
    return _loaded(model, transcoder, device), (model, transcoder)


def _loaded(model: str, transcoder: str | None, device: str | None) -> "ReplacementModel":
    sources = located(model, transcoder)
    with loading(*sources):
        from replacement_model import ReplacementModel

        return ReplacementModel.from_pretrained(*sources, device=device)


def _traced(
    model: "ReplacementModel", prompt: str, node_threshold: float | None, edge_threshold: float | None
) -> "Circuit":
    from circuits import attribute, prune

    with step("Attributing"):
        graph = attribute(model, prompt)
        node, edge = node_threshold, edge_threshold
        return prune(graph, NODE_THRESHOLD if node is None else node, EDGE_THRESHOLD if edge is None else edge)


def _other(
    circuits: "Sequence[Circuit]", chosen: tuple[str, str | None], name: str | None, device: str | None
) -> "ReplacementModel | None":
    """The model with the transcoder to compare with; of the pocket model the other that is shipped."""
    model, transcoder = chosen
    if name == "none":
        return None
    if name is None:
        kinds = {target.kind for one in circuits for target in one.graph.targets}
        if model != "pocket" or transcoder not in OTHER or not kinds <= {"logit", "difference"}:
            return None
        name = OTHER[transcoder]
    return _loaded(model, name, device)


def _write(found: "Checks", folder: Path) -> list[str]:
    """All files, or none."""
    from viz.faithfulness import check_markdown
    from viz.figures import figure_bytes
    from viz.figures.check import check_figure
    from viz.files import write_files

    figure = check_figure(found)
    contents = {
        folder / "check.json": (json.dumps(found.to_dict(), indent=1) + "\n").encode(),
        folder / "summary.md": check_markdown(found).encode(),
        folder / "check.svg": figure_bytes(figure, "svg"),
        folder / "check.pdf": figure_bytes(figure, "pdf"),
    }
    write_files(contents)
    return [str(path) for path in contents]
