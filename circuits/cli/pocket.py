"""`orrery pocket`: the model that is shipped, its card, and how to make and judge it again."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from circuits.cli.console import say
from circuits.cli.options import DebugOption, JsonOption
from circuits.cli.output import OutputFile, check_output
from circuits.cli.progress import stages, step
from replacement_model.errors import WeightsError

__all__ = ["pocket"]

HELP = """
The pocket model: a tiny Gemma 3 trained on true, templated facts, with transcoders, shipped with the program.

For example:

    orrery pocket card

    orrery pocket rebuild my-pocket --seed 1
"""

pocket = typer.Typer(help=HELP, no_args_is_help=True, rich_markup_mode="markdown")

WeightsOption = Annotated[
    Path | None, typer.Option("--weights", help="A folder that `rebuild` made; else what is shipped.")
]


@pocket.command()
def card(debug: DebugOption = False) -> None:
    """Print the shipped model's card: what it knows, how it was judged, and where it fails.

    For example:

        orrery pocket card | less
    """
    from replacement_model.pocket import WEIGHTS_DIR

    path = WEIGHTS_DIR / "card.md"
    if not path.is_file():
        raise WeightsError(f"{path} does not exist; write it with: orrery pocket evaluate -o {path}")
    typer.echo(path.read_text(encoding="utf-8"), nl=False)


@pocket.command()
def rebuild(
    folder: Annotated[Path, typer.Argument(help="Where the weights go.")],
    seed: Annotated[int | None, typer.Option("--seed", help="Another seed than that of the shipped weights.")] = None,
    debug: DebugOption = False,
) -> None:
    """Make the pocket model again from its seed: corpus, language model, transcoders and labels.

    Takes some tens of minutes on two cores. On another kind of processor sums are rounded differently and
    training ends at other weights, which may miss one of the targets: `orrery pocket evaluate` tells.

    For example:

        orrery pocket rebuild my-pocket

        orrery pocket evaluate --weights my-pocket
    """
    check_output([OutputFile("graph", folder / "model" / "model.safetensors")])
    with step("Building the corpus"):
        from replacement_model.pocket.build import SHIPPED_SEED
        from replacement_model.pocket.build import rebuild as rebuild_pocket
    with stages() as progress:
        rebuild_pocket(folder, SHIPPED_SEED if seed is None else seed, progress)
    say(f"wrote {folder}; judge it with: orrery pocket evaluate --weights {folder}")


@pocket.command()
def evaluate(
    weights: WeightsOption = None,
    split: Annotated[str, typer.Option("--split", help="validation, to choose by, or test, to report.")] = "test",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write the card to this Markdown file.")
    ] = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Judge the pocket model on prompts that neither it nor its transcoders have seen, and write its card.

    Takes some minutes. Without --output the card is printed.

    For example:

        orrery pocket evaluate --weights my-pocket -o my-pocket/card.md
    """
    check_output([] if output is None else [OutputFile("graph", output)])
    with step("Evaluating the model and its transcoders"):
        from circuits.pocket_card import card_text, write_card
        from circuits.pocket_scores import score_pocket_graphs
        from replacement_model.pocket import WEIGHTS_DIR
        from replacement_model.pocket import evaluate as evaluate_pocket
        from replacement_model.pocket.selection import load_candidates

        folder = WEIGHTS_DIR if weights is None else weights
        found = evaluate_pocket(folder, split)
    with stages() as progress:
        scores = score_pocket_graphs(folder, split, progress=progress)
    if output is not None:
        write_card(found, scores, output, folder)
        say(f"wrote {output}")
    if as_json:
        typer.echo(json.dumps(json.loads(found.to_json()) | {"graphs": [asdict(score) for score in scores]}))
    elif output is None:
        typer.echo(card_text(found, scores, load_candidates(folder)), nl=False)
