import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression
from sklearn.preprocessing import OneHotEncoder

from circuits import attribute
from circuits.influence import node_influence
from circuits.studies.folder import StudyFolder
from circuits.studies.multi_step.addition import DIGITS
from circuits.studies.multi_step.contents import addition_contents, adjusted_r_squared, known_of_sum
from circuits.studies.multi_step.finding import Evidence, find_features
from circuits.studies.multi_step.graphs import token_share
from circuits.studies.multi_step.pocket import pocket_tables
from circuits.studies.multi_step.scoring import run_arms, tuned_arms
from circuits.studies.multi_step.study import MultiStepResult, run
from circuits.studies.multi_step.swaps import Choice, patch, random_control, swap_interventions
from circuits.studies.multi_step.table import SPLITS, Case, Table, load_table, position_of
from replacement_model import Feature, ReplacementModel, intervene, observe
from replacement_model.errors import InputError
from replacement_model.interventions import read_specification, replay
from replacement_model.pocket.world import load_world
from tests.fixtures.city_table import TEMPLATE, city_table

CITY, LAST = 7, 8
BOTH = Choice(("city", "last"), "graph", 8, 0.0, 2.0)


@pytest.fixture(scope="module")
def model() -> ReplacementModel:
    return ReplacementModel.from_pretrained("pocket")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Table:
    path = tmp_path_factory.mktemp("table") / "cities.json"
    path.write_text(json.dumps(city_table()), encoding="utf-8")
    return load_table(path)


@pytest.fixture(scope="module")
def evidence(model: ReplacementModel, table: Table) -> Evidence:
    return find_features(model, table, table.experiments)["state"]


@pytest.fixture(scope="module")
def tables() -> tuple[Table, ...]:
    return pocket_tables()


def opened(path: Path) -> StudyFolder:
    return StudyFolder.open(path, "multi-step", {}, {})


@pytest.fixture(scope="module")
def study(
    model: ReplacementModel, table: Table, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, MultiStepResult]:
    path = tmp_path_factory.mktemp("studies") / "study"
    with opened(path) as folder:
        return path, run(folder, {"clt": model}, [table])


def test_a_study_of_two_states(study: tuple[Path, MultiStepResult], model: ReplacementModel) -> None:
    path, result = study
    (one,) = result.experiments
    assert (one.n_values, one.n_found, one.n_tuned, one.n_cases, one.n_right) == (2, 8, 2, 2, 2)
    assert tuple(one.experiment.hops) == ("first hop", "both hops")
    for hop in one.experiment.hops:
        assert one.arm("swap", hop).success.n == 2
        assert one.arm("swap", hop, control=True).success.n == 6
    assert one.arm("swap", "both hops").success.value == 1.0
    assert one.arm("swap", "both hops", control=True).success.value == 0.0
    assert one.arm("patch", "both hops").success.value == 1.0
    assert {swap.prompt: swap.after[0] for swap in result.swaps} == {
        TEMPLATE.format("Dallas"): "Sacramento",
        TEMPLATE.format("Oakland"): "Austin",
    }
    assert len(list((path / "graphs").glob("*.safetensors"))) == 2
    assert json.loads(json.dumps(result.to_dict())) == result.to_dict()
    assert not replay(model, read_specification(path / "interventions.json")).differing


def test_the_graph_says_the_state_without_any_swap(study: tuple[Path, MultiStepResult]) -> None:
    (one,) = study[1].experiments
    by_hop = {reading.hop: reading for reading in one.readings}
    assert by_hop["first hop"].right.value == 1.0
    assert by_hop["first hop"].from_token.value > 0.8
    assert by_hop["both hops"].to_answer.value > by_hop["first hop"].to_answer.value > 0.0


@pytest.mark.slow
def test_an_interrupted_study_goes_on(
    study: tuple[Path, MultiStepResult], model: ReplacementModel, table: Table, tmp_path: Path
) -> None:
    path = tmp_path / "study"

    def interrupt(what: str, _done: int, _total: int) -> None:
        if "swapping" in what:
            raise KeyboardInterrupt

    with opened(path) as folder, pytest.raises(KeyboardInterrupt):
        run(folder, {"clt": model}, [table], progress=interrupt)
    names = sorted(one.name for one in (path / "pieces").iterdir())
    assert names == ["clt.two-states.features.json", "clt.two-states.state.tuned.json"]
    before = [(path / "pieces" / name).stat().st_mtime_ns for name in names]
    with opened(path) as folder:
        result = run(folder, {"clt": model}, [table])
    assert [(path / "pieces" / name).stat().st_mtime_ns for name in names] == before
    assert result == study[1]
    for one in sorted((study[0] / "pieces").iterdir()):
        assert (path / "pieces" / one.name).read_bytes() == one.read_bytes()


