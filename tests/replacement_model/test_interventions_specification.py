"""Specifications: what is written is read, what is replayed agrees, and what strangers write is checked."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_models import PROMPT, tiny_model

from replacement_model import InputError, ReplacementModel
from replacement_model.file_hashes import file_hashes
from replacement_model.hashing import sha256
from replacement_model.interventions import (
    Conditions,
    Intervention,
    Specification,
    Supernode,
    intervene,
    measured_case,
    read_specification,
    replay,
    write_specification,
)
from replacement_model.interventions.features import Feature
from replacement_model.interventions.replay import hash_differences
from replacement_model.pocket import MODEL_DIR, TRANSCODER_DIRS

DALLAS = "the capital of the state containing Dallas is"
CASE: dict[str, Any] = {
    "name": "one",
    "prompt": DALLAS,
    "interventions": [{"operation": "set", "features": ["1/-1/1006"], "values": [2.0]}],
    "mode": "free",
    "expected": {"before": [["Austin", 0.9]], "after": [["Houston", 0.5]]},
}
FILE: dict[str, Any] = {"schema_version": 1, "model": "pocket", "hashes": {"model/a": "0" * 64}, "cases": [CASE]}


@pytest.fixture(scope="module")
def model() -> ReplacementModel:
    return tiny_model()


@pytest.fixture(scope="module")
def specification(model: ReplacementModel) -> Specification:
    texas = Supernode("Texas", (Feature(0, 3, -1), Feature(2, 5, -1)), (0.5, 0.25))
    held = Conditions("direct", layers=(0, 1), frozen_attention=False)
    return Specification.of(
        model,
        [
            measured_case(model, "ablate", PROMPT, Intervention.ablate("0/-1/3")),
            measured_case(
                model, "two", PROMPT, [Intervention.set("0/3:/1", 2.0), Intervention.add("2/*/5", -1.0)], held
            ),
            measured_case(model, "swap", PROMPT, Intervention.swap("0/-1/1", by=texas), "iterative", generate=1),
            measured_case(model, "other", PROMPT, Intervention.swap("0/-1/1", prompt=PROMPT[:4], read_at=-1)),
        ],
    )


def written(tmp_path: Path, content: Any) -> Path:
    path = tmp_path / "interventions.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_what_is_written_is_read(tmp_path: Path, specification: Specification) -> None:
    path = tmp_path / "interventions.json"
    write_specification(path, specification)
    found = read_specification(path)
    assert [case.to_dict() for case in found.cases] == [case.to_dict() for case in specification.cases]
    first = path.read_bytes()
    write_specification(path, found)
    assert path.read_bytes() == first
    assert first.count(b"\n") == 4 + len(specification.cases) + 2


def test_a_replay_agrees_exactly(tmp_path: Path, model: ReplacementModel, specification: Specification) -> None:
    write_specification(tmp_path / "interventions.json", specification)
    seen: list[tuple[int, int]] = []
    result = replay(
        model, read_specification(tmp_path / "interventions.json"), progress=lambda *at: seen.append(at), tolerance=0.0
    )
    assert result.differing == ()
    assert result.difference == 0.0
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert [one.found.to_dict() for one in result.cases] == [case.expected.to_dict() for case in specification.cases]
    assert result.cases[2].found.text_after is not None


def test_what_is_expected_is_what_intervene_gives(model: ReplacementModel, specification: Specification) -> None:
    case = specification.cases[1]
    result = intervene(model, case.prompt, case.interventions, case.conditions)
    for expected, probabilities in (
        (case.expected.before, result.probabilities_before[-1]),
        (case.expected.after, result.probabilities_after[-1]),
    ):
        values, ids = torch.topk(probabilities, 5)
        assert expected == tuple(zip([model.token_string(i) for i in ids.tolist()], values.tolist(), strict=True))


@pytest.mark.parametrize(
    ("change", "difference", "agrees"),
    [
        (lambda e: e["after"][0].__setitem__(1, e["after"][0][1] + 0.25), 0.25, False),
        (lambda e: e["before"][2].__setitem__(1, e["before"][2][1] - 0.0009), 0.0009, True),
        (lambda e: e["after"].__setitem__(0, ["no such token", 0.0]), None, False),
        (lambda e: e["before"].clear(), 0.0, True),
        (lambda e: e.__setitem__("text_after", "something else"), 0.0, False),
        (lambda e: e.pop("text_after"), 0.0, True),
    ],
    ids=["a probability", "within the tolerance", "another token", "nothing", "another text", "no text"],
)
def test_a_difference_is_found(
    tmp_path: Path,
    model: ReplacementModel,
    specification: Specification,
    change: Callable[[dict[str, Any]], None],
    difference: float | None,
    agrees: bool,
) -> None:
    case = copy.deepcopy(specification.cases[2].to_dict())
    top = case["expected"]["after"][0][1]
    change(case["expected"])
    path = written(tmp_path, FILE | {"hashes": {}, "cases": [case]})
    result = replay(model, read_specification(path))
    assert result.difference == pytest.approx(top if difference is None else difference, abs=1e-7)
    assert (result.differing == ()) == agrees == result.to_dict()["agrees"]


def test_other_files_are_refused_unless_any_version_will_do(model: ReplacementModel, tmp_path: Path) -> None:
    case = measured_case(model, "a", PROMPT, Intervention.ablate("0/-1/3"))
    stated = Specification("tiny", None, {"model/x.safetensors": "a" * 64, "model/y": "b" * 64}, (case,))
    with pytest.raises(
        InputError, match=r"'model/x.safetensors' had SHA-256 aaaaaaaaaaaa..., there is none here, and 1 "
    ):
        replay(model, stated)
    result = replay(model, stated, any_version=True)
    assert result.differing == ()
    assert [one["file"] for one in result.to_dict()["other_files"]] == ["model/x.safetensors", "model/y"]
    assert result.n_files == 2


def test_hashes_cover_every_file_of_the_pocket_model(tmp_path: Path) -> None:
    model = ReplacementModel.from_pretrained("pocket")
    expected = {f"model/{path.name}": sha256(path) for path in MODEL_DIR.iterdir()}
    names = ("transcoder.json", "transcoder.safetensors")
    expected |= {f"transcoder/{name}": sha256(TRANSCODER_DIRS["clt"] / name) for name in names}
    assert file_hashes(model) == expected
    stated = Specification.of(model, [])
    assert (stated.model, stated.transcoder) == ("pocket", "clt")
    assert hash_differences(model, stated) == ()
    changed = Specification("pocket", "clt", expected | {"model/config.json": "0" * 64}, ())
    assert [one.file for one in hash_differences(model, changed)] == ["model/config.json"]


def test_a_case_that_cannot_be_run_is_named(model: ReplacementModel, tmp_path: Path) -> None:
    wrong = CASE | {"prompt": PROMPT, "interventions": [{"operation": "ablate", "features": ["9/-1/1"], "values": [0]}]}
    path = written(tmp_path, FILE | {"hashes": {}, "cases": [wrong]})
    with pytest.raises(InputError, match=r"case 'one': .*layer 9 does not exist"):
        replay(model, read_specification(path))
    with pytest.raises(InputError, match="tolerance of 0 or more, got nan"):
        replay(model, Specification("tiny", None, {}, ()), tolerance=float("nan"))


def test_two_cases_of_one_name_are_not_written(tmp_path: Path, specification: Specification) -> None:
    twice = Specification("tiny", None, {}, (specification.cases[0],) * 2)
    with pytest.raises(InputError, match="two cases have the same name"):
        write_specification(tmp_path / "a.json", twice)
    assert list(tmp_path.iterdir()) == []


def changed(path: str, value: Any) -> dict[str, Any]:
    """`FILE` with one value replaced, or removed where it is `...`."""
    found = copy.deepcopy(FILE)
    *way, last = [int(part) if part.isdecimal() else part for part in path.split(".")]
    place: Any = found
    for part in way:
        place = place[part]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return found


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ('{"schema_version": NaN}', "NaN is no number"),
        ("1" * 5000, "no JSON"),
        ("[]", "the file: expected an object"),
        (changed("schema_version", 2), "schema_version: expected 1, got 2"),
        (changed("cases", ...), "the file lacks 'cases'"),
        (changed("run", "rm -rf"), "has 'run', which is unknown"),
        (changed("model", ["pocket"]), "model: expected text"),
        (changed("model", ""), "model: expected text"),
        (changed("model", "x" * 501), "model: expected text of at most 500"),
        (changed("transcoder", 3), "transcoder: expected text"),
        (changed("hashes", []), "hashes: expected at most"),
        (changed("hashes.model/a", "0" * 63), "hashes: expected SHA-256"),
        (changed("hashes.model/a", None), "hashes: expected SHA-256"),
        (changed("cases", {}), "cases: expected a list"),
        (changed("cases", [CASE, CASE]), "two cases have the same name"),
        (changed("cases.0", 1), "a case: expected an object"),
        (changed("cases.0.name", ""), "a case's name: expected text"),
        (changed("cases.0.eval", "1"), "a case has 'eval', which is unknown"),
        (changed("cases.0.mode", ...), "expected either mode or conditions"),
        (changed("cases.0.conditions", {"mode": "free"}), "expected either mode or conditions"),
        (changed("cases.0.mode", "fast"), "mode: expected one of direct, iterative, free, got 'fast'"),
        (changed("cases.0.mode", {}), "mode: expected one of"),
        (changed("cases.0.interventions.0.prompt", "x"), "'set' has incoming, prompt or read_at, which only a swap"),
        (changed("cases.0.prompt", ""), "a prompt: expected text"),
        (changed("cases.0.prompt", "x" * 100_001), "a prompt: expected text of at most 100000"),
        (changed("cases.0.prompt", {}), "a prompt: expected text"),
        (changed("cases.0.prompt", []), "a prompt: expected text"),
        (changed("cases.0.prompt", [1, -1]), "a token id: expected a whole number"),
        (changed("cases.0.prompt", [1, True]), "a token id: expected a whole number"),
        (changed("cases.0.prompt", [2**80]), "a token id: expected a whole number"),
        (changed("cases.0.prompt", [{"role": "user"}]), "a chat message lacks 'content'"),
        (changed("cases.0.prompt", [{"role": "user", "content": ["x"]}]), "content: expected text"),
        (changed("cases.0.generate", 1_001), "generate: expected a whole number of at most 1000"),
        (changed("cases.0.generate", -1), "generate: expected"),
        (changed("cases.0.generate", 1.5), "generate: expected"),
        (changed("cases.0.interventions", []), "at least one intervention"),
        (changed("cases.0.interventions.0.operation", "exec"), "operation must be one of"),
        (changed("cases.0.interventions.0.operation", "swap"), "swap needs features and one value for each"),
        (changed("cases.0.interventions.0.features", "1/2/3"), "features: expected a list"),
        (changed("cases.0.interventions.0.features", ["../../etc/passwd"]), "expected a feature as LAYER"),
        (changed("cases.0.interventions.0.features", [[1, 2, 3]]), "a feature: expected text"),
        (changed("cases.0.interventions.0.features", ["1/2/" + "9" * 499]), "a feature: expected text"),
        (changed("cases.0.interventions.0.features", []), "set needs features"),
        (changed("cases.0.interventions.0.values", ["inf"]), "a number: expected"),
        (changed("cases.0.interventions.0.values", [1e31]), "a number: expected"),
        (changed("cases.0.interventions.0.values", [10**400]), "a number: expected"),
        (changed("cases.0.interventions.0.values", [True]), "a number: expected"),
        (changed("cases.0.interventions.0.values", [1.0, 2.0]), "one value for each"),
        (changed("cases.0.interventions.0.read_at", "0"), "read_at: expected"),
        (changed("cases.0.interventions.0.name", {}), "an intervention's name: expected text"),
        (changed("cases.0.interventions.0.code", ""), "an intervention has 'code', which is unknown"),
        (changed("cases.0.expected", []), "expected: expected an object"),
        (changed("cases.0.expected.before", ...), "expected lacks 'before'"),
        (changed("cases.0.expected.before", [["a", 0.1]] * 101), "before: expected a list of at most 100"),
        (changed("cases.0.expected.after", [["a"]]), "expected tokens: expected"),
        (changed("cases.0.expected.after", [["a", 1.5]]), "a probability: expected 0 to 1"),
        (changed("cases.0.expected.after", [["a", -0.1]]), "a probability: expected 0 to 1"),
        (changed("cases.0.expected.after", [[1, 0.5]]), "a token: expected text"),
        (changed("cases.0.expected.text_after", 3), "text_after: expected text"),
    ],
)
def test_what_strangers_write_is_checked(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_specification(written(tmp_path, content))
    assert len(str(caught.value)) < 500


def test_layers_and_held_parts_are_checked(tmp_path: Path) -> None:
    for conditions, message in [
        ({"mode": "direct", "layers": "12"}, "layers: expected a list"),
        ({"mode": "direct", "layers": [-1]}, "a layer: expected"),
        ({"mode": "free", "layers": [1]}, "layers are those that mode direct holds"),
        ({"mode": "free", "frozen_attention": 1}, "expected true or false"),
        ({"mode": "free", "frozen_norms": "no"}, "expected true or false"),
    ]:
        case = {key: value for key, value in CASE.items() if key != "mode"} | {"conditions": conditions}
        with pytest.raises(InputError, match=message):
            read_specification(written(tmp_path, FILE | {"cases": [case]}))


def test_files_that_are_no_file_or_too_large_are_refused(tmp_path: Path) -> None:
    for place in (tmp_path / "none.json", tmp_path):
        with pytest.raises(InputError, match="cannot be read"):
            read_specification(place)
    with (tmp_path / "large.json").open("wb") as file:
        file.truncate(2**24 + 1)
    with pytest.raises(InputError, match="larger than 16 MiB"):
        read_specification(tmp_path / "large.json")
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe{")
    with pytest.raises(InputError, match="no JSON"):
        read_specification(tmp_path / "bytes.json")


ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**30), 10**30),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)


@given(place=st.integers(0, 10**6), value=ODD)
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_value_anywhere_is_read_or_refused(tmp_path: Path, place: int, value: Any) -> None:
    content = copy.deepcopy(FILE)
    places = list(all_places(content))
    holder, key = places[place % len(places)]
    holder[key] = value
    try:
        found = read_specification(written(tmp_path, content))
    except InputError:
        return
    again = tmp_path / "again.json"
    write_specification(again, found)
    assert [case.to_dict() for case in read_specification(again).cases] == [case.to_dict() for case in found.cases]


def all_places(value: Any) -> Any:
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else []
    for key in keys:
        yield value, key
        yield from all_places(value[key])
