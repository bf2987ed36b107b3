"""Making a study: its folder, its inputs, its report, and what is said at the end."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from circuits.cli.console import say, stdout
from circuits.cli.output import slug
from circuits.cli.progress import stages, step
from circuits.cli.sources import loading, located
from circuits.cli.startup import collector_paused
from replacement_model.errors import InputError

if TYPE_CHECKING:
    from circuits.studies.folder import StudyFolder
    from replacement_model import ReplacementModel
    from replacement_model.source import Source
    from viz.reports import Report

__all__ = ["Asked", "make_study"]


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line says of a study.

    Attributes:
        transcoders: `NAME` or `SHORT=NAME`.
    """

    output: Path
    quick: bool
    prompts: Path | None
    model: str
    transcoders: tuple[str, ...]
    device: str | None


def make_study(name: str, asked: Asked, as_json: bool) -> None:
    """Make a study, or go on with one, and say what it found.

    Raises:
        InputError: the folder holds something else, or there are no prompts for the model.
    """
    if asked.model != "pocket" and asked.prompts is None:
        raise InputError(
            f"the prompts are for the pocket model; for {asked.model!r} name a table of prompts: --prompts"
        )
    with step("Loading"), collector_paused():
        from viz.reports import write_report

        run, report_of = _study(name)
    models = _models(asked)
    with _folder(name, asked, models) as folder:
        n_kept = len(list((folder.path / "pieces").glob("[!.]*")))
        if n_kept:
            say(f"going on with {folder.path}: {n_kept} results are there")
        with stages() as progress:
            result = run(folder, models, asked.prompts, asked.quick, progress)
        with step("Writing the report"):
            folder.write_json("results.json", result.to_dict())
            report = report_of(result, folder)
            files = write_report(report, folder, _command(name, asked))
    if as_json:
        facts = {"study": name, "folder": str(folder.path), "title": report.title, "summary": report.summary}
        typer.echo(json.dumps(facts | {"files": [str(path) for path in (folder.path / "results.json", *files)]}))
    else:
        _show(report, folder.path)


def _study(name: str) -> "tuple[Callable[..., Any], Callable[..., Report]]":
    """How a study is run, and how its report is made."""
    if name == "multi-step":
        from circuits.studies.multi_step import study as multi_step
        from circuits.studies.multi_step.table import load_table
        from viz.reports.multi_step import report as multi_step_report

        def run(folder: "StudyFolder", models: Any, prompts: Path | None, quick: bool, progress: Any) -> Any:
            tables = None if prompts is None else (load_table(prompts),)
            return multi_step.run(folder, models, tables, quick=quick, progress=progress)

        return run, multi_step_report.report
    from circuits.studies.hallucination import study as hallucination
    from circuits.studies.hallucination.entity_corpus import pocket_entities
    from circuits.studies.hallucination.entity_table import load_entity_table
    from viz.reports.hallucination import report as hallucination_report

    def run_it(folder: "StudyFolder", models: Any, prompts: Path | None, quick: bool, progress: Any) -> Any:
        table = pocket_entities() if prompts is None else load_entity_table(prompts)
        return hallucination.run(folder, models, table, quick=quick, progress=progress)

    return run_it, hallucination_report.report


def _models(asked: Asked) -> "dict[str, ReplacementModel]":
    """The language model with each transcoder, by the transcoder's short name."""
    from replacement_model import ReplacementModel

    found = {}
    for short, name in _short_names(asked).items():
        model_at, transcoder_at = located(asked.model, name)
        with loading(model_at, transcoder_at):
            found[short] = ReplacementModel.from_pretrained(model_at, transcoder_at, device=asked.device)
    return found


def _short_names(asked: Asked) -> dict[str, str]:
    from replacement_model.pocket import TRANSCODER_DIRS

    if not asked.transcoders and asked.model == "pocket":
        return {short: short for short in TRANSCODER_DIRS}
    if not asked.transcoders:
        raise InputError(f"no transcoder given for {asked.model!r}; name one that was trained on it: --transcoder")
    found: dict[str, str] = {}
    for text in asked.transcoders:
        given, _, name = text.rpartition("=")
        short = slug(given or Path(name.partition("@")[0]).name)
        if short in found:
            raise InputError(
                f"two transcoders would be called {short!r}; give each a short name: --transcoder SHORT=NAME"
            )
        found[short] = name
    return found


def _folder(name: str, asked: Asked, models: "Mapping[str, ReplacementModel]") -> "StudyFolder":
    from circuits.studies.folder import StudyFolder
    from circuits.studies.inputs import file_inputs, model_inputs
    from replacement_model.pocket.world import DATA_DIR

    files = sorted(DATA_DIR.glob("*.json")) if asked.prompts is None else [asked.prompts]
    missing = [path for path in files if not path.is_file()]
    if missing:
        raise InputError(f"expected a table of prompts at {missing[0]}, found no file; check --prompts")
    first = next(iter(models.values()))
    settings = {
        "quick": asked.quick,
        "model": _called(first.model_source),
        "transcoders": {short: _called(model.transcoder_source) for short, model in models.items()},
        "prompts": "of the pocket model" if asked.prompts is None else asked.prompts.name,
    }
    inputs = model_inputs(models) | file_inputs({f"prompts/{path.name}": path for path in files})
    return StudyFolder.open(asked.output, name, settings, inputs)


def _called(source: "Source | None") -> str:
    """A name without the path of a folder on this machine, which would differ on another."""
    if source is None:
        return "in memory"
    return source.name if source.revision is not None or source.name.startswith("pocket") else Path(source.name).name


def _command(name: str, asked: Asked) -> str:
    """The command with which somebody else makes the same study."""
    parts = ["orrery", "study", name, "--output", "FOLDER", *(["--quick"] if asked.quick else [])]
    if asked.prompts is not None:
        parts += ["--prompts", asked.prompts.name]
    if asked.model != "pocket":
        parts += ["--model", asked.model]
    return " ".join([*parts, *(f"--transcoder {text}" for text in asked.transcoders)])


def _show(report: "Report", folder: Path) -> None:
    from rich.markdown import Markdown

    stdout().print(Markdown(f"**{report.title}**\n\n{report.summary}"))
    say("")
    for name, what in (
        ("report.html", "to read, or to print"),
        ("report.md", "the same in Markdown"),
        ("figures", "as SVG and PDF"),
        ("graphs", "for orrery view, export and check"),
        ("interventions.json", "for orrery replay"),
        ("results.json", "all numbers"),
        ("study.json", "settings, hashes, versions"),
    ):
        if (folder / name).exists():
            say(f"{folder / name}: {what}")