def test_supernodes_by_influence_less_the_average(model: ReplacementModel, table: Table, evidence: Evidence) -> None:
    """Over the same graphs, summed in another way."""
    sums: dict[str, np.ndarray] = {}
    for case in table.select("find", "state"):
        graph = attribute(model, case.prompt, [case.answer])
        influence, dense = node_influence(graph.adjacency, np.ones(1)), np.zeros((2, 3, 2048))
        for node, (layer, pos, idx) in enumerate(graph.features.tolist()):
            if pos == CITY:
                dense[:, layer, idx] = influence[node], graph.feature_acts[node]
        state = case.factors["state"]
        sums[state] = sums.get(state, np.zeros(())) + dense / 4
    for kind, method in enumerate(("graph", "activation")):
        for state in sums:
            excess = sums[state][kind] - np.mean([one[kind] for one in sums.values()], axis=0)
            members = evidence.members("city", state, 8, method)
            assert [one.score for one in members] == pytest.approx(np.sort(excess.ravel())[::-1][:8].tolist())
            assert [excess[one.key] for one in members] == pytest.approx([one.score for one in members])
            assert [sums[state][1][one.key] for one in members] == pytest.approx([one.act for one in members])
    assert Evidence.from_dict(json.loads(json.dumps(evidence.to_dict()))) == evidence


def test_a_swap_sets_the_target_and_takes_the_source_away(model: ReplacementModel, evidence: Evidence) -> None:
    positions = {"city": CITY, "last": LAST}
    edits = swap_interventions(evidence, BOTH, positions, "Texas", "California")
    assert [one.operation for one in edits] == ["scale", "set", "scale", "set"]
    members = evidence.members("city", "California", 8)
    assert edits[1].values == tuple(2 * one.act for one in members)
    assert edits[1].features == tuple(Feature(one.layer, one.feature_idx, CITY) for one in members)
    result = intervene(model, TEMPLATE.format("Dallas"), edits)
    assert result.raised[0].token == "Sacramento"


def test_controls_write_as_much_with_other_features(model: ReplacementModel, evidence: Evidence) -> None:
    observed, positions = observe(model, TEMPLATE.format("Dallas")), {"city": CITY, "last": LAST}
    swapped = swap_interventions(evidence, BOTH, positions, "Texas", "California")
    swap_features = {feature for one in swapped for feature in one.features}
    drawn = [
        random_control(observed, evidence, BOTH, positions, "Texas", "California", np.random.default_rng(seed))
        for seed in (0, 0, 1)
    ]
    assert [one.to_dict() for one in drawn[0]] == [one.to_dict() for one in drawn[1]]
    assert [one.to_dict() for one in drawn[0]] != [one.to_dict() for one in drawn[2]]
    active = {
        Feature(layer, int(idx), int(pos)): float(act)
        for layer, acts in observed.acts.items()
        for pos, idx, act in zip(acts.pos, acts.feature_idx, acts.acts, strict=True)
    }
    wanted = {f: 0.0 for one in swapped for f in one.features if one.operation == "scale"}
    wanted |= {f: v for one in swapped for f, v in zip(one.features, one.values, strict=True) if one.operation == "set"}
    changes = {f: value - active.get(f, 0.0) for f, value in wanted.items() if value != active.get(f, 0.0)}
    for place, one in zip(("city", "last"), drawn[0], strict=True):
        here = {f: change for f, change in changes.items() if f.positions == positions[place]}
        random = dict(zip(one.features, one.values, strict=True))
        assert not swap_features & random.keys()
        assert {f.positions for f in random} == {positions[place]}
        assert sorted(f.layer for f in random) == sorted(f.layer for f in here)
        assert all(f in active for f, change in random.items() if change < 0)
        assert written(model, random) == pytest.approx(written(model, here), rel=1e-5)


def written(model: ReplacementModel, changes: dict[Feature, float]) -> float:
    """Norm of what changes of features write, row by row."""
    n_layers, total = model.host.n_layers, 0.0
    for write_layer in range(n_layers):
        rows = [
            change * model.transcoder.decoder_rows(f.layer, torch.tensor([f.feature_idx]), write_layer)[0].double()
            for f, change in changes.items()
            if f.layer <= write_layer
        ]
        total += float(torch.stack(rows).sum(0).square().sum()) if rows else 0.0
    return total**0.5


