"""`orrery replay`: run the interventions of a specification again, and see whether the same comes of them."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from circuits.cli.console import say, stdout
from circuits.cli.options import DebugOption, DeviceOption, JsonOption
from circuits.cli.progress import step, steps
from circuits.cli.sources import loading, located
from circuits.cli.startup import collector_paused
from replacement_model.errors import InputError

if TYPE_CHECKING:
    from replacement_model.interventions import ReplayResult, Specification

__all__ = ["replay"]

SHOWN_IN_FULL = 3  # cases; of more, only those that differ


def replay(
    specification: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="interventions.json of a study, or what `orrery intervene --save-spec` wrote."
        ),
    ],
    case: Annotated[
        list[str] | None, typer.Option("--case", metavar="NAME", help="Only this case; its tokens are shown. Repeats.")
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option("--tolerance", help="The difference of a probability that counts as none; else 0.001."),
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Where the model is, if not under the name in the file.")
    ] = None,
    transcoder: Annotated[str | None, typer.Option("--transcoder", "-t", help="The same for the transcoder.")] = None,
    any_version: Annotated[
        bool, typer.Option("--any-version", help="Go on although files differ from those that were used.")
    ] = False,
    device: DeviceOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Run interventions again, and compare what the model says with what was expected.

    The file names a model and a transcoder with hashes of their files; others are refused. Exit code 1: the outcome
    differs.

    For example:

        orrery replay out/multi-step/interventions.json

        orrery replay interventions.json --model ./my-copy --transcoder ./my-transcoder
    """
    with step(f"Reading {specification}"), collector_paused():
        from replacement_model import ReplacementModel
        from replacement_model.interventions import read_specification
        from replacement_model.interventions import replay as run
        from replacement_model.interventions.replay import TOLERANCE

        wanted = _chosen(read_specification(specification), case)
    names = _place(model, wanted.model, "--model"), _place(transcoder, wanted.transcoder, "--transcoder")
    model_at, transcoder_at = located(str(names[0]), names[1])
    with loading(model_at, transcoder_at):
        loaded = ReplacementModel.from_pretrained(model_at, transcoder_at, device=device)
    allowed = TOLERANCE if tolerance is None else tolerance
    with steps("Replaying") as report:
        result = run(loaded, wanted, tolerance=allowed, any_version=any_version, progress=report)
    if as_json:
        typer.echo(json.dumps(result.to_dict()))
    else:
        _show(result, in_full=case is not None)
    if result.differing:
        raise typer.Exit(1)


def _chosen(specification: "Specification", names: list[str] | None) -> "Specification":
    """The specification with the named cases alone."""
    from dataclasses import replace

    known = {case.name: case for case in specification.cases}
    unknown = [name for name in names or () if name not in known]
    if unknown:
        raise InputError(f"there is no case {unknown[0]!r}; the file has {', '.join(map(repr, list(known)[:8]))}")
    return specification if not names else replace(specification, cases=tuple(known[name] for name in names))


def _place(given: str | None, named: str | None, option: str) -> str | None:
    """What the user says, else the name in the file, unless that is a folder of the machine where it was written.

    Raises:
        InputError: it is.
    """
    from replacement_model.pocket import TRANSCODER_DIRS
    from replacement_model.repository import HubName

    if given is not None or named is None or named == "pocket" or named in TRANSCODER_DIRS:
        return given or named
    if not HubName.is_name(named):
        raise InputError(f"the file was made with {named!r}, a folder of another machine; say where it is: {option}")
    return named


def _show(result: "ReplayResult", in_full: bool) -> None:
    from viz.replayed import replay_table

    details = result.cases if in_full or len(result.cases) <= SHOWN_IN_FULL else result.differing
    stdout().print(replay_table(result, details))
    n_cases, n_differing = len(result.cases), len(result.differing)
    for other in result.other_files:
        here = "there is none here" if other.found is None else f"here it is {other.found[:12]}..."
        say(f"another version: {other.file!r} was {other.expected[:12]}..., {here}")
    if not result.n_files:
        say("the file has no hashes, so that this may be another version of the model")
    elif not result.other_files:
        say(f"model and transcoder are those that were used ({result.n_files} files by SHA-256)")
    how = f"largest difference of a probability {result.difference:.1e}, allowed {result.tolerance:g}"
    say(f"{n_cases - n_differing} of {n_cases} cases came out as expected ({how})")
