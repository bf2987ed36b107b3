from pathlib import Path

import pytest

from replacement_model.errors import InputError
from viz.files import write_files


def test_all_files_are_written_and_folders_made(tmp_path):
    write_files({tmp_path / "a" / "x": b"1", tmp_path / "b" / "c" / "y": b"2"})
    assert (tmp_path / "a" / "x").read_bytes() == b"1"
    assert (tmp_path / "b" / "c" / "y").read_bytes() == b"2"


@pytest.mark.parametrize("bad_first", [True, False])
def test_if_one_file_cannot_be_written_none_is(tmp_path, bad_first):
    (tmp_path / "file").write_bytes(b"old")
    contents = {tmp_path / "good": b"new", tmp_path / "file" / "inside": b"x", tmp_path / "other": b"new"}
    if bad_first:
        contents = dict(reversed(contents.items()))
    with pytest.raises(InputError, match="cannot write"):
        write_files(contents)
    assert {path.name for path in tmp_path.iterdir()} == {"file"}


def test_an_error_while_writing_keeps_the_old_file(tmp_path, monkeypatch):
    (tmp_path / "a").write_bytes(b"old")
    write = Path.write_bytes

    def full_disk(path, data):
        write(path, data[:2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    with pytest.raises(InputError, match="No space left"):
        write_files({tmp_path / "a": b"newer"})
    assert (tmp_path / "a").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
