"""Every rule of the graph files, each with a file that breaks it, and files of our own, which break none."""

import copy
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import viz
from circuits import prune, save_circuit, save_graph, save_grouping
from circuits.supernodes.grouping import Group, Grouping
from replacement_model.errors import GraphFileError, InputError
from viz.exchange.encoding import encoded
from viz.exchange.rules import RULES
from viz.exchange.validation import validate, validate_graph_json
from viz.exchange.violation import Findings, pointer

Change = Callable[[Any], object]
FEATURE, ERROR, TOKEN, LOGIT = "cross layer transcoder", "mlp reconstruction error", "embedding", "logit"


@pytest.fixture(scope="module")
def good(texas_graph) -> dict[str, Any]:
    value = viz.graph_json(prune(texas_graph, 0.99), slug="dallas", scan="pocket")  # with nodes of every kind
    return value | {"links": value["links"][:30]}


@pytest.fixture(scope="module")
def site(texas, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    viz.write_graph_json(texas, folder, slug="dallas", scan="pocket")
    return folder


def place(value: Any, kind: str) -> int:
    return next(i for i, node in enumerate(value["nodes"]) if node["feature_type"] == kind)


def node(kind: str, **changes: Any) -> tuple[Change, str]:
    """Changes keys of the first node of a kind, None to drop one; and the pointer to the first of them."""
    key = next(iter(changes))

    def change(value: Any) -> None:
        one = value["nodes"][place(value, kind)]
        for name, new in changes.items():
            if new is DROP:
                del one[name]
            else:
                one[name] = new

    return change, f"/nodes/<{kind}>" + ("" if changes[key] is DROP else f"/{key}")


def put(where: str, new: Any) -> tuple[Change, str]:
    """Puts a value, or drops it, at a JSON pointer."""
    *way, last = (int(part) if part.isdigit() else part for part in where.split("/")[1:])

    def change(value: Any) -> None:
        for part in way:
            value = value[part]
        if new is DROP:
            del value[last]
        else:
            value[last] = new

    return change, where.rpartition("/")[0] if new is DROP else where


def twin(key: str) -> tuple[Change, str]:
    return lambda value: value["nodes"][1].update({key: value["nodes"][0][key]}), f"/nodes/1/{key}"


def all_layers_0(value: Any) -> None:
    for one in value["nodes"]:
        one["layer"] = "E" if one["layer"] == "E" else "0"


DROP = object()
# rule: (change, pointer), all that break it; `<kind>` stands for the first node of that kind.
GRAPH_BREAKS: dict[str, list[tuple[Change, str]]] = {
    "top-required": [put(f"/{key}", DROP) for key in ("metadata", "qParams", "nodes", "links")],
    "top-types": [put("/nodes", {}), put("/links", None), put("/metadata", []), put("/qParams", "")],
    "metadata-required": [put(f"/metadata/{key}", DROP) for key in ("slug", "scan", "prompt", "prompt_tokens")],
    "slug-characters": [put("/metadata/slug", bad) for bad in ("a b", "../x", "..", "a\n", "", 3, None)],
    "scan-characters": [put("/metadata/scan", bad) for bad in ("google/gemma", "", None)],
    "prompt-text": [put("/metadata/prompt", 3)],
    "prompt-tokens": [put("/metadata/prompt_tokens", bad) for bad in ([], [1, 2], "a b", None)],
    "node-threshold": [put("/metadata/node_threshold", bad) for bad in (None, "0.8", math.nan, True)],
    "schema-version": [put("/metadata/schema_version", bad) for bad in ("1", 1.0, None)],
    "transcoder-list": [put("/metadata/transcoder_list", bad) for bad in ("a", [1])],
    "feature-details": [
        put("/metadata/feature_details", "https://example.org"),
        (
            put("/metadata/feature_details", {"feature_json_base_url": 1})[0],
            "/metadata/feature_details/feature_json_base_url",
        ),
    ],
    "info": [
        put("/metadata/info", "made by hand"),
        put("/metadata/info/description", 3),
        put("/metadata/info/create_time_ms", "today"),
        put("/metadata/info/generator", "us"),
        put("/metadata/info/generator/version", 1),
    ],
    "generation-settings": [
        put("/metadata/generation_settings", []),
        put("/metadata/generation_settings/max_feature_nodes", "many"),
        put("/metadata/generation_settings/desired_logit_prob", None),
    ],
    "pruning-settings": [
        put("/metadata/pruning_settings", 0.8),
        put("/metadata/pruning_settings/edge_threshold", "0.98"),
    ],
    "node-object": [put("/nodes/0", "x")],
    "node-required": [
        node(FEATURE, **{key: DROP})
        for key in ("node_id", "feature", "layer", "ctx_idx", "feature_type", "jsNodeId", "clerp")
    ],
    "node-id-text": [node(FEATURE, node_id=3), node(FEATURE, node_id="")],
    "js-node-id-text": [node(FEATURE, jsNodeId=None)],
    "clerp-text": [node(FEATURE, clerp=None), node(LOGIT, clerp=3)],
    "feature-integer": [node(FEATURE, feature="12"), node(TOKEN, feature=True), node(ERROR, feature=1.5)],
    "layer-form": [node(FEATURE, layer=bad) for bad in ("top", -1, 1.0, None, "9" * 5000)],
    "ctx-idx": [node(FEATURE, ctx_idx=bad) for bad in (10, -1, 1.0, "1", True)],
    "feature-type": [node(FEATURE, feature_type="transcoder"), node(FEATURE, feature_type=None)],
    "embedding-layer": [node(TOKEN, layer="0"), node(FEATURE, layer="E"), node(LOGIT, layer="E")],
    "logit-clerp": [node(LOGIT, clerp='Output "Austin"'), node(LOGIT, clerp="Austin (p=high)")],
    "cantor-feature": [node(FEATURE, feature=bad) for bad in (6, -1, None, 10**400)],
    "influence-range": [node(FEATURE, influence=bad) for bad in (1.01, -0.1, math.nan, "0.5", True)],
    "activation-finite": [node(FEATURE, activation=bad) for bad in (math.inf, "1", 10**400)],
    "token-prob-range": [node(LOGIT, token_prob=1.5), node(LOGIT, token_prob="0.9")],
    "is-target-logit": [node(LOGIT, is_target_logit=1)],
    "qk-tracing-results": [
        node(FEATURE, qk_tracing_results=bad)
        for bad in (
            [],
            {"pair_wise_contributors": [["a", "b"]]},
            {"pair_wise_contributors": [["a", "b", "c"]]},
            {"top_q_marginal_contributors": ["a"]},
        )
    ],
    "node-id-unique": [twin("node_id")],
    "js-node-id-unique": [twin("jsNodeId")],
    "largest-layer": [(all_layers_0, "/nodes")],
    "logit-above": [node(LOGIT, layer="1"), node(LOGIT, layer=0)],
    "link-object": [put("/links/0", ["a", "b", 1.0])],
    "link-required": [put(f"/links/0/{key}", DROP) for key in ("source", "target", "weight")],
    "link-end": [put("/links/0/source", "nowhere"), put("/links/0/target", 7), put("/links/0/target", ["a"])],
    "link-weight": [put("/links/0/weight", bad) for bad in (math.nan, math.inf, "1", None, True)],
    "pinned-ids": [put("/qParams/pinnedIds", bad) for bad in ("a,b", [1], None)],
    "supernodes": [put("/qParams/supernodes", bad) for bad in ([[]], ["a"], [["a", 1]], {}, None)],
    "qparams-text": [put("/qParams/linkType", 1), put("/qParams/clickedId", None), put("/qParams/sg_pos", [])],
    "qk-only-nodes": [put("/qk_only_nodes", {})],
    # warnings
    "token-prob-on-logits": [node(LOGIT, token_prob=DROP)],
    "js-node-id-form": [node(FEATURE, jsNodeId="0_1-0"), node(LOGIT, jsNodeId="L_1-0")],
    "qparams-known-ids": [
        (put("/qParams/pinnedIds", ["nowhere"])[0], "/qParams/pinnedIds/0"),
        (put("/qParams/supernodes", [["all", "nowhere"]])[0], "/qParams/supernodes/0"),
    ],
}
CASES = [
    pytest.param(rule, *case, id=f"{rule}-{k}") for rule, cases in GRAPH_BREAKS.items() for k, case in enumerate(cases)
]


@pytest.mark.parametrize(("rule", "change", "where"), CASES)
def test_a_graph_that_breaks_a_rule(good, rule: str, change: Change, where: str) -> None:
    value = copy.deepcopy(good)
    change(value)
    for kind in (FEATURE, ERROR, TOKEN, LOGIT):
        where = where.replace(f"<{kind}>", str(place(good, kind)) if f"<{kind}>" in where else "")
    found = {(one.rule, one.where): one for one in validate_graph_json(value)}
    assert (rule, where) in found, found
    one = found[rule, where]
    assert one.level == RULES[rule][0]
    assert one.expected
    assert str(one).startswith(f"{rule} at {where or '/'}: expected {one.expected}, got {one.got}; {RULES[rule][1]}")


def feature_file(**changes: Any) -> dict[str, Any]:
    example = {"tokens": ["a", "b"], "tokens_acts_list": [0.0, 1.0], "train_token_ind": 1}
    value = {"index": 7, "examples_quantiles": [{"quantile_name": "Top", "examples": [example]}], "act_max": 1.0}
    return {key: new for key, new in (value | changes).items() if new is not DROP}


def example(**changes: Any) -> dict[str, Any]:
    value = feature_file()
    value["examples_quantiles"][0]["examples"][0] |= changes
    return value


ENTRY = {"slug": "dallas", "scan": "pocket", "prompt_tokens": ["a"], "prompt": "a", "title_prefix": ""}
SUPERNODES = {"schema_version": 1, "supernodes": [["one", "a", "b"], ["two", "c"]]}
# rule: (name, content, pointer)
FILE_BREAKS: dict[str, list[tuple[str, Any, str]]] = {
    "file-kind": [("x.json", [], ""), ("x.json", {"a": 1}, ""), ("x.json", 3, "")],
    "feature-index": [("7.json", feature_file(index=bad), "/index") for bad in (DROP, "7", -1, True)],
    "feature-name": [("8.json", feature_file(), "")],
    "examples-quantiles": [
        ("7.json", feature_file(examples_quantiles=bad), f"/examples_quantiles{at}")
        for bad, at in ((DROP, ""), ({}, ""), ([1], "/0"), ([{"examples": []}], "/0"))
    ],
    "example": [
        ("7.json", example(tokens_acts_list=[1.0]), "/examples_quantiles/0/examples/0/tokens_acts_list"),
        ("7.json", example(tokens_acts_list=["1", "2"]), "/examples_quantiles/0/examples/0/tokens_acts_list"),
        ("7.json", example(tokens=[1, 2]), "/examples_quantiles/0/examples/0/tokens"),
        ("7.json", example(train_token_ind=2), "/examples_quantiles/0/examples/0/train_token_ind"),
        (
            "7.json",
            feature_file(examples_quantiles=[{"quantile_name": "", "examples": [1]}]),
            "/examples_quantiles/0/examples/0",
        ),
    ],
    "feature-optional": [
        ("7.json", feature_file(**{key: bad}), f"/{key}")
        for key, bad in (
            ("top_logits", "a"),
            ("bottom_logits", [1]),
            ("act_min", "0"),
            ("act_max", math.inf),
            ("histogram", [None]),
            ("activation_frequency", []),
        )
    ],
    "index-required": [
        ("graph-metadata.json", {"graphs": {}}, "/graphs"),
        ("graph-metadata.json", {"graphs": [1]}, "/graphs/0"),
        *(
            ("graph-metadata.json", {"graphs": [{k: v for k, v in ENTRY.items() if k != key}]}, "/graphs/0")
            for key in ("slug", "scan", "prompt_tokens", "prompt")
        ),
    ],
    "index-slug-unique": [("graph-metadata.json", {"graphs": [ENTRY, ENTRY]}, "/graphs/1/slug")],
    "title-prefix": [("graph-metadata.json", {"graphs": [ENTRY | {"title_prefix": None}]}, "/graphs/0/title_prefix")],
    "slug-characters": [("graph-metadata.json", {"graphs": [ENTRY | {"slug": "../x"}]}, "/graphs/0/slug")],
    "supernodes-schema": [("s.json", SUPERNODES | {"schema_version": 2}, "/schema_version")],
    "supernodes": [("s.json", SUPERNODES | {"supernodes": [["one", 3]]}, "/supernodes")],
    "supernodes-once": [("s.json", SUPERNODES | {"supernodes": [["one", "a"], ["two", "a"]]}, "/supernodes/1/1")],
}
FILE_CASES = [
    pytest.param(rule, *case, id=f"{rule}-{k}") for rule, cases in FILE_BREAKS.items() for k, case in enumerate(cases)
]


@pytest.mark.parametrize(("rule", "name", "value", "where"), FILE_CASES)
def test_another_file_that_breaks_a_rule(tmp_path: Path, rule: str, name: str, value: Any, where: str) -> None:
    (tmp_path / name).write_text(json.dumps(value))
    (checked,) = validate(tmp_path / name)
    assert (rule, where) in {(one.rule, one.where) for one in checked.violations}, checked


@pytest.mark.parametrize(
    ("name", "value"),
    [("7.json", feature_file()), ("graph-metadata.json", {"graphs": [ENTRY]}), ("s.json", SUPERNODES)],
)
def test_other_files_that_are_right(tmp_path: Path, name: str, value: Any) -> None:
    (tmp_path / name).write_text(json.dumps(value))
    assert validate(tmp_path / name)[0].violations == ()


def edit(path: Path, change: Change) -> None:
    value = json.loads(path.read_bytes())
    change(value)
    path.write_bytes(encoded(value))


SITE_BREAKS: dict[str, tuple[Callable[[Path], object], str]] = {
    "folder-index": (lambda site: [path.unlink() for path in site.rglob("graph-metadata.json")], ""),
    "folder-graph": (lambda site: (site / "graph_data" / "dallas.json").unlink(), "/graphs/0"),
    "folder-agrees": (
        lambda site: edit(site / "graph-metadata.json", put("/graphs/0/prompt", "another")[0]),
        "/graphs/0/prompt",
    ),
    "folder-features": (lambda site: next((site / "features" / "pocket").iterdir()).unlink(), "/graphs/0"),
    "folder-unlisted": (
        lambda site: edit(site / "graph-metadata.json", put("/graphs", [])[0]),
        "graph_data/dallas.json",
    ),
}


@pytest.mark.parametrize("rule", SITE_BREAKS)
def test_a_folder_that_breaks_a_rule(site: Path, tmp_path: Path, rule: str) -> None:
    for path in site.rglob("*.json"):
        copied = tmp_path / path.relative_to(site)
        copied.parent.mkdir(parents=True, exist_ok=True)
        copied.write_bytes(path.read_bytes())
    change, where = SITE_BREAKS[rule]
    change(tmp_path)
    *_, folder = validate(tmp_path)
    assert (folder.path, folder.kind) == (tmp_path, "folder")
    assert (rule, where) in {(one.rule, one.where) for one in folder.violations}, folder


def test_a_slug_that_leaves_the_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "x.json").write_text("not json")
    entry = ENTRY | {"slug": "../x", "scan": "../.."}
    (tmp_path / "site" / "graph-metadata.json").write_text(json.dumps({"graphs": [entry]}))
    reports = validate(tmp_path / "site")
    assert [one.rule for report in reports for one in report.violations] == ["slug-characters", "scan-characters"]


