"""Reading specifications. They come from strangers: everything is checked, everything is bounded, nothing is run."""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn, get_args

from replacement_model.errors import InputError
from replacement_model.interventions.conditions import Conditions, Mode
from replacement_model.interventions.intervention import Intervention
from replacement_model.interventions.specification import SCHEMA_VERSION, Case, Outcome, Specification
from replacement_model.prompt import PromptLike

__all__ = ["read_specification"]

MAX_BYTES = 2**24
MAX_CASES, MAX_INTERVENTIONS, MAX_FEATURES, MAX_HASHES, MAX_EXPECTED = 10_000, 1_000, 100_000, 10_000, 100
MAX_PROMPT, MAX_TEXT, MAX_MESSAGES, MAX_LAYERS, MAX_GENERATED, MAX_NUMBER = 100_000, 500, 500, 1_000, 1_000, 1e30
SHA256 = re.compile(r"[0-9a-f]{64}")


def read_specification(path: str | Path) -> Specification:
    """A file that `write_specification` wrote, or that somebody wrote by hand.

    Raises:
        InputError: there is no such file, it is too large, or something in it is not as it must be.
    """
    place = Path(path)
    try:
        if place.stat().st_size > MAX_BYTES:
            raise InputError(f"{place} is larger than {MAX_BYTES >> 20} MiB; split its cases over several files")
        content = json.loads(place.read_text(encoding="utf-8"), parse_constant=_no_number)
    except OSError as error:
        raise InputError(f"{place} cannot be read ({error.strerror}); name a file with interventions") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{place} is no JSON with interventions ({' '.join(str(error).split())[:200]})") from error
    try:
        return _specification(content)
    except InputError as error:
        raise InputError(f"{place}: {error}") from error


def _specification(content: Any) -> Specification:
    given = _object(content, "the file", ("schema_version", "model", "hashes", "cases"), ("transcoder",))
    if given["schema_version"] != SCHEMA_VERSION:
        _refuse("schema_version", str(SCHEMA_VERSION), given["schema_version"])
    hashes = given["hashes"]
    if not isinstance(hashes, dict) or len(hashes) > MAX_HASHES:
        _refuse("hashes", f"at most {MAX_HASHES} SHA-256 by file", hashes)
    for name, value in hashes.items():
        _text(name, "a file's name in hashes")
        if not (isinstance(value, str) and SHA256.fullmatch(value)):
            _refuse("hashes", "SHA-256 in lower-case hexadecimal", value)
    cases = tuple(_list(given["cases"], "cases", MAX_CASES, _case))
    names = [case.name for case in cases]
    if len(set(names)) < len(names):
        raise InputError("two cases have the same name; each needs its own")
    transcoder = given.get("transcoder")
    return Specification(
        model=_text(given["model"], "model"),
        transcoder=None if transcoder is None else _text(transcoder, "transcoder"),
        hashes=dict(hashes),
        cases=cases,
    )


def _case(value: Any) -> Case:
    given = _object(
        value, "a case", ("name", "prompt", "interventions", "expected"), ("mode", "conditions", "generate")
    )
    name = _text(given["name"], "a case's name")
    if ("mode" in given) == ("conditions" in given):
        raise InputError(f"case {name!r}: expected either mode or conditions")
    conditions = _conditions(given["conditions"] if "conditions" in given else {"mode": given["mode"]})
    interventions = _list(given["interventions"], "interventions", MAX_INTERVENTIONS, _intervention)
    if not interventions:
        raise InputError(f"case {name!r}: expected at least one intervention")
    return Case(
        name=name,
        prompt=_prompt(given["prompt"]),
        interventions=tuple(interventions),
        conditions=conditions,
        generate=_whole(given.get("generate", 0), "generate", MAX_GENERATED),
        expected=_expected(given["expected"]),
    )


def _intervention(value: Any) -> Intervention:
    optional = ("values", "name", "incoming", "prompt", "read_at")
    given = _object(value, "an intervention", ("operation", "features"), optional)
    plain: dict[str, Any] = {
        "operation": _text(given["operation"], "operation"),
        "features": _list(given["features"], "features", MAX_FEATURES, lambda one: _text(one, "a feature")),
        "incoming": _list(given.get("incoming", []), "incoming", MAX_FEATURES, lambda one: _text(one, "a feature")),
        "values": _list(given.get("values", []), "values", MAX_FEATURES, _number),
        "name": None if given.get("name") is None else _text(given["name"], "an intervention's name"),
        "prompt": None if given.get("prompt") is None else _prompt(given["prompt"]),
        "read_at": None
        if given.get("read_at") is None
        else _whole(given["read_at"], "read_at", MAX_PROMPT, negative=True),
    }
    if plain["operation"] != "swap" and (plain["incoming"] or plain["prompt"] or plain["read_at"] is not None):
        raise InputError(f"{plain['operation'][:40]!r} has incoming, prompt or read_at, which only a swap has")
    return Intervention.from_dict(plain)


