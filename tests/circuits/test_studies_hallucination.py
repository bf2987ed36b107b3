from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from circuits import attribute
from circuits.graph import Graph
from circuits.studies.hallucination import prediction
from circuits.studies.hallucination.changes import changed_features, feature_pools, random_intervention
from circuits.studies.hallucination.entity_table import EntityPrompt
from circuits.studies.hallucination.prediction import predict_wrong
from circuits.studies.hallucination.reading import FeatureReading, Reading
from circuits.studies.hallucination.steering import TESTS
from circuits.studies.hallucination.structure import structure
from circuits.studies.hallucination.supernodes import Member, known_entity, unknown_supernode
from replacement_model import InputError, ReplacementModel

ROLES = ("before", "entity", "entity end", "after", "after", "after", "last")


@pytest.fixture(scope="module")
def model() -> ReplacementModel:
    return ReplacementModel.from_pretrained("pocket", "clt")


def reading(
    kind: str = "unknown", declined: bool = True, split: str = "choose", features: tuple[FeatureReading, ...] = ()
) -> Reading:
    row = EntityPrompt("Some One plays", "Some One", kind, ("x",), ("unknown",), "One", split, kind)
    right = declined if kind == "unknown" else not declined
    return Reading(row, "x", 0.9, declined, right, 0.1, 2.0, 1.0, {}, {}, features, {})


def feature(feature_idx: int, role: str, edge: float, effect: float = 0.0, act: float = 1.0) -> FeatureReading:
    return FeatureReading(0, ROLES.index(role), feature_idx, role, act, edge, effect)


def test_the_unknown_supernode_is_of_the_largest_mean_edges_on_declined_prompts() -> None:
    declined = [
        reading(features=(feature(1, "last", 4.0, act=2.0), feature(2, "last", 0.5), feature(3, "last", -9.0))),
        reading(features=(feature(1, "last", 2.0, act=4.0), feature(4, "entity", 0.4))),
    ]
    others = [reading("known", declined=False, features=(feature(5, "last", 50.0), feature(1, "last", 1.0)))]
    members = unknown_supernode([*declined, *others])
    assert [(one.feature_idx, one.edge, one.activation) for one in members] == [(1, 3.0, 3.0)]  # 0.25 is below 0.3
    assert members[0].active == {"known, right": 1.0, "unknown, declined": 1.0}
    with pytest.raises(InputError, match="declined no unknown entity"):
        unknown_supernode(others)


def test_a_prompts_known_entity_supernode_is_at_the_entity_and_speaks_against_declining() -> None:
    given = (
        feature(1, "entity", 0.0, effect=-10.0),
        feature(2, "entity end", 0.0, effect=-1.0),
        feature(3, "entity end", 0.0, effect=-0.9),
        feature(4, "last", 0.0, effect=-20.0),
        feature(5, "entity", 0.0, effect=30.0),
    )
    assert [one.feature_idx for one in known_entity(reading(features=given))] == [1, 2]
    assert known_entity(reading()) == ()


def test_structure_says_nothing_of_probabilities_rivals_or_which_features(model: ReplacementModel) -> None:
    prompt = "Andy Murray plays the sport of"
    graph = attribute(model, prompt, ["tennis", "unknown"])
    found = structure(graph, ROLES)
    other = attribute(model, prompt, ["tennis", "golf"])
    doubted = replace(graph, targets=tuple(replace(one, weight=0.1) for one in graph.targets))
    renamed = replace(graph, features=graph.features + np.array([0, 0, 3], dtype=np.int32))
    for changed in (other, doubted, renamed):
        assert structure(changed, ROLES) == pytest.approx(found, rel=1e-5, abs=1e-7)
    assert np.isfinite(list(found.values())).all()


def test_structure_of_a_small_graph(make_graph: Callable[..., Graph]) -> None:
    # one feature at the last of two positions; sources: feature, errors (0,0), (0,1), tokens 0, 1
    dense = np.array([[0.0, 0.0, 0.0, 3.0, 1.0], [2.0, 0.0, -1.0, 0.0, 1.0]])
    found = structure(make_graph(dense, [(0, 1, 5)], [0.3], 1, 2), ("entity", "last"))
    assert found["error influence, last"] == pytest.approx(0.25)
    assert found["feature influence, last"] == pytest.approx(0.5)
    assert found["token influence, entity"] == pytest.approx(0.5 * 0.75)
    assert found["strongest path, entity"] == pytest.approx(0.5 * 0.75)
    assert found["negative share"] == pytest.approx(0.25)
    assert found["replacement score"] == pytest.approx(0.75)


def test_controls_are_of_equal_count_places_and_norms(
    model: ReplacementModel,
) -> None:
    members = tuple(Member("last", layer, 4, 1.0, 1.0, {}) for layer in (2, 1))
    prompt = reading(
        features=tuple(
            replace(feature(9, "last", 1.0), layer=one.layer, feature_idx=one.feature_idx, role="last")
            for one in members
        )
    )
    pool = [
        reading(
            features=tuple(
                replace(feature(idx, "last", 0.0), layer=layer) for idx in (11, 12, 13) for layer in range(3)
            )
        )
    ]
    changes = changed_features(TESTS[0], prompt, members, 0.25)
    control = random_intervention(model, changes, feature_pools([*pool, prompt], members), np.random.default_rng(0))
    assert [one.before - one.after for one in changes] == [0.75] * len(members)
    assert [(one.layer, one.positions) for one in control.features] == [(one.layer, one.pos) for one in changes]
    assert {one.feature_idx for one in control.features} <= {11, 12, 13}
    for change, drawn, value in zip(changes, control.features, control.values, strict=True):
        layer = model.transcoder.layers[change.layer]
        assert layer is not None
        written = torch.stack(
            [torch.stack(layer.W_dec)[:, idx].double() for idx in (change.feature_idx, drawn.feature_idx)]
        )
        norms = written.flatten(1).norm(dim=1)
        assert abs(value) * float(norms[1]) == pytest.approx(0.75 * float(norms[0]), rel=1e-5)


def labelled(seed: int, informative: bool) -> list[Reading]:
    """Prompts whose structure tells (or does not tell) that they are wrong, and whose group is no help."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(240):
        wrong = bool(rng.random() < 0.5)
        row = replace(
            reading(declined=not wrong).row, group=f"{number % 40}", split="choose" if number % 2 else "score"
        )
        numbers = {"a": float(rng.normal()) + 2.0 * wrong * informative, "b": float(rng.normal())}
        entropy = float(rng.random())
        one = reading(declined=not wrong)
        found.append(
            replace(one, row=row, right=not wrong, entropy=entropy, structure=numbers, shape={"n": 1.0 + number % 3})
        )
    return found


@pytest.mark.parametrize("informative", [True, False])
def test_predictions_find_what_is_there_and_nothing_else(informative: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prediction, "POPULATIONS", ("all",))
    found = {one.name: one for one in predict_wrong(labelled(1, informative), ())}
    for name in ("structure", "structure, best single number"):
        assert (found[name].auroc.value > 0.85) == informative
        assert (found[name].above.low > 0) == informative  # type: ignore[union-attr]
    assert found["entropy"].above is None
    assert 0.35 < found["entropy"].auroc.value < 0.65
    if informative:
        assert next(iter(found["structure"].leading)) == "a"


def test_predictions_need_right_and_wrong_answers() -> None:
    with pytest.raises(InputError, match="expected right and wrong answers among all prompts"):
        predict_wrong([reading(), reading(split="score")], ())
