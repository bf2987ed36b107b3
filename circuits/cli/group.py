"""`orrery group`: a circuit's supernodes, found or by hand."""

import json
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from circuits.cli.console import say, stdout
from circuits.cli.inputs import EDGE_THRESHOLD, POCKET, open_circuit
from circuits.cli.options import (
    DebugOption,
    GraphArgument,
    JsonOption,
    OtherEdgeThresholdOption,
    OtherNodeThresholdOption,
    TranscoderOption,
)
from circuits.cli.output import FORMATS, OutputFile, check_output, plan_files
from circuits.cli.progress import step, steps
from circuits.cli.sources import loading, located
from circuits.cli.writing import write_all
from replacement_model.errors import InputError

if TYPE_CHECKING:
    from circuits import Circuit, Grouping
    from circuits.supernodes.automatic import FoundGroups
    from replacement_model import ReplacementModel

__all__ = ["group"]

N_POCKET_TEXTS, MAX_TEXTS = 200, 2000


def group(
    graph: GraphArgument,
    groups: Annotated[
        int | None, typer.Option("--groups", min=1, help="How many groups; else as many as fit the features best.")
    ] = None,
    supernodes: Annotated[
        Path | None,
        typer.Option("--supernodes", metavar="FILE", help="Supernodes by hand: supernodes.json, or a graph's JSON."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "-m", help="The graph's model, to compare decoders and activations; none: edges alone."
        ),
    ] = None,
    transcoder: TranscoderOption = None,
    texts: Annotated[
        str | None,
        typer.Option("--texts", metavar="TEXT", help="Compare activations over this: a file, a folder, pocket:train."),
    ] = None,
    node_threshold: OtherNodeThresholdOption = None,
    edge_threshold: OtherEdgeThresholdOption = None,
    keep: Annotated[
        float | None,
        typer.Option("--keep", min=0.0, max=1.0, help="Keep only supernodes and nodes with this share of influence."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write the supernodes to this .json file.")
    ] = None,
    export: Annotated[
        Path | None,
        typer.Option("--export", metavar="FILE", help=f"Write the grouped circuit: {', '.join(FORMATS)}, by ending."),
    ] = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Group the features of a circuit into supernodes, and show what each does.

    Features are put together that have like inputs and outputs and, with the model, write in like directions and are
    active in like contexts. A graph of the pocket model is compared with it and its training prompts unless --model
    none is given. Edges between supernodes are sums of the signed edges of their members.

    For example:

        orrery group out/dallas.safetensors -o supernodes.json --export grouped.svg

        orrery group out/dallas.safetensors --supernodes supernodes.json --keep 0.9
    """
    files = _files(output, export, graph)
    found = None
    with step("Reading the graph"):
        circuit = open_circuit(graph, node_threshold, edge_threshold)
    if supernodes is None:
        found = _found(circuit, groups, model, transcoder, texts)
        grouping = found.grouping
    else:
        _refuse_with_file(groups=groups, model=model, transcoder=transcoder, texts=texts)
        grouping = _by_hand(supernodes, circuit)
    _show(circuit, grouping, found, keep, output, files, as_json)


def _files(output: Path | None, export: Path | None, graph: Path) -> tuple[OutputFile, ...]:
    """The exports, once all that is written was checked."""
    if output is not None and output.suffix != ".json":
        raise InputError(f"supernodes are written as .json, --output is {output}; pictures go to --export")
    if export is not None and output is not None and export.resolve() == output.resolve():
        raise InputError(f"--output and --export are both {output}; name two files")
    files = () if export is None else plan_files(export, None, f"{graph.stem}-grouped")
    check_output((*files, *(() if output is None else (OutputFile("json", output),))))
    if any(path is not None and path.resolve() == graph.resolve() for path in (output, *(file.path for file in files))):
        raise InputError(f"{graph} would be written over itself; choose another file")
    return files


def _refuse_with_file(**options: object) -> None:
    given = [f"--{name}" for name, value in options.items() if value is not None]
    if given:
        raise InputError(f"--supernodes are by hand, so nothing is searched for; leave out {', '.join(given)}")


def _by_hand(path: Path, circuit: "Circuit") -> "Grouping":
    from circuits import load_grouping

    grouping = load_grouping(path, circuit.graph)
    left_out = [node for one in grouping for node in one.nodes if not circuit.node_mask[node]]
    if left_out:
        say(f"{len(left_out)} nodes of {path} are not in the circuit and left out; --node-threshold 1 keeps more")
    return grouping


def _found(
    circuit: "Circuit", groups: int | None, model: str | None, transcoder: str | None, texts: str | None
) -> "FoundGroups":
    from circuits import find_groups

    replacement = _model(circuit, model, transcoder)
    if replacement is None and texts is not None:
        raise InputError("--texts needs the model that the graph was traced with; give --model and --transcoder")
    if replacement is not None and texts is None and circuit.graph.metadata.model_name == "pocket":
        corpus = _pocket_texts()
    else:
        corpus = [] if texts is None else _documents(texts)
    with steps("Reading texts") as report:
        return find_groups(circuit, replacement, corpus, n_groups=groups, progress=report)


def _model(circuit: "Circuit", model: str | None, transcoder: str | None) -> "ReplacementModel | None":
    """The graph's model, None where it is not asked for and not the one that is shipped."""
    metadata = circuit.graph.metadata
    if model is None and metadata.model_name == "pocket":
        model, transcoder = "pocket", transcoder or POCKET.get(metadata.transcoder_name)
    if model is None or model == "none":
        return None
    sources = located(model, transcoder)
    with loading(*sources):
        from replacement_model import ReplacementModel

        loaded = ReplacementModel.from_pretrained(*sources)
    if loaded.transcoder.name != metadata.transcoder_name:
        raise InputError(
            f"the graph was traced with transcoder {metadata.transcoder_name}, this is {loaded.transcoder.name}; "
            "give the graph's own --model and --transcoder, or --model none"
        )
    return loaded


def _pocket_texts() -> list[str]:
    from circuits.pocket_scores import evenly_spaced
    from replacement_model.pocket.corpus import build_corpus

    with step("Making the pocket model's training prompts"):
        return [prompt.text for prompt in evenly_spaced(build_corpus().select("train"), N_POCKET_TEXTS)]


def _documents(name: str) -> list[str]:
    from replacement_model.evidence.texts import open_text

    found = list(islice(open_text(name).documents(), MAX_TEXTS + 1))
    if not found:
        raise InputError(f"{name} holds no text; give a file with a text a line, or a data set")
    if len(found) > MAX_TEXTS:
        say(f"activations are compared over the first {MAX_TEXTS} texts of {name}")
    return found[:MAX_TEXTS]


def _show(
    circuit: "Circuit",
    grouping: "Grouping",
    found: "FoundGroups | None",
    keep: float | None,
    output: Path | None,
    files: tuple[OutputFile, ...],
    as_json: bool,
) -> None:
    from circuits import group as merge
    from circuits import prune_groups, save_grouping
    from viz import group_summary, group_summary_dict

    grouped = merge(circuit, grouping)
    if keep is not None:
        grouped = prune_groups(grouped, keep, EDGE_THRESHOLD)
    facts: dict[str, Any] = group_summary_dict(grouped, found)
    if not as_json:
        stdout().print(group_summary(grouped, found))
    written: list[str] = []
    if output is not None:
        extra = {} if facts["found"] is None else {"found": facts["found"]}
        save_grouping(grouped.grouping, circuit.graph, output, extra)
        say(f"wrote {output}")
        written.append(str(output))
    written += write_all(grouped, files)
    if as_json:
        typer.echo(json.dumps(facts | {"files": written}))
