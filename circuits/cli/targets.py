"""Targets as they are written on the command line."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from replacement_model.errors import InputError

if TYPE_CHECKING:
    from circuits.targets import TargetSpec

__all__ = ["parse_targets"]


def parse_targets(targets: Sequence[str], over: str | None, position: int) -> "list[TargetSpec] | None":
    """Target specifications from `--target`, `--over` and `--position`.

    Args:
        targets: tokens by text, `id:123` for a token by its id, `feature:LAYER:INDEX` for a feature.
        over: a second token; the one target is then the first's logit minus this one's.
        position: where all of them are read; -1 is the last.

    Returns:
        None if nothing is asked for: the most probable next tokens.

    Raises:
        InputError: `id:` or `feature:` is not followed by numbers, or `--over` does not go with one token.
    """
    from circuits.targets import DifferenceTarget, FeatureTarget, TokenTarget

    if over is not None:
        if len(targets) != 1 or targets[0].startswith("feature:"):
            raise InputError("--over needs exactly one token as --target, as in --target Austin --over Houston")
        return [DifferenceTarget(_token(targets[0]), _token(over), position)]
    if not targets:
        if position != -1:
            raise InputError(f"--position {position} needs a --target to read there")
        return None
    specs: list[TargetSpec] = []
    for text in targets:
        if text.startswith("feature:"):
            layer, feature_idx = _numbers(text, "feature:LAYER:INDEX", 2)
            specs.append(FeatureTarget(layer, feature_idx, position))
        else:
            specs.append(TokenTarget(_token(text), position))
    return specs


def _token(text: str) -> str | int:
    return _numbers(text, "id:NUMBER", 1)[0] if text.startswith("id:") else text


def _numbers(text: str, form: str, count: int) -> list[int]:
    parts = text.split(":")[1:]
    if len(parts) != count or not all(part.isdecimal() for part in parts):
        raise InputError(f"expected a target of the form {form}, got {text!r}")
    return [int(part) for part in parts]
