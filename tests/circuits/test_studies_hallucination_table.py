import json
from pathlib import Path
from typing import Any

import pytest

from circuits.studies.hallucination.entity_corpus import pocket_entities
from circuits.studies.hallucination.entity_table import (
    EntityTable,
    load_entity_table,
    position_roles,
    save_entity_table,
)
from replacement_model import InputError, ReplacementModel
from replacement_model.pocket.corpus import build_corpus
from replacement_model.pocket.world import load_world

ROW = {
    "prompt": "Andy Murray plays the sport of",
    "entity": "Andy Murray",
    "kind": "known",
    "right": ["tennis"],
    "declines": "unknown",
    "group": "Murray",
    "split": "choose",
}


def rows(**changes: Any) -> list[dict[str, Any]]:
    """A table's rows: a known and an unknown entity in each split, and one row with changes."""
    each = [
        ROW | {"kind": kind, "split": split, "group": f"{kind}/{split}"}
        for kind in ("known", "unknown")
        for split in ("choose", "score")
    ]
    return [*each, ROW | changes]


def write(path: Path, prompts: list[dict[str, Any]]) -> Path:
    path.write_text(json.dumps({"schema_version": 1, "prompts": prompts}))
    return path


@pytest.fixture(scope="module")
def table() -> EntityTable:
    return pocket_entities()


def test_families_and_strangers_first_names_are_in_one_split(table: EntityTable) -> None:
    for part in (table.prompts, [one for one in table.prompts if one.kind == "unknown"]):
        place = -1 if part is table.prompts else 0
        names = {
            split: {one.entity.split()[place] for one in part if one.split == split} for split in ("choose", "score")
        }
        assert names["choose"]
        assert names["choose"].isdisjoint(names["score"])


def test_no_prompt_was_trained_on_and_the_answers_are_the_worlds(table: EntityTable) -> None:
    trained = {prompt.text for prompt in build_corpus().select("train")}
    sports = {(one.first, one.surname): one.sport for one in load_world().athletes}
    assert len({one.prompt for one in table.prompts}) == len(table.prompts) > 1000
    for one in table.prompts:
        first, surname = one.entity.split()
        assert one.prompt not in trained
        assert one.right == (sports.get((first, surname), "unknown"),)
        assert one.kind == ("known" if (first, surname) in sports else "unknown")


def test_a_sample_has_many_groups_and_all_subsets(table: EntityTable) -> None:
    sample = table.sample(6)
    parts = {(one.split, one.subset) for one in table.prompts}
    for part in parts:
        groups = [one.group for one in sample.prompts if (one.split, one.subset) == part]
        assert len(groups) == len(set(groups)) == 6


def test_a_table_comes_back_from_its_file(table: EntityTable, tmp_path: Path) -> None:
    save_entity_table(table, tmp_path / "table.json")
    assert load_entity_table(tmp_path / "table.json") == table


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"group": "known/score"}, "in both splits"),
        ({"kind": "famous"}, "expected a kind of"),
        ({"split": "test"}, "a split of"),
        ({"entity": "Judy Murray"}, "is not in the prompt"),
        ({"right": []}, "at least one right"),
        ({"prompt": None, "entity": None, "group": None, "declines": 3}, "expected prompt, entity"),
    ],
)
def test_what_cannot_be_used_is_named(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        load_entity_table(write(tmp_path / "table.json", rows(**changes)))


def test_a_split_without_unknown_entities_and_files_that_are_no_tables_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected unknown entities in the split 'choose'"):
        load_entity_table(write(tmp_path / "one.json", rows()[:1]))
    for number, text in enumerate(("[1]", "{", '{"schema_version": 2}')):
        path = tmp_path / f"{number}.json"
        path.write_text(text)
        with pytest.raises(InputError, match=str(number)):
            load_entity_table(path)
    with pytest.raises(InputError, match="cannot be read"):
        load_entity_table(tmp_path / "missing.json")


def test_roles_of_positions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = ReplacementModel.from_pretrained("pocket")
    path = write(tmp_path / "table.json", rows(prompt="the sport of Andy Murray is"))
    table = load_entity_table(path)
    roles = [position_roles(model, model.read_prompt(one.prompt), one) for one in table.prompts[-2:]]
    assert roles[0] == ("before", "entity", "entity end", "after", "after", "after", "last")
    assert roles[1] == ("before", "before", "before", "before", "entity", "entity end", "last")
    row, whole = table.prompts[-1], model.read_prompt(table.prompts[-1].prompt)
    cut = model.read_prompt("the sport of Andy Jensen")  # as where a token goes on after the entity
    monkeypatch.setattr(model, "read_prompt", lambda _: cut)
    with pytest.raises(InputError, match="does not end at a token"):
        position_roles(model, whole, row)