def _conditions(value: Any) -> Conditions:
    given = _object(value, "conditions", ("mode",), ("layers", "frozen_attention", "frozen_norms"))
    layers, norms = given.get("layers"), given.get("frozen_norms")
    attention = given.get("frozen_attention", True)
    if not isinstance(attention, bool) or not (norms is None or isinstance(norms, bool)):
        _refuse("frozen_attention and frozen_norms", "true or false", (attention, norms))
    held = None if layers is None else tuple(_list(layers, "layers", MAX_LAYERS, _layer))
    mode = given["mode"]
    if mode not in get_args(Mode):
        _refuse("mode", f"one of {', '.join(get_args(Mode))}", mode)
    return Conditions(mode, held, attention, norms)


def _layer(value: Any) -> int:
    return _whole(value, "a layer", MAX_LAYERS)


def _prompt(value: Any) -> PromptLike:
    if isinstance(value, str) and 0 < len(value) <= MAX_PROMPT:
        return value
    if isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
        return _list(value, "messages", MAX_MESSAGES, _message)
    if isinstance(value, list) and value:
        return _list(value, "token ids", MAX_PROMPT, lambda one: _whole(one, "a token id", 2**31))
    _refuse("a prompt", f"text of at most {MAX_PROMPT} characters, token ids, or chat messages", value)


def _message(value: Any) -> dict[str, str]:
    given = _object(value, "a chat message", ("role", "content"))
    return {"role": _text(given["role"], "role"), "content": _text(given["content"], "content", MAX_PROMPT)}


def _expected(value: Any) -> Outcome:
    given = _object(value, "expected", ("before", "after"), ("text_before", "text_after"))
    tokens = {name: tuple(_list(given[name], name, MAX_EXPECTED, _token)) for name in ("before", "after")}
    texts = {
        name: None if given.get(name) is None else _text(given[name], name, MAX_PROMPT, empty=True)
        for name in ("text_before", "text_after")
    }
    return Outcome(**tokens, **texts)  # type: ignore[arg-type]


def _token(value: Any) -> tuple[str, float]:
    if not isinstance(value, list) or len(value) != 2:
        _refuse("expected tokens", "[token, probability]", value)
    probability = _number(value[1])
    if not 0.0 <= probability <= 1.0:
        _refuse("a probability", "0 to 1", probability)
    return _text(value[0], "a token", empty=True), probability


def _object(value: Any, what: str, required: tuple[str, ...], optional: tuple[str, ...] = ()) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        _refuse(what, f"an object with {', '.join(required)}", value)
    missing = [name for name in required if name not in value]
    unknown = [name for name in value if name not in required and name not in optional]
    if missing or unknown:
        wrong = f"lacks {missing[0]!r}" if missing else f"has {unknown[0][:40]!r}, which is unknown"
        raise InputError(f"{what} {wrong}; it has {', '.join((*required, *optional))}")
    return value


def _list(value: Any, what: str, most: int, each: Callable[[Any], Any]) -> list[Any]:
    if not isinstance(value, list) or len(value) > most:
        _refuse(what, f"a list of at most {most}", value)
    return [each(one) for one in value]


def _text(value: Any, what: str, most: int = MAX_TEXT, empty: bool = False) -> str:
    if not isinstance(value, str) or len(value) > most or not (value or empty):
        _refuse(what, f"text of at most {most} characters", value)
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) <= MAX_NUMBER:
        _refuse("a number", f"one between -{MAX_NUMBER:g} and {MAX_NUMBER:g}", value)
    return float(value)


def _whole(value: Any, what: str, most: int, negative: bool = False) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not (-most if negative else 0) <= value <= most:
        _refuse(what, f"a whole number of at most {most}", value)
    return value


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")


def _refuse(what: str, expected: str, got: object) -> NoReturn:
    shown = repr(got)
    shown = shown if len(shown) <= 60 else f"{shown[:60]}..."
    raise InputError(f"{what}: expected {expected}, got {shown}")
