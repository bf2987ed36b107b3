"""`orrery trace`: from a prompt to a graph, a circuit, and their files."""

import json
from pathlib import Path
from typing import Annotated

import typer

from circuits.cli.compilation import announce_compilation
from circuits.cli.console import say, stdout
from circuits.cli.inputs import EDGE_THRESHOLD, NODE_THRESHOLD
from circuits.cli.options import (
    ChatOption,
    DebugOption,
    DecoderSiteOption,
    DeviceOption,
    EdgeThresholdOption,
    EncoderTapOption,
    IdsOption,
    JsonOption,
    L0Option,
    MemoryOption,
    ModelOption,
    NodeThresholdOption,
    TranscoderOption,
)
from circuits.cli.output import FORMATS, check_output, plan_files, slug
from circuits.cli.progress import step, steps
from circuits.cli.prompts import parse_prompt, prompt_name
from circuits.cli.sources import loading, located, read_options
from circuits.cli.startup import collector_paused
from circuits.cli.targets import parse_targets
from circuits.cli.writing import write_all

__all__ = ["trace"]


def trace(
    prompt: Annotated[
        str | None, typer.Argument(help="What the model reads; the graph explains what it says next.")
    ] = None,
    model: ModelOption = "pocket",
    transcoder: TranscoderOption = None,
    chat: ChatOption = False,
    ids: IdsOption = None,
    no_prepend: Annotated[
        bool, typer.Option("--no-prepend", help="Leave the prompt alone: add no special token, ignore no position.")
    ] = False,
    ignore_positions: Annotated[
        int | None,
        typer.Option(
            "--ignore-positions",
            min=0,
            help="Trace no features at so many first positions; else at the special token's.",
        ),
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(
            "--target",
            help="Explain this token, not the likeliest ones; also id:NUMBER or feature:LAYER:INDEX. Repeats.",
        ),
    ] = None,
    over: Annotated[
        str | None, typer.Option("--over", metavar="TOKEN", help="Explain the target's logit minus this token's.")
    ] = None,
    position: Annotated[int, typer.Option("--position", help="Where the targets are read; -1 is the last token.")] = -1,
    max_feature_nodes: Annotated[
        int | None, typer.Option("--max-feature-nodes", min=1, help="Attribute at most this many features; else all.")
    ] = None,
    memory: MemoryOption = "4GiB",
    device: DeviceOption = None,
    encoder_tap: EncoderTapOption = None,
    decoder_site: DecoderSiteOption = None,
    l0: L0Option = None,
    node_threshold: NodeThresholdOption = NODE_THRESHOLD,
    edge_threshold: EdgeThresholdOption = EDGE_THRESHOLD,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="A folder for the files, or one file whose ending names its format."),
    ] = None,
    formats: Annotated[
        str | None,
        typer.Option("--format", metavar="FORMATS", help=f"Some of {', '.join(FORMATS)}, separated by commas."),
    ] = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Trace a prompt: show which features, on which tokens, made the model say what comes next.

    Prints a summary. Writes files only with --output: into a folder go a picture (svg), the JSON that graph viewers
    read, and the graph itself (safetensors), from which `orrery prune` and `orrery export` make everything else.

    For example:

        orrery trace "the capital of the state containing Dallas is"

        orrery trace "the capital of the state containing Dallas is" -o out

        orrery trace "the capital of the state containing Dallas is" --target Austin --over Sacramento

        orrery trace "..." --model ./gemma-3-1b --transcoder ./transcoder --max-feature-nodes 5000 -o gemma.svg

        orrery trace --chat "What is the capital of Texas?" -m google/gemma-3-1b-it -t OWNER/NAME//FOLDER
    """
    given = parse_prompt(prompt, ids, chat)
    folder = Path() if output is None and formats is not None else output
    files = () if folder is None else plan_files(folder, formats, slug(prompt_name(prompt, ids)))
    check_output(files)
    with step(f"Loading {model}"), collector_paused():
        from circuits import attribute, prune
        from replacement_model import ReplacementModel
        from viz import summary, summary_dict

        targets = parse_targets(target or (), over, position)
    model_at, transcoder_at = located(model, transcoder)
    with loading(model_at, transcoder_at):
        loaded = ReplacementModel.from_pretrained(
            model_at, transcoder_at, device=device, read=read_options(encoder_tap, decoder_site, l0)
        )
    read = loaded.read_prompt(given, prepend=not no_prepend, n_ignored_pos=ignore_positions)
    announce_compilation()
    with steps("Attributing") as progress:
        graph = attribute(
            loaded, read, targets, max_feature_nodes=max_feature_nodes, memory_budget=memory, progress=progress
        )
    with step("Pruning"):
        circuit = prune(graph, node_threshold=node_threshold, edge_threshold=edge_threshold)
    if as_json:
        typer.echo(json.dumps(summary_dict(circuit) | {"files": write_all(circuit, files)}))
        return
    stdout().print(summary(circuit))
    if not write_all(circuit, files):
        say("\nNothing was written; add -o FOLDER for the picture and the graph.")
