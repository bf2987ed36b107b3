"""`orrery intervene`: change features on a prompt, and see what the model then says."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from circuits.cli.console import say, stdout
from circuits.cli.figures import PANEL, FontOption, WidthOption, parse_look, plan_plot, plot_contents
from circuits.cli.options import (
    ChatOption,
    DebugOption,
    DeviceOption,
    IdsOption,
    JsonOption,
    ModelOption,
    TranscoderOption,
)
from circuits.cli.output import OutputFile, check_output
from circuits.cli.progress import step
from circuits.cli.prompts import parse_prompt
from circuits.cli.sources import loading, located
from circuits.cli.startup import collector_paused
from circuits.cli.writing import announce
from replacement_model.errors import InputError

if TYPE_CHECKING:
    from replacement_model import Intervention, InterventionResult, ReplacementModel

__all__ = ["intervene"]


def intervene(
    prompt: Annotated[str | None, typer.Argument(help="What the model reads.")] = None,
    feature: Annotated[
        list[str] | None,
        typer.Option(
            "--feature",
            "-f",
            metavar="LAYER/POSITIONS/INDEX",
            help="What to change; positions are 7, -1 (the last), 3:6, 3: (generated tokens too) or *. Repeats.",
        ),
    ] = None,
    set_to: Annotated[float | None, typer.Option("--set", help="Give the features this activation.")] = None,
    scale: Annotated[float | None, typer.Option("--scale", help="Multiply their activations by this.")] = None,
    add: Annotated[float | None, typer.Option("--add", help="Add this to their activations.")] = None,
    ablate: Annotated[bool, typer.Option("--ablate", help="Set them to zero.")] = False,
    swap: Annotated[
        str | None, typer.Option("--swap", metavar="PROMPT", help="Give them what they are on this other prompt.")
    ] = None,
    read_at: Annotated[
        int | None, typer.Option("--read-at", help="With --swap: the position there; else the same as here.")
    ] = None,
    mode: Annotated[
        str,
        typer.Option(
            "--mode",
            help="free: later MLPs run; iterative: later features are computed again; direct: nothing but attention "
            "and skips carries the change on, as in the graph.",
        ),
    ] = "free",
    layers: Annotated[
        str | None,
        typer.Option("--layers", metavar="NUMBERS", help='With direct: hold and write in these alone, as in "1,2".'),
    ] = None,
    live_attention: Annotated[
        bool, typer.Option("--live-attention", help="Attention patterns respond too; else they are held.")
    ] = False,
    generate: Annotated[
        int, typer.Option("--generate", "-n", min=0, help="Go on for so many tokens, with and without the change.")
    ] = 0,
    save_spec: Annotated[
        Path | None,
        typer.Option("--save-spec", metavar="FILE", help="Write it as a file that `orrery replay` runs again."),
    ] = None,
    model: ModelOption = "pocket",
    transcoder: TranscoderOption = None,
    chat: ChatOption = False,
    ids: IdsOption = None,
    device: DeviceOption = None,
    figure: Annotated[
        Path | None,
        typer.Option(
            "--figure",
            metavar="FILE",
            rich_help_panel=PANEL,
            help="Draw the next tokens before and after: .svg, .pdf or .png.",
        ),
    ] = None,
    width: WidthOption = None,
    font: FontOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Change features on a prompt, and show which next tokens and features that changes.

    `orrery trace` finds the features; its graphs name them by layer, position and index.

    For example:

        orrery intervene "the capital of the state containing Dallas is" -f 1/-1/1006 --ablate

        orrery intervene "the capital of the state containing Dallas is" -f 1/-1/1006 --scale -1 --mode direct

        orrery intervene "the capital of the state containing Dallas is" -f 1/-1:/1006 --set 0 -n 3 --live-attention
    """
    given = parse_prompt(prompt, ids, chat)
    values = {"--set": set_to, "--scale": scale, "--add": add, "--ablate": 0.0 if ablate else None, "--swap": swap}
    chosen = [name for name, value in values.items() if value is not None]
    if len(chosen) != 1 or not feature:
        raise InputError(
            "say what to change and how: --feature, and one of --set, --scale, --add, --ablate and --swap, as in "
            "--feature 1/-1/1006 --ablate"
        )
    held = _layers(layers)
    check_output([] if save_spec is None else [OutputFile("json", save_spec)])
    if figure is None and (width is not None or font is not None):
        raise InputError(f"--{'font' if width is None else 'width'} is of figures; add --figure FILE")
    look = parse_look(width, font)
    plot = None if figure is None else plan_plot(figure)
    with step(f"Loading {model}"), collector_paused():
        from replacement_model import Conditions, ReplacementModel
        from replacement_model import intervene as run
        from replacement_model.interventions import Case, Specification, result_table, write_specification
        from replacement_model.interventions.specification import outcome

        conditions = Conditions(mode, held, frozen_attention=not live_attention)  # type: ignore[arg-type]
        change = _intervention(chosen[0], feature, values[chosen[0]], read_at)
    model_at, transcoder_at = located(model, transcoder)
    with loading(model_at, transcoder_at):
        loaded = ReplacementModel.from_pretrained(model_at, transcoder_at, device=device)
    with step("Intervening"):
        result = run(loaded, given, change, conditions, generate=generate)
    if save_spec is not None:
        case = Case("intervention", given, (change,), conditions, generate, outcome(loaded, result))
        write_specification(save_spec, Specification.of(loaded, [case]))
        say(f"wrote {save_spec}; run it again with: orrery replay {save_spec}")
    if as_json:
        typer.echo(json.dumps(result.to_dict()))
    else:
        stdout().print(result_table(result))
    if plot is not None:
        _draw(result, prompt, loaded, plot, look)


def _draw(
    result: "InterventionResult", prompt: str | None, model: "ReplacementModel", file: OutputFile, look: dict[str, Any]
) -> None:
    """Write the bars and their caption."""
    from viz.figures import intervention_bars, intervention_caption
    from viz.files import write_files

    facts = {"model": model.name, "transcoder": model.transcoder.name}
    facts |= {f"sha256 of {name}": value for name, value in sorted(model.hashes.items())}
    contents = plot_contents(intervention_bars(result, **look), intervention_caption(result, facts, prompt), (file,))
    write_files(contents)
    for path in contents:
        announce(path)


def _intervention(option: str, features: list[str], value: float | str | None, read_at: int | None) -> "Intervention":
    from replacement_model import Intervention

    if option == "--swap":
        return Intervention.swap(features, prompt=str(value), read_at=read_at)
    if read_at is not None:
        raise InputError(f"--read-at {read_at} is the position on the other prompt of --swap; leave it out")
    number = float(value or 0.0)
    make = {"--set": Intervention.set, "--scale": Intervention.scale, "--add": Intervention.add}
    return make[option](features, number) if option in make else Intervention.ablate(features)


def _layers(text: str | None) -> tuple[int, ...] | None:
    parts = [] if text is None else text.replace(",", " ").split()
    wrong = [part for part in parts if not part.isdecimal()]
    if wrong or (text is not None and not parts):
        raise InputError(f'expected layers as in --layers "1,2", got {text!r}')
    return tuple(map(int, parts)) if parts else None
