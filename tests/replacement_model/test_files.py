import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from replacement_model.errors import InputError, WeightsError
from replacement_model.formats.files import (
    atomic_path,
    read_json,
    read_safetensors,
    sha256,
    write_json,
    write_safetensors,
)

TENSORS = {"a": torch.arange(6.0).reshape(2, 3), "n": torch.tensor(3)}


def test_tensors_round_trip(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "new" / "x.safetensors", TENSORS)
    found = read_safetensors(tmp_path / "new" / "x.safetensors")
    assert {name: tensor.tolist() for name, tensor in found.items()} == {"a": [[0, 1, 2], [3, 4, 5]], "n": 3}


def test_views_and_shared_tensors_are_written(tmp_path: Path) -> None:
    base = torch.arange(6.0).reshape(2, 3)
    write_safetensors(tmp_path / "x.safetensors", {"a": base, "again": base, "across": base.T, "row": base[0]})
    found = load_file(tmp_path / "x.safetensors")
    assert torch.equal(found["again"], base)
    assert torch.equal(found["across"], base.T)
    assert torch.equal(found["row"], base[0])


def test_json_round_trip_is_sorted(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", {"b": 1, "a": ["é"]})
    assert read_json(tmp_path / "x.json") == {"a": ["é"], "b": 1}
    assert list(json.loads((tmp_path / "x.json").read_text())) == ["a", "b"]


def test_sha256(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    assert sha256(tmp_path / "x") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize("keep", [0, 4, 20, 120])
def test_truncated_tensors(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "x.safetensors"
    save_file(TENSORS, path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(WeightsError, match=r"x.safetensors cannot be read .* damaged or incomplete") as caught:
        read_safetensors(path)
    assert "\n" not in str(caught.value)


def test_absent_and_foreign_tensors(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="does not exist"):
        read_safetensors(tmp_path / "x.safetensors")
    (tmp_path / "x.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1234\n")
    with pytest.raises(WeightsError, match="cannot be read"):
        read_safetensors(tmp_path / "x.safetensors")


@pytest.mark.parametrize("text", ["", "{", "[1]", '"a"', '{"a": \x00}'])
def test_damaged_json(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(WeightsError, match=r"x\.json") as caught:
        read_json(tmp_path / "x.json")
    assert "\n" not in str(caught.value)


def test_json_that_is_not_text(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(WeightsError, match="cannot be read as JSON"):
        read_json(tmp_path / "x.json")
    with pytest.raises(WeightsError, match="cannot be read as JSON"):
        read_json(tmp_path / "absent.json")


def test_a_failing_write_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        write_json(tmp_path / "x.json", {"a": object()})
    with pytest.raises(ZeroDivisionError), atomic_path(tmp_path / "y.bin") as temporary:
        temporary.write_text("half" * (1 // 0))
    assert list(tmp_path.iterdir()) == []


def test_a_failing_write_keeps_what_was_there(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", {"a": 1})
    with pytest.raises(TypeError):
        write_json(tmp_path / "x.json", {"a": object()})
    assert read_json(tmp_path / "x.json") == {"a": 1}
    assert len(list(tmp_path.iterdir())) == 1


def test_the_file_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    with atomic_path(path) as temporary:
        temporary.write_text("{}")
        assert not path.exists()
        assert temporary.parent == tmp_path
    assert path.read_text() == "{}"
    assert list(tmp_path.iterdir()) == [path]


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot write .* choose another output folder"):
        write_json(tmp_path / "file" / "x.json", {})
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(InputError, match="cannot write"):
        write_json(tmp_path / "folder.json", {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.json"]