def test_a_control_of_a_swap_that_changes_nothing_changes_nothing(model: ReplacementModel, evidence: Evidence) -> None:
    observed = observe(model, TEMPLATE.format("Oakland"))
    keys = {(layer, int(idx)) for layer, acts in observed.acts.items() for idx in acts.feature_idx[acts.pos == CITY]}
    inactive = tuple(one for one in evidence.members("city", "Texas", 32) if one.key not in keys)
    ranked = {"city": {"graph": {"Texas": inactive}}}
    choice = Choice(("city",), "graph", 32, 0.0, 1.0)
    only = Evidence(ranked, evidence.alive, 0)
    control = random_control(observed, only, choice, {"city": CITY}, "Texas", None, np.random.default_rng(0))
    after = intervene(model, observed, control).probabilities_after
    assert torch.equal(after, intervene(model, observed, control).probabilities_before)


def test_a_patch_gives_the_other_prompts_features(model: ReplacementModel) -> None:
    observed, other = (observe(model, TEMPLATE.format(city)) for city in ("Dallas", "Oakland"))
    edit = patch(observed, other, ("city", "last"), {"city": CITY, "last": LAST})
    values = {feature: value for feature, value in zip(edit.features, edit.values, strict=True) if value > 0}
    there = {
        Feature(layer, int(idx), int(pos))
        for layer, acts in other.acts.items()
        for pos, idx in zip(acts.pos, acts.feature_idx, strict=True)
        if int(pos) in (CITY, LAST)
    }
    assert values.keys() == there
    with pytest.raises(InputError, match="expected a prompt of 9 tokens"):
        patch(observed, observe(model, "Dallas lies in"), ("city",), {"city": CITY})


def test_token_share_is_the_neumann_sum(model: ReplacementModel) -> None:
    graph = attribute(model, TEMPLATE.format("Dallas"))
    n = len(graph.features)
    edges = np.abs(graph.adjacency[:n].toarray()).astype(np.float64)
    shares = edges / edges.sum(axis=1, keepdims=True)
    everything = step = shares[:, graph.layout.token_node(CITY)]
    for _ in range(graph.n_layers):
        step = shares[:, :n] @ step
        everything = everything + step
    assert token_share(graph, [CITY]) == pytest.approx(everything, abs=1e-12)
    before = graph.features[:, 1] < CITY
    assert not token_share(graph, [CITY])[before].any()


def test_adjusted_r_squared_against_scikit_learn() -> None:
    generator = np.random.default_rng(0)
    groups = generator.integers(0, 6, 80)
    values = generator.normal(size=80) + 0.7 * groups
    columns = OneHotEncoder(sparse_output=False).fit_transform(groups[:, None])
    plain = LinearRegression(fit_intercept=False).fit(columns, values).score(columns, values)
    assert adjusted_r_squared(values, groups.tolist()) == pytest.approx(1 - (1 - plain) * 79 / 74)
    assert adjusted_r_squared(np.ones(5), [0, 0, 1, 1, 2]) == 0.0


@pytest.mark.slow
def test_what_sums_carry(model: ReplacementModel, tables: tuple[Table, ...]) -> None:
    addition = next(one for one in tables if one.name == "addition")
    found = addition_contents(model, addition.select("score", "carry")[:40])
    for one in found:
        assert sum(one.shares.values()) == pytest.approx(1.0)
        assert one.shares.keys() == one.n_features.keys()
    first = next(one for one in found if one.place == "tens of the first")
    assert max(first.shares, key=lambda name: first.shares[name]) == "tens of the first"


def scored_swaps(table: Table) -> Iterator[tuple[Case, str, str, str]]:
    for case in table.cases:
        for swap in case.swaps:
            yield case, swap.factor, swap.to, swap.answer


def test_nothing_that_is_scored_was_chosen_on(tables: tuple[Table, ...]) -> None:
    for table in tables:
        for experiment in table.experiments:
            clusters = {split: {case.cluster for case in table.select(split, experiment.factor)} for split in SPLITS}
            assert all(clusters.values())
            assert not clusters["find"] & clusters["tune"]
            assert not clusters["score"] & (clusters["find"] | clusters["tune"])
            prompts = {split: {case.prompt for case in table.select(split, experiment.factor)} for split in SPLITS}
            assert not prompts["score"] & (prompts["find"] | prompts["tune"])


