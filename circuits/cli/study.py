"""`orrery study`: whole case studies, each into a folder with its report, that an interrupted run continues."""

from pathlib import Path
from typing import Annotated

import typer

from circuits.cli.options import DebugOption, DeviceOption, JsonOption
from circuits.cli.studying import Asked, make_study

__all__ = ["study"]

HELP = """
Case studies: many prompts, graphs and interventions, and what they say, in a folder with a report.

A study that was interrupted goes on where it was: run the same command again.

For example:

    orrery study multi-step --output out/multi-step

    orrery study hallucination --output out/hallucination --quick
"""

study = typer.Typer(help=HELP, no_args_is_help=True, rich_markup_mode="markdown")

OutputOption = Annotated[
    Path, typer.Option("--output", "-o", metavar="FOLDER", help="A new folder, or one that the same study began.")
]
QuickOption = Annotated[bool, typer.Option("--quick", help="A few prompts only, for a look; its numbers mean little.")]
PromptsOption = Annotated[
    Path | None,
    typer.Option(
        "--prompts",
        metavar="FILE",
        help="A table of prompts (docs/studies.md); needed for models but the pocket model.",
    ),
]
StudiedModelOption = Annotated[
    str, typer.Option("--model", "-m", help="A local folder, a name on the Hugging Face hub, or pocket.")
]
TranscodersOption = Annotated[
    list[str] | None,
    typer.Option(
        "--transcoder",
        "-t",
        metavar="[SHORT=]NAME",
        help="A transcoder of the model, and a short name for the report. Repeats; for pocket: clt and plt.",
    ),
]


@study.command(name="multi-step")
def multi_step(
    output: OutputOption = Path("out/multi-step"),
    quick: QuickOption = False,
    prompts: PromptsOption = None,
    model: StudiedModelOption = "pocket",
    transcoder: TranscodersOption = None,
    device: DeviceOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Does the model reason in steps: find the state first, and then its capital?

    Finds the features of each step, swaps them for those of another state, and counts how often the answer follows, on
    cities that nothing was chosen on, against random features.

    For example:

        orrery study multi-step --output out/multi-step
    """
    make_study("multi-step", Asked(output, quick, prompts, model, tuple(transcoder or ()), device), as_json)


@study.command()
def hallucination(
    output: OutputOption = Path("out/hallucination"),
    quick: QuickOption = False,
    prompts: PromptsOption = None,
    model: StudiedModelOption = "pocket",
    transcoder: TranscodersOption = None,
    device: DeviceOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Why does the model decline to answer about those it does not know, and what goes wrong when it invents?

    Finds the features that decline, suppresses and amplifies them, and asks whether a graph's structure tells a wrong
    answer before it is checked.

    For example:

        orrery study hallucination --output out/hallucination
    """
    make_study("hallucination", Asked(output, quick, prompts, model, tuple(transcoder or ()), device), as_json)
