"""`orrery features label` and `score`: labels of features, and how well they predict where features are active."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from circuits.cli.console import say
from circuits.cli.feature_names import chosen_features, parse_feature
from circuits.cli.options import DebugOption, JsonOption
from circuits.cli.progress import step
from replacement_model.errors import InputError

if TYPE_CHECKING:
    from replacement_model.evidence.folder import EvidenceFolder
    from replacement_model.labels import FeatureLabels

__all__ = ["FolderArgument", "label"]

FolderArgument = Annotated[Path, typer.Argument(metavar="FOLDER", help="What `orrery features collect` wrote.")]


def label(
    folder: FolderArgument,
    by_hand: Annotated[
        list[str] | None, typer.Option("--set", metavar="LAYER/INDEX=TEXT", help="Write this label. Repeats.")
    ] = None,
    import_from: Annotated[
        Path | None, typer.Option("--import", metavar="FILE", help="Labels in JSON or CSV: layer, feature_idx, text.")
    ] = None,
    labeller: Annotated[
        str | None,
        typer.Option(
            "--labeller",
            metavar="MODULE:FUNCTION",
            help="Ask this function (or an installed plug-in of this name), which is given the evidence.",
        ),
    ] = None,
    feature: Annotated[
        list[str] | None, typer.Option("--feature", metavar="LAYER/INDEX", help="Ask about this one only. Repeats.")
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="A proposed label replaces one that is there; else it fills gaps.")
    ] = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Label features: by hand, from a file, or by a function; the labels go to FOLDER/labels.json.

    Labels by hand win over imported ones, imported ones over those that are there. Nothing is sent anywhere unless the
    function that --labeller names does so.

    For example:

        orrery features label evidence --set "1/4=token: Dallas"

        orrery features label evidence --import labels.csv

        orrery features label evidence --labeller replacement_model.evidence.rules:token_label
    """
    if not (by_hand or import_from or labeller):
        raise InputError("say where labels come from: --set LAYER/INDEX=TEXT, --import FILE or --labeller NAME")
    with step("Labelling"):
        from replacement_model.evidence.folder import EvidenceFolder
        from replacement_model.evidence.labelling import (
            folder_labels,
            import_labels,
            merged_labels,
            save_folder_labels,
        )

        evidence, known = EvidenceFolder(folder), folder_labels(folder)
        if labeller is not None:
            proposed = _proposed(evidence, labeller, chosen_features(feature or (), None))
            known = merged_labels(known, proposed, evidence, replacing=replace)
        if import_from is not None:
            known = merged_labels(known, import_labels(import_from), evidence, replacing=True)
        labels = merged_labels(known, _by_hand(by_hand or []), evidence, replacing=True)
        path = save_folder_labels(labels, folder)
    say(f"wrote {path}: {len(labels):,} labels")
    if as_json:
        rows = [{"layer": layer, "feature": idx, "text": one.text} for (layer, idx), one in labels.by_feature.items()]
        typer.echo(json.dumps({"file": str(path), "labels": rows}))


def _proposed(evidence: "EvidenceFolder", labeller: str, chosen: list[tuple[int, int]] | None) -> "FeatureLabels":
    from replacement_model.evidence.labelling import propose_labels
    from replacement_model.evidence.plugins import LABELLERS, load_function

    return propose_labels(evidence, load_function(labeller, LABELLERS), chosen)


def _by_hand(given: list[str]) -> "FeatureLabels":
    from replacement_model.labels import FeatureLabel, FeatureLabels

    found = {}
    for one in given:
        name, equals, text = one.partition("=")
        if not equals or not text.strip():
            raise InputError(f"expected --set LAYER/INDEX=TEXT, such as 3/1234=token: Dallas, got {one!r}")
        found[parse_feature(name)] = FeatureLabel(text.strip())
    return FeatureLabels(found)
