"""The study from end to end, with few prompts."""

from pathlib import Path

import pytest

from circuits.studies.folder import StudyFolder
from circuits.studies.hallucination.entity_corpus import pocket_entities
from circuits.studies.hallucination.inputs import PARTS
from circuits.studies.hallucination.steering import TESTS
from circuits.studies.hallucination.study import HallucinationResult, run
from replacement_model import ReplacementModel
from replacement_model.interventions import read_specification, replay

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model() -> ReplacementModel:
    return ReplacementModel.from_pretrained("pocket", "clt")


class Interrupted(Exception):
    """Stands in for a process that is killed."""


@pytest.fixture(scope="module")
def finished(model: ReplacementModel, tmp_path_factory: pytest.TempPathFactory) -> tuple[HallucinationResult, Path]:
    """A quick study that was interrupted between two pieces, and then went on."""
    place, table = tmp_path_factory.mktemp("study") / "out", pocket_entities().sample(4)
    seen: list[str] = []

    def stop(what: str, done: int, _: int) -> None:
        seen.append(what)
        if what.startswith("interventions") and done == 2:
            raise Interrupted

    with (
        StudyFolder.open(place, "hallucination", {"quick": True}, {}) as folder,
        pytest.raises(Interrupted),
    ):
        run(folder, {"clt": model}, table, quick=True, progress=stop)
    before = {path: path.stat().st_mtime_ns for path in (place / "pieces").iterdir()}
    with StudyFolder.open(place, "hallucination", {"quick": True}, {}) as folder:
        result = run(folder, {"clt": model}, table, quick=True)
    assert len(before) >= 3
    assert all(path.stat().st_mtime_ns == when for path, when in before.items())
    return result, place


def test_an_interrupted_study_goes_on_and_ends(finished: tuple[HallucinationResult, Path]) -> None:
    result, place = finished
    found = result.transcoders[0]
    assert [one.test for one in found.steering] == [test.name for test in TESTS]
    assert {one.outcome for one in found.examples} == {"known, right", "unknown, declined", "unknown, invented"}
    assert all((place / one.graph).is_file() for one in found.examples)
    assert sum(row["n"] for row in found.counts) == result.n_prompts
    assert all((one.population == "answered") <= (one.name != "it answered at all") for one in found.prediction)


def test_the_unknown_supernode_is_on_by_default_and_its_inputs_add_up(
    finished: tuple[HallucinationResult, Path],
) -> None:
    found = finished[0].transcoders[0]
    assert all(share == 1.0 for one in found.supernode for share in one.active.values())
    strongest = [row for row in found.inputs if row["feature"] == found.supernode[0].name]
    by_outcome = {row["outcome"]: row for row in strongest}
    assert by_outcome["unknown, declined"]["parts"].keys() == set(PARTS)
    for row in strongest:
        assert sum(row["parts"].values()) == pytest.approx(row["pre_activation"], rel=1e-5)
    at_entity = {name: row["parts"]["features at the entity"] for name, row in by_outcome.items()}
    assert at_entity["known, right"] < at_entity["unknown, declined"] - 0.5  # known entities suppress it


def test_its_interventions_are_written_down_and_run_again(
    model: ReplacementModel, finished: tuple[HallucinationResult, Path]
) -> None:
    specification = read_specification(finished[1] / "interventions.json")
    assert len(specification.cases) == len(finished[0].transcoders[0].shown) == len(TESTS)
    assert not replay(model, specification).differing


def test_its_supernodes_are_causes(finished: tuple[HallucinationResult, Path]) -> None:
    found = {one.test: one for one in finished[0].transcoders[0].steering}
    for name in ("unknown amplified, known people", "unknown amplified, inventions"):
        assert found[name].rate.value >= found[name].control.value + 0.4


def test_a_second_run_and_an_interrupted_one_agree(
    model: ReplacementModel, finished: tuple[HallucinationResult, Path], tmp_path: Path
) -> None:
    with StudyFolder.open(tmp_path / "again", "hallucination", {"quick": True}, {}) as folder:
        again = run(folder, {"clt": model}, pocket_entities().sample(4), quick=True)
    assert again.to_dict() == finished[0].to_dict()