def test_sizes_that_no_upload_has(good, monkeypatch) -> None:
    assert [one.rule for one in validate_graph_json(good, 999)] == ["upload-size"]
    assert [one.rule for one in validate_graph_json(good, 100_000_001)] == ["upload-size"]
    assert validate_graph_json(good, 100_000_000) == []


def test_words_that_json_does_not_have(good, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    value = copy.deepcopy(good)
    value["metadata"]["info"]["note"] = -math.inf
    path.write_text(json.dumps(value))
    (checked,) = validate(path)
    assert [(one.rule, one.got) for one in checked.violations] == [("json-constants", "'-Infinity'")]


@pytest.mark.parametrize("damage", ["truncated", "of another kind"])
def test_a_file_of_our_own_that_its_loader_refuses(texas_graph, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "x.safetensors"
    save_graph(texas_graph, path)
    path.write_bytes(path.read_bytes()[:-9] if damage == "truncated" else b"{}")
    (checked,) = validate(path)
    assert [one.rule for one in checked.violations] == ["file-check"]


def test_every_rule_has_a_file_that_breaks_it() -> None:
    elsewhere = {"upload-size", "json-constants", "file-check"}  # the three tests above
    assert {*GRAPH_BREAKS, *FILE_BREAKS, *SITE_BREAKS} | elsewhere == set(RULES)


def test_the_documentation_lists_every_rule(repository: Path) -> None:
    text = (repository / "docs" / "exchange.md").read_text(encoding="utf-8")
    listed = dict(re.findall(r"^\| `([\w-]+)` \| (error|warning) \|", text, flags=re.MULTILINE))
    assert listed == {rule: level for rule, (level, _) in RULES.items()}


def test_what_we_write_breaks_none(texas, other_targets, texas_graph, site: Path, tmp_path: Path) -> None:
    for graph in (texas, other_targets, texas_graph):
        assert validate_graph_json(viz.graph_json(graph)) == []
    assert all(checked.violations == () for checked in validate(site))
    save_circuit(texas, tmp_path / "c.safetensors")
    save_graph(texas_graph, tmp_path / "g.safetensors")
    save_grouping(Grouping((Group("Texas", (4, 5)),)), texas_graph, tmp_path / "s.json")
    assert [
        (one.kind, one.violations)
        for name in ("c.safetensors", "g.safetensors", "s.json")
        for one in validate(tmp_path / name)
    ] == [
        ("circuit", ()),
        ("graph", ()),
        ("supernodes", ()),
    ]


def test_optional_things_may_be_missing(good) -> None:
    value = copy.deepcopy(good)
    value["qParams"] = {}
    value["metadata"] = {key: value["metadata"][key] for key in ("slug", "scan", "prompt", "prompt_tokens")}
    for one in value["nodes"]:
        one.pop("influence", None)
        one["layer"] = one["layer"] if one["layer"] == "E" else int(one["layer"])
        one["feature"] = 6 if one["feature_type"] == FEATURE else one["feature"]  # no Cantor pair is promised
    assert validate_graph_json(value) == []


def test_the_ids_of_circuit_tracers_errors_are_explained(good) -> None:
    value = copy.deepcopy(good)
    value["nodes"][place(value, ERROR)]["node_id"] = "0_1_8"
    value["nodes"][place(value, FEATURE)]["node_id"] = "0_1_8"
    (one,) = [one for one in validate_graph_json(value) if one.rule == "node-id-unique"]
    assert "circuit-tracer names errors 0_{layer}_{pos}" in one.advice


def test_all_are_reported_but_not_endlessly(good) -> None:
    value = copy.deepcopy(good)
    for link in value["links"]:
        link["weight"] = None
    value["metadata"]["slug"] = "a b"
    found = validate_graph_json(value)
    weights = [one for one in found if one.rule == "link-weight"]
    assert len(weights) == 20
    assert sum(1 + one.hidden for one in weights) == len(value["links"])
    assert f"(and {len(value['links']) - 20} more of this rule)" in str(weights[-1])
    assert "slug-characters" in {one.rule for one in found}


def test_errors_come_before_warnings() -> None:
    found = Findings()
    found.add("upload-size", "", "more", 1)
    found.add("info", "", "an object", 1)
    assert [one.level for one in found.all()] == ["error", "warning"]


@pytest.mark.parametrize("value", [None, [], "x", 3])
def test_what_is_no_object_is_refused(value: Any) -> None:
    assert [one.rule for one in validate_graph_json(value)] == ["top-types"]


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "\x00\xff", '{"a": ' + "9" * 5000 + "}"])
def test_what_is_not_json_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(GraphFileError, match="is not JSON"):
        validate(tmp_path / "x.json")


def test_what_is_not_there_or_too_large_is_refused(tmp_path: Path, monkeypatch) -> None:
    for name in ("x.json", "x.safetensors"):
        with pytest.raises(InputError, match=r"No such file|found none"):
            validate(tmp_path / name)
    (tmp_path / "x.json").write_text("{}" * 10)
    monkeypatch.setattr("circuits.graph_json.parsing.MAX_READ", 10)
    with pytest.raises(InputError, match="at most 10 bytes, got 20"):
        validate(tmp_path / "x.json")


def test_long_values_are_shortened() -> None:
    found = Findings()
    for got in ("x" * 1000, [0] * 1000, {"a": 1}, 2**5000):
        found.add("info", "", "less", got)
    assert [one.got for one in found.all()] == [
        "'" + "x" * 79 + "…",
        "a list with 1000 entries",
        "an object with 1 entries",
        "an integer of 5001 bits",
    ]


def test_a_pointer_escapes_what_it_must() -> None:
    assert pointer("a/b", "c~d", 3) == "/a~1b/c~0d/3"


def test_encoding_survives_what_utf8_cannot_hold() -> None:
    assert json.loads(encoded({"a": "é\ud800"})) == {"a": "é\ud800"}
