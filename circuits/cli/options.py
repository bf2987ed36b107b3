"""Options that several commands share."""

import logging
from pathlib import Path
from typing import Annotated, no_type_check

import typer

from replacement_model.errors import InputError

__all__ = [
    "PLACES",
    "ChatOption",
    "DebugOption",
    "DecoderSiteOption",
    "DeviceOption",
    "EdgeThresholdOption",
    "EncoderTapOption",
    "GraphArgument",
    "IdsOption",
    "JsonOption",
    "L0Option",
    "MemoryOption",
    "ModelOption",
    "NodeThresholdOption",
    "OtherEdgeThresholdOption",
    "OtherNodeThresholdOption",
    "TranscoderOption",
    "debugging",
]

_DEBUG = "orrery.debug"
# The values of the library's own enumerations, whose import would make help wait for torch.
PLACES = {"--encoder-tap": ("resid_mid", "normalized", "mlp_in"), "--decoder-site": ("mlp_out", "post_norm")}


# Typer hands callbacks the context and parameter of a class other than it declares, so these are not checked.
@no_type_check
def debugging(context: typer.Context) -> bool:
    """Whether the command that ran in `context` was given `--debug`."""
    return bool(context.meta.get(_DEBUG))


@no_type_check
def _note_debug(context: typer.Context, value: bool) -> bool:
    context.meta[_DEBUG] = value
    if value:
        for package in ("replacement_model", "circuits", "viz"):
            logging.getLogger(package).setLevel(logging.DEBUG)
    return value


@no_type_check
def _check_share(parameter: typer.CallbackParam, value: float | None) -> float | None:
    if value is not None and not 0.0 <= value <= 1.0:
        raise InputError(f"{parameter.opts[0]} must be between 0 and 1, it is {value:g}; 0.8 keeps four fifths")
    return value


@no_type_check
def _check_place(parameter: typer.CallbackParam, value: str | None) -> str | None:
    places = PLACES[parameter.opts[0]]
    if value is not None and value not in places:
        raise InputError(f"{parameter.opts[0]} must be one of {', '.join(places)}, it is {value!r}")
    return value


DebugOption = Annotated[
    bool,
    typer.Option(
        "--debug", callback=_note_debug, is_eager=True, help="Log what happens, and show the traceback of an error."
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Write one JSON object to stdout, and nothing else there, for programs.")
]
_NODE_THRESHOLD = typer.Option(
    "--node-threshold",
    callback=_check_share,
    help="Keep the nodes that carry this share of the influence on the targets, 0 to 1.",
)
_EDGE_THRESHOLD = typer.Option(
    "--edge-threshold",
    callback=_check_share,
    help="Of the edges between them, keep those that carry this share, 0 to 1.",
)
NodeThresholdOption = Annotated[float, _NODE_THRESHOLD]
EdgeThresholdOption = Annotated[float, _EDGE_THRESHOLD]
OtherNodeThresholdOption = Annotated[float | None, _NODE_THRESHOLD]
OtherEdgeThresholdOption = Annotated[float | None, _EDGE_THRESHOLD]
ModelOption = Annotated[
    str, typer.Option("--model", "-m", help="A local folder, a name on the Hugging Face hub, or pocket.")
]
TranscoderOption = Annotated[
    str | None,
    typer.Option(
        "--transcoder", "-t", help="A local folder or OWNER/NAME[//FOLDER][@REVISION]; for pocket: clt or plt."
    ),
]
DeviceOption = Annotated[str | None, typer.Option("--device", help="Where to run, such as cuda; else the CPU.")]
MemoryOption = Annotated[str, typer.Option("--memory", help="Memory that attribution may use, such as 4GiB.")]
ChatOption = Annotated[
    bool, typer.Option("--chat", help="PROMPT is what the user says: put the model's chat template around it.")
]
IdsOption = Annotated[
    str | None, typer.Option("--ids", metavar="NUMBERS", help='Token ids in place of PROMPT, as in "2,105,2364".')
]
EncoderTapOption = Annotated[
    str | None,
    typer.Option(
        "--encoder-tap",
        metavar="PLACE",
        callback=_check_place,
        help="Where the transcoder reads, if its files do not say it or say it wrongly: "
        f"{', '.join(PLACES['--encoder-tap'])}.",
    ),
]
DecoderSiteOption = Annotated[
    str | None,
    typer.Option(
        "--decoder-site",
        metavar="PLACE",
        callback=_check_place,
        help=f"Where it writes, in the same case: {', '.join(PLACES['--decoder-site'])}.",
    ),
]
L0Option = Annotated[
    int | None, typer.Option("--l0", min=1, help="Of several transcoders of a layer, that with the nearest L0.")
]
GraphArgument = Annotated[
    Path,
    typer.Argument(metavar="GRAPH", help="A graph of `orrery trace --output`, or graph JSON of any program."),
]
