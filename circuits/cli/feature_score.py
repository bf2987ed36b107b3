"""`orrery features score`: how well labels predict where their features are active, on text that they have not seen."""

import json
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from circuits.cli.console import say, stdout
from circuits.cli.feature_labels import FolderArgument
from circuits.cli.options import DebugOption, JsonOption
from circuits.cli.progress import step
from circuits.cli.sources import loading, located
from replacement_model.errors import InputError

if TYPE_CHECKING:
    from replacement_model import ReplacementModel
    from replacement_model.evidence.contexts import Contexts
    from replacement_model.evidence.scoring import Mean, ScoreReport
    from replacement_model.evidence.texts import Text

__all__ = ["score"]


def score(
    folder: FolderArgument,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="Other text than the labels were made from.")],
    seen: Annotated[
        list[str] | None,
        typer.Option("--seen", metavar="TEXT", help="Leave out what also occurs, with all before it, here. Repeats."),
    ] = None,
    predictor: Annotated[
        str | None,
        typer.Option(
            "--predictor",
            metavar="MODULE:FUNCTION",
            help="Who reads the labels: rules, concepts (of the pocket model), or a function or plug-in.",
        ),
    ] = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help="Else the one that FOLDER was made with.")] = None,
    transcoder: Annotated[
        str | None, typer.Option("--transcoder", "-t", help="Else the one that FOLDER was made with.")
    ] = None,
    field: Annotated[str, typer.Option("--field", help="Column with the text, where a file has columns.")] = "text",
    whole: Annotated[bool, typer.Option("--whole", help="A text file is one document, not one a line.")] = False,
    positions: Annotated[int, typer.Option("--positions", min=1, help="Active positions to test a label at.")] = 50,
    rows: Annotated[int, typer.Option("--rows", min=0, help="Labels to print, best first.")] = 20,
    seed: Annotated[int, typer.Option("--seed", help="Of the shuffled control.")] = 0,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Test FOLDER's labels on unseen text, and write their scores to FOLDER/labels.json and FOLDER/scores.json.

    A label is tested at positions where its feature is active, and at as many where it is not that agree in position
    and token frequency; 0.5 is chance. The control gives each feature another one's label. What FOLDER was collected
    on is left out of the test.

    For example:

        orrery features score evidence pocket:test

        orrery features score evidence unseen.txt --predictor my_judge:predict
    """
    with step("Reading the labels"):
        from replacement_model.evidence.folder import EvidenceFolder
        from replacement_model.evidence.labelling import folder_labels
        from replacement_model.evidence.texts import open_text

        metadata, labels = EvidenceFolder(folder).metadata, folder_labels(folder)
        if not labels.by_feature:
            raise InputError(f"{folder} has no labels; make some with orrery features label")
        opened = open_text(text, field, whole)
        before = [*_collected_on(metadata, opened), *(open_text(name, field, whole) for name in seen or ())]
        predict = _predictor(predictor, text)
    loaded = _load(metadata, model, transcoder)
    with step("Testing labels"), ExitStack() as stack:
        from replacement_model.evidence.labelling import save_folder_labels
        from replacement_model.evidence.matching import MatchOptions
        from replacement_model.evidence.scoring import save_report, score_labels, scored_labels

        length = metadata.get("settings", {}).get("options", {}).get("context_length", 64)
        contexts, *known = (_contexts(loaded, one, length, stack) for one in (opened, *before))
        report = score_labels(
            loaded, labels, contexts, predict, seen=_prefixes(known), options=MatchOptions(positions), seed=seed
        )
        tested_on = {"text": text, "hashes": opened.hashes, "left_out": [one.name for one in before], "seed": seed}
        save_report(report, folder, tested_on | {"predictor": predictor, "positions": contexts.n_positions})
        save_folder_labels(scored_labels(labels, report), folder)
    if as_json:
        typer.echo(json.dumps(report.to_json() | {"tested_on": tested_on}))
    else:
        _print(report, rows)
    say(f"wrote {folder / 'labels.json'} and {folder / 'scores.json'}")


def _collected_on(metadata: dict[str, Any], text: "Text") -> "list[Text]":
    """The text that the evidence is from, if it is still there; testing on it is refused."""
    from replacement_model.evidence.texts import open_text

    known = metadata.get("settings", {}).get("text", {})
    if not known:
        return []
    if (known["name"], known["hashes"]) == (text.name, text.hashes) or (text.files and known["hashes"] == text.hashes):
        raise InputError(f"the labels rest on {text.name} itself; test them on other text")
    try:
        found = open_text(known["name"], known["field"], known["whole"])
    except InputError:
        found = None
    if found is None or found.hashes != known["hashes"]:
        say(
            f"{known['name']}, which the evidence is from, is gone or changed: what it shares with TEXT is not left out"
        )
        return []
    return [found]


def _predictor(name: str | None, text: str) -> Callable[..., Any]:
    from replacement_model.evidence.plugins import PREDICTORS, load_function
    from replacement_model.evidence.texts import pocket_split

    chosen = name or ("concepts" if pocket_split(text) else "rules")
    if chosen == "concepts":
        from replacement_model.evidence.pocket_concepts import predict_by_concept

        return predict_by_concept
    if chosen == "rules":
        from replacement_model.evidence.rules import predict_by_rule

        return predict_by_rule
    return load_function(chosen, PREDICTORS)


def _load(metadata: dict[str, Any], model: str | None, transcoder: str | None) -> "ReplacementModel":
    """The model of the evidence, or the one that is named; another one's features would be others."""
    from replacement_model import ReplacementModel

    settings = metadata.get("settings", {})
    model = model or settings.get("model")
    if model is None:
        raise InputError("the folder does not say which model it is of; give --model and --transcoder")
    if transcoder is None and settings.get("transcoder_asked"):
        transcoder = str(settings["transcoder_asked"]).removeprefix("pocket/")
    model_at, transcoder_at = located(model, transcoder)
    with loading(model_at, transcoder_at):
        loaded = ReplacementModel.from_pretrained(model_at, transcoder=transcoder_at)
    if settings and loaded.hashes != settings["hashes"]:
        raise InputError(
            f"the evidence is of other weights than {model} and {transcoder_at.name}; name those that it was made with"
        )
    return loaded


def _contexts(model: "ReplacementModel", text: "Text", length: int, stack: ExitStack) -> "Contexts":
    from replacement_model.evidence.contexts import write_contexts

    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="orrery-text-"))
    return write_contexts(model, text, Path(folder), length)


def _prefixes(known: "Sequence[Contexts]") -> Any:
    import numpy as np

    from replacement_model.evidence.matching import prefixes_of

    return np.unique(np.concatenate([np.empty(0, np.int64), *(prefixes_of(contexts) for contexts in known)]))


def _print(report: "ScoreReport", rows: int) -> None:
    from circuits.cli.feature_view import score_table

    best = sorted(report.scores, key=lambda one: (-one.balanced_accuracy, -one.n, one.layer, one.feature_idx))
    if rows:
        stdout().print(score_table(best[:rows]))
        stdout().print()
    stdout().print(f"{len(report.scores)} labels tested; {report.matching}")
    stdout().print(
        f"not tested: {report.n_rare} of rarely active features, {report.n_untestable} that the predictor cannot read"
    )
    stdout().print(f"balanced accuracy    {_mean(report.balanced_accuracy)}")
    stdout().print(f"with another's label {_mean(report.shuffled)}")


def _mean(mean: "Mean | None") -> str:
    return "none" if mean is None else f"{mean.value:.3f}  (95%: {mean.low:.3f} to {mean.high:.3f})"
