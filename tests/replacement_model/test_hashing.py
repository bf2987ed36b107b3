import hashlib
import os
from pathlib import Path

import pytest

from replacement_model import hashing
from replacement_model.hashing import content_hash, content_hashes, sha256

DIGEST = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a threshold that makes every file a large one."""
    monkeypatch.setenv("ORRERY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(hashing, "REMEMBERED_FROM", 1)
    return tmp_path / "cache"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were read whole."""
    found: list[Path] = []

    def counted(path: Path) -> str:
        found.append(path)
        return sha256(path)

    monkeypatch.setattr(hashing, "sha256", counted)
    return found


def test_sha256(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    assert sha256(tmp_path / "x") == DIGEST


def test_a_large_file_is_read_once(tmp_path: Path, cache: Path, reads: list[Path]) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    assert [content_hash(tmp_path / "x") for _ in range(3)] == [DIGEST] * 3
    assert len(reads) == 1
    assert len(list(cache.rglob("*.json"))) == 1


def test_a_small_file_is_not_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORRERY_CACHE", str(tmp_path / "cache"))
    (tmp_path / "x").write_bytes(b"abc")
    assert content_hash(tmp_path / "x") == DIGEST
    assert not (tmp_path / "cache").exists()


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("keep_times", [False, True])
def test_a_changed_file_is_read_again(tmp_path: Path, keep_times: bool) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"abc")
    content_hash(path)
    times = path.stat()
    path.write_bytes(b"abd")
    if keep_times:
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert content_hash(path) == hashlib.sha256(b"abd").hexdigest()


@pytest.mark.usefixtures("cache")
def test_a_blob_of_the_hub_cache_is_not_read(tmp_path: Path, reads: list[Path]) -> None:
    (tmp_path / ("b" * 64)).write_bytes(b"not what its name says")
    (tmp_path / "x").symlink_to(tmp_path / ("b" * 64))
    assert content_hash(tmp_path / "x") == "b" * 64
    assert reads == []


@pytest.mark.parametrize("text", ["", "{", "{}", "[]", '["x"]', "[1, 2, 3, 4, 5, 6]"])
def test_a_damaged_record_is_replaced(tmp_path: Path, cache: Path, text: str) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    content_hash(tmp_path / "x")
    (record,) = cache.rglob("*.json")
    record.write_text(text)
    assert content_hash(tmp_path / "x") == DIGEST
    assert DIGEST in record.read_text()


def test_a_cache_that_cannot_be_written_changes_nothing(tmp_path: Path, cache: Path) -> None:
    cache.write_text("a file in the way")
    (tmp_path / "x").write_bytes(b"abc")
    assert content_hash(tmp_path / "x") == DIGEST


def test_several_files_in_their_order(tmp_path: Path) -> None:
    paths = [tmp_path / f"{index}.bin" for index in range(20)]
    for path in paths:
        path.write_bytes(path.name.encode() * 1000)
    assert content_hashes(paths) == [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]
    assert content_hashes([]) == []
