import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from replacement_model.errors import InputError, WeightsError
from replacement_model.formats.files import (
    Stacked,
    atomic_path,
    read_json,
    read_safetensors,
    read_yaml,
    tensor_shapes,
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


DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.float8_e4m3fn)


def test_the_bytes_are_those_of_the_library(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    tensors = {f"{name}.{dtype}": torch.randn(3, 5, generator=generator).to(dtype) for dtype in DTYPES for name in "ba"}
    tensors |= {"scalar": torch.tensor(2.5), "none": torch.zeros(0, 4), "é": torch.ones(2, 3, 2).bfloat16()}
    save_file(tensors, tmp_path / "theirs")
    write_safetensors(tmp_path / "ours", tensors)
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()


@pytest.mark.parametrize("part", [1, 40, 2**26])
def test_parts_join_to_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: int) -> None:
    monkeypatch.setattr("replacement_model.formats.files.PART_BYTES", part)
    columns = [torch.arange(12.0).reshape(6, 2) + 100 * j for j in range(3)]
    across = torch.arange(30).reshape(5, 6).T
    write_safetensors(tmp_path / "x.safetensors", {"stacked": Stacked(columns), "across": across})
    found = load_file(tmp_path / "x.safetensors")
    assert torch.equal(found["stacked"], torch.stack(columns, dim=1))
    assert torch.equal(found["across"], across)


def test_shapes_from_the_header(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "x.safetensors")
    assert tensor_shapes(tmp_path / "x.safetensors") == {"a": (2, 3), "n": ()}


# In a process of its own, where nothing else is in memory: 64 MiB that are mapped, then read, then written.
MEASURE = """
import re, sys
from pathlib import Path
import torch
from replacement_model.formats.files import read_safetensors, write_safetensors
from replacement_model.formats.npz import read_npz

def anonymous():
    return int(re.search(r"RssAnon:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024

path = Path(sys.argv[1])
before = anonymous()
tensors = read_npz(path) if path.suffix == ".npz" else read_safetensors(path)
float(tensors["W"].sum())
write_safetensors(path.with_name("copy.safetensors"), {"W": tensors["W"]})
print(anonymous() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="runs where /proc says what memory is used for")
@pytest.mark.parametrize("name", ["x.safetensors", "x.npz"])
def test_weights_stay_in_their_file(tmp_path: Path, name: str) -> None:
    W = torch.ones(64, 2**20 // 4)
    if name.endswith("npz"):
        np.savez(tmp_path / name, W=W.numpy())
    else:
        save_file({"W": W}, tmp_path / name)
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path / name)],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert int(done.stdout) < 16


def test_yaml(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("a: [1, b]")
    assert read_yaml(tmp_path / "x.yaml") == {"a": [1, "b"]}


@pytest.mark.parametrize("text", ["a: [", "- a", "", "\x00", "!!python/object:os.system {}"])
def test_damaged_yaml(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(WeightsError, match=r"x\.yaml") as caught:
        read_yaml(tmp_path / "x.yaml")
    assert "\n" not in str(caught.value)


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
