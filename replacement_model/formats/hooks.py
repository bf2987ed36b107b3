"""Names of places in a model, as other projects write them, and which of ours they are.

Two vocabularies: TransformerLens's, where a layer's places are `blocks.{layer}.hook_resid_mid`, and the modules of
transformers, `model.layers.{layer}.mlp.input`. A name that is in neither table is refused: a transcoder that reads
the wrong place still gives a graph.

`hook_mlp_in` is in no table, since it is the residual stream in TransformerLens 2 and the MLP's input in 3.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from replacement_model.errors import InputError, WeightsError
from replacement_model.transcoder import DecoderSite, EncoderTap

__all__ = ["DECODER_SITES", "ENCODER_TAPS", "Hook", "choose_site", "choose_tap", "parse_hook"]

ENCODER_TAPS = {
    "hook_resid_mid": EncoderTap.RESID_MID,
    "ln2.hook_normalized": EncoderTap.NORMALIZED,
    "mlp.hook_in": EncoderTap.MLP_IN,
    "pre_feedforward_layernorm.input": EncoderTap.RESID_MID,
    "pre_feedforward_layernorm.output": EncoderTap.MLP_IN,
    "mlp.input": EncoderTap.MLP_IN,
    "mlp": EncoderTap.MLP_IN,  # a transcoder of the module reads its input
}
DECODER_SITES = {
    "hook_mlp_out": DecoderSite.POST_NORM,
    "mlp.hook_out": DecoderSite.MLP_OUT,
    "post_feedforward_layernorm.input": DecoderSite.MLP_OUT,
    "post_feedforward_layernorm.output": DecoderSite.POST_NORM,
    "mlp.output": DecoderSite.MLP_OUT,
    "mlp": DecoderSite.MLP_OUT,
}
NAME = re.compile(r"(?:[a-z_]+\.)*?(?:layers|h|blocks)\.(\d+|\{[a-z_]+\})(?:\.(.+))?")


@dataclass(frozen=True, slots=True)
class Hook:
    """A place in a model.

    Attributes:
        layer: None where the name stands for every layer.
        point: the place within the layer, empty for the layer itself.
    """

    layer: int | None
    point: str


def parse_hook(name: str) -> Hook:
    """The layer and place of a name such as `blocks.3.hook_mlp_out` or `model.layers.{all}.mlp.output`."""
    match = NAME.fullmatch(name)
    if match is None:
        return Hook(None, name)
    return Hook(int(match[1]) if match[1].isdecimal() else None, match[2] or "")


def choose_tap(declared: Iterable[Any], asked: EncoderTap | None, where: object) -> EncoderTap:
    """What the encoder reads: what the caller asked for, else what the file declares.

    Args:
        declared: names in the file that say it, the most exact first; those that are None say nothing.
        asked: the caller's choice, which wins.
        where: the file, for messages.

    Raises:
        InputError: neither says it.
        WeightsError: the file says something that is not known.
    """
    return asked if asked is not None else _lookup(declared, ENCODER_TAPS, "encoder_tap", EncoderTap, where)


def choose_site(declared: Iterable[Any], asked: DecoderSite | None, where: object) -> DecoderSite:
    """What the decoder writes; arguments and errors as for `choose_tap`."""
    return asked if asked is not None else _lookup(declared, DECODER_SITES, "decoder_site", DecoderSite, where)


def _lookup(declared: Iterable[Any], table: dict[str, Any], argument: str, kind: Any, where: object) -> Any:
    said = [name for name in declared if name is not None]
    points = [parse_hook(name).point for name in said if isinstance(name, str)]
    known = [table[point] for point in points if point in table]
    if known:
        return known[0]
    verb = "reads" if argument == "encoder_tap" else "writes"
    names = " and ".join(map(repr, said))
    ask = f"give {argument} (--{argument.replace('_', '-')}), one of {', '.join(member.value for member in kind)}"
    measure = "`orrery info --measure` shows on text which one fits"
    if said:
        raise WeightsError(f"{where} says that it {verb} {names}, which is not known; {ask}; {measure}")
    raise InputError(f"{where} does not say where it {verb}; {ask}; {measure}")
