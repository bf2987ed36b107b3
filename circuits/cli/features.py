"""`orrery features`: what features stand for, collected on text, looked at, labelled, and the labels tested."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from circuits.cli.console import say, stdout
from circuits.cli.feature_labels import label
from circuits.cli.feature_names import chosen_features, parse_feature
from circuits.cli.feature_score import score
from circuits.cli.options import DebugOption, JsonOption, ModelOption, TranscoderOption
from circuits.cli.progress import stages, step
from circuits.cli.sources import loading, located
from circuits.cli.startup import collector_paused
from replacement_model.errors import InputError

if TYPE_CHECKING:
    from replacement_model.evidence.record import FeatureEvidence
    from replacement_model.labels import FeatureLabel

__all__ = ["features"]

HELP = """
What features stand for: the text that activates them, what they raise, labels, and a test of the labels.

For example:

    orrery features collect pocket:validation -o evidence

    orrery features show evidence 1/4
"""

features = typer.Typer(help=HELP, no_args_is_help=True, rich_markup_mode="markdown")


@features.command()
def collect(
    text: Annotated[
        str,
        typer.Argument(
            metavar="TEXT", help="A .txt, .jsonl, .parquet or .arrow file, a folder of such, or pocket[:SPLIT]."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="Where the evidence goes.")],
    model: ModelOption = "pocket",
    transcoder: TranscoderOption = None,
    feature: Annotated[
        list[str] | None, typer.Option("--feature", metavar="LAYER/INDEX", help="Only this feature. Repeats.")
    ] = None,
    graph: Annotated[
        Path | None, typer.Option("--graph", metavar="GRAPH", help="Only the features of this graph or circuit.")
    ] = None,
    field: Annotated[str, typer.Option("--field", help="Column with the text, where a file has columns.")] = "text",
    whole: Annotated[
        bool, typer.Option("--whole", help="A text file is one document; else each of its lines is one.")
    ] = False,
    context_length: Annotated[
        int, typer.Option("--context-length", min=2, help="Tokens that are read together; longer documents are cut.")
    ] = 64,
    max_contexts: Annotated[
        int | None, typer.Option("--max-contexts", min=1, help="Read no more of the text than this.")
    ] = None,
    top: Annotated[int, typer.Option("--top", min=1, help="Strongest examples of each feature.")] = 10,
    nearest: Annotated[
        int, typer.Option("--nearest", min=0, help="Similar features of the same layer, and of others; 0 is faster.")
    ] = 4,
    device: Annotated[str | None, typer.Option("--device", help="Where to run, such as cuda; else the CPU.")] = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Read a text, and write down for every feature where it is active and what it does.

    Strongest examples and a sample of weaker ones, histogram, frequency, top and bottom logits, and the features that
    write most alike. The folder is in circuit-tracer's `features/` layout. An interrupted run goes on where it was.

    For example:

        orrery features collect pocket:validation -o evidence

        orrery features collect wiki.txt -m google/gemma-3-1b-pt -t OWNER/NAME//FOLDER --graph dallas.safetensors -o ev
    """
    with step("Reading the arguments"), collector_paused():
        from replacement_model import ReplacementModel
        from replacement_model.evidence.collection import CollectOptions
        from replacement_model.evidence.collection import collect as collect_evidence
        from replacement_model.evidence.records import RecordOptions
        from replacement_model.evidence.texts import open_text

        chosen = chosen_features(feature or (), graph)
        opened = open_text(text, field, whole)
    model_at, transcoder_at = located(model, transcoder)
    with loading(model_at, transcoder_at):
        loaded = ReplacementModel.from_pretrained(model_at, transcoder=transcoder_at, device=device)
    options = CollectOptions(context_length, max_contexts, record=RecordOptions(n_top=top, n_nearest=nearest))
    with stages() as progress:
        facts = collect_evidence(loaded, opened, output, options, chosen, progress)
    say(f"wrote {output}: {facts['n_contexts']:,} contexts, {facts['n_positions']:,} positions")
    if as_json:
        typer.echo(json.dumps({"folder": str(output)} | facts))


@features.command()
def show(
    folder: Annotated[
        Path,
        typer.Argument(metavar="FOLDER", help="What `collect` wrote, or a folder with examples.safetensors."),
    ],
    feature: Annotated[str, typer.Argument(metavar="LAYER/INDEX", help="Such as 3/1234.")],
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="For examples.safetensors: whose tokens they are.")
    ] = None,
    examples: Annotated[int, typer.Option("--examples", min=1, help="So many of each group.")] = 5,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Show what is known of a feature, with the tokens that activate it marked.

    Reads what `collect` wrote, the `features` folders of published transcoders, and Gemma Scope 2's
    `examples.safetensors`, which holds a layer and whose tokens need --model.

    For example:

        orrery features show evidence 1/4

        orrery features show transcoder/layer_12_width_16k_l0_small 12/88 -m google/gemma-3-1b-pt
    """
    layer, idx = parse_feature(feature)
    with step("Reading the evidence"):
        from circuits.cli.feature_view import feature_text
        from replacement_model.evidence.scoring import known_score

    evidence, known = _evidence(folder, layer, idx, model)
    if evidence is None:
        raise InputError(f"{folder} has no record of feature {feature}; collect it, or choose another")
    if as_json:
        typer.echo(json.dumps(evidence.to_json() | {"label": _label_json(known)}))
    else:
        tested = None if known is None else known_score(folder, layer, idx, known.text)
        marks = stdout().color_system is None
        stdout().print(feature_text(evidence, known, examples, marks, tested))


def _evidence(
    folder: Path, layer: int, idx: int, model: str | None
) -> "tuple[FeatureEvidence | None, FeatureLabel | None]":
    from replacement_model.evidence.folder import EvidenceFolder
    from replacement_model.evidence.gemma_scope import EXAMPLES_NAME, GemmaScopeExamples
    from replacement_model.evidence.labelling import folder_labels

    if folder.name != EXAMPLES_NAME and not (folder / EXAMPLES_NAME).is_file():
        return EvidenceFolder(folder).get(layer, idx), folder_labels(folder).get(layer, idx)
    if model is None:
        return GemmaScopeExamples(folder, layer, str).get(idx), None
    from replacement_model.loading import load_tokenizer
    from replacement_model.source import locate_model

    tokenizer: Any = load_tokenizer(locate_model(model).folder)
    return GemmaScopeExamples(folder, layer, lambda token_id: str(tokenizer.decode([token_id]))).get(idx), None


def _label_json(known: "FeatureLabel | None") -> dict[str, Any] | None:
    if known is None:
        return None
    return {"text": known.text, "f1": known.f1, "precision": known.precision, "recall": known.recall}


features.command()(label)
features.command()(score)