def test_swapped_sums_add_up(tables: tuple[Table, ...]) -> None:
    addition = next(one for one in tables if one.name == "addition")
    checked = 0
    for case, factor, to, answer in scored_swaps(addition):
        digits = {name: int(case.factors[name]) for name in DIGITS}
        tens_a, ones_a, tens_b, ones_b = digits.values()
        assert case.prompt == f"calc : {tens_a} {ones_a} + {tens_b} {ones_b} ="
        assert known_of_sum(case)["carry"] == (case.factors["carry"] == "yes") == (ones_a + ones_b > 9)
        if factor == "carry":
            assert int(answer) - int(case.answer) == (10 if to == "yes" else -10)
            continue
        tens_a, ones_a, tens_b, ones_b = (digits | {factor: int(to)}).values()
        assert int(answer) == 10 * (tens_a + tens_b) + ones_a + ones_b != int(case.answer)
        checked += 1
    assert checked == 4 * 250


def test_swapped_states_have_that_answer(tables: tuple[Table, ...]) -> None:
    states = {state.name: state for state in load_world().states}
    attributes = ("capital", "abbreviation", "largest_city", "nickname", "region")
    for case, factor, to, answer in scored_swaps(tables[0]):
        state = states[to if factor == "state" else case.factors["state"]] if "state" in case.factors else None
        if factor == "state" and state is not None:
            assert answer in {getattr(state, name).replace(" ", "_") for name in attributes}
            assert answer != case.answer
    dallas = tables[0].examples("state", 1)[0]
    assert (dallas.cluster, dallas.swaps_of("state")[0].to) == ("Dallas", "California")


def test_places() -> None:
    tokens = ("<bos>", " the", " capital", " of", " Salt", " Lake", " City", " the")
    assert position_of("Salt Lake City", tokens) == 6
    assert position_of("the", tokens) == position_of("last", tokens) == position_of(-1, tokens) == 7
    assert position_of(2, tokens) == 2
    for place, message in (("Dallas", "expected 'Dallas'"), (8, "outside"), ("", "name a word")):
        with pytest.raises(InputError, match=message):
            position_of(place, tokens)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda given: given | {"schema_version": 2}, "schema_version 1"),
        (lambda given: given | {"cases": given["cases"][:5]}, "got none to score"),
        (lambda given: given | {"cases": [one | {"cluster": "x"} for one in given["cases"]]}, "in two splits"),
        (lambda given: given | {"experiments": []}, None),
        (lambda given: given | {"cases": [one | {"places": {}} for one in given["cases"]]}, "its 'city' is"),
        (lambda given: given | {"cases": [one | {"split": "test"} for one in given["cases"]]}, "find, tune, score"),
        (lambda given: given | {"cases": given["cases"][4:]}, "Texas"),
        (lambda given: {"schema_version": 1}, "is no table"),
        (lambda given: given | {"experiments": [{"name": "a", "factor": "state", "hops": {"x": ["y"]}}]}, "its 'y' is"),
        (lambda given: given | {"experiments": [{"name": "a", "factor": "state", "hops": {}}]}, "expected places"),
        (lambda given: given | {"experiments": [given["experiments"][0] | {"claim": "third hop"}]}, "one of its hops"),
    ],
)
def test_tables_that_cannot_be_studied(change, message: str | None, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "table.json"
    path.write_text(json.dumps(change(city_table())), encoding="utf-8")
    if message is None:
        assert tuple(load_table(path).experiments[0].hops) == ("at city", "at last", "at all places")
        return
    with pytest.raises(InputError, match=message):
        load_table(path)


def test_a_prompt_that_is_answered_otherwise_is_not_tried(
    model: ReplacementModel, table: Table, evidence: Evidence
) -> None:
    case = replace(table.select("score", "state")[0], answer="Boston")
    found = run_arms(model, [case], table.experiments[0], evidence, tuned_arms(table.experiments[0]))
    assert (found.n_cases, found.n_right, found.trials) == (1, 0, ())


def test_a_quick_look_has_a_few_cases_of_each_experiment(tables: tuple[Table, ...]) -> None:
    for table in tables:
        few = table.reduced(1, 2)
        assert len(few.cases) < len(table.cases) / 5
        for experiment in few.experiments:
            assert len(few.select("score", experiment.factor)) >= 2
