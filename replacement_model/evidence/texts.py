"""Text to collect evidence on: a text file, JSON lines, a data set on disk, or the pocket model's own prompts."""

import importlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from replacement_model.errors import InputError, MissingDependencyError
from replacement_model.hashing import content_hash
from replacement_model.pocket import MODEL_DIR

__all__ = ["POCKET_SPLITS", "Text", "open_text", "pocket_split"]

POCKET_SPLITS = ("train", "validation", "test")
SUFFIXES = (".txt", ".jsonl", ".json", ".parquet", ".arrow")
POCKET_FILES = ("model.safetensors", "tokenizer.json")


@dataclass(frozen=True, slots=True)
class Text:
    """Documents, read one after the other each time they are asked for.

    Attributes:
        name: what was asked for.
        files: where they are, in the order of reading; empty for the pocket model's prompts.
        field: name of the column with the text, in files that have columns.
        whole: a plain text file is one document; else each of its lines.
    """

    name: str
    files: tuple[Path, ...]
    field: str = "text"
    whole: bool = False

    def documents(self) -> Iterator[str]:
        """The documents, without those that are blank."""
        split = pocket_split(self.name)
        found = _pocket(split) if split else (text for path in self.files for text in self._read(path))
        return (text for text in found if text.strip())

    @property
    def hashes(self) -> dict[str, str]:
        """SHA-256 of the files; for the pocket model's prompts, of the weights that are shipped with them."""
        files = self.files or tuple(MODEL_DIR / name for name in POCKET_FILES)
        return {f"{index}/{path.name}": content_hash(path) for index, path in enumerate(files)}

    def _read(self, path: Path) -> Iterator[str]:
        try:
            if path.suffix in (".parquet", ".arrow"):
                yield from _columns(path, self.field)
            elif path.suffix in (".jsonl", ".json"):
                yield from _json_lines(path, self.field)
            elif self.whole:
                yield path.read_text(encoding="utf-8")
            else:
                with path.open(encoding="utf-8") as lines:
                    yield from (line.rstrip("\r\n") for line in lines)
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path} cannot be read as text ({error}); give a file in UTF-8") from error


def open_text(name: str, field: str = "text", whole: bool = False) -> Text:
    """The text `name`: a file, a folder with files of a data set, or `pocket[:train|validation|test]`.

    Args:
        name: a `.txt`, `.jsonl`, `.json`, `.parquet` or `.arrow` file (any other ending counts as `.txt`), or a folder,
            of which every such file is read, sorted by path.
        field: name of the column with the text.
        whole: a plain text file is one document; else each of its lines.

    Raises:
        InputError: there is no such file, or nothing that can be read.
        MissingDependencyError: a `.parquet` or `.arrow` file without pyarrow.
    """
    path = Path(name)
    if pocket_split(name) and not path.exists():
        return Text(name, ())
    if not path.exists():
        raise InputError(f"{name} does not exist; give a text file, a folder with a data set, or pocket:validation")
    files = (path,) if path.is_file() else _in_folder(path)
    if any(file.suffix in (".parquet", ".arrow") for file in files):
        _pyarrow("pyarrow")
    return Text(name, files, field, whole)


def pocket_split(name: str) -> str | None:
    """The split that `pocket:SPLIT` names; that of `pocket` alone is validation; None for anything else."""
    begin, _, split = name.partition(":")
    if begin != "pocket" or split not in ("", *POCKET_SPLITS):
        return None
    return split or "validation"


def _in_folder(folder: Path) -> tuple[Path, ...]:
    # A data set that was saved to disk has its description in JSON beside its data.
    described = ("dataset_info.json", "dataset_dict.json", "state.json")
    found = sorted(path for path in folder.rglob("*") if path.suffix in SUFFIXES and path.name not in described)
    if not found:
        raise InputError(f"{folder} holds no file of text ({', '.join(SUFFIXES)}); name another folder or a file")
    return tuple(found)


def _pocket(split: str) -> Iterator[str]:
    from replacement_model.pocket.corpus import build_corpus

    return (prompt.text for prompt in build_corpus().select(split))


def _json_lines(path: Path, field: str) -> Iterator[str]:
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise InputError(f"{path}, line {number}: expected one JSON object a line ({error})") from error
            yield _field(path, number, row, field)


def _field(path: Path, number: int, row: Any, field: str) -> str:
    if isinstance(row, str):
        return row
    if not isinstance(row, dict) or not isinstance(row.get(field), str):
        known = ", ".join(row) if isinstance(row, dict) else type(row).__name__
        raise InputError(f"{path}, line {number}: no text in field {field!r}, only {known}; name it with --field")
    return str(row[field])


def _columns(path: Path, field: str) -> Iterator[str]:
    batches = _parquet(path, field) if path.suffix == ".parquet" else _arrow(path)
    for batch in batches:
        if field not in batch.schema.names:
            raise InputError(f"{path} has no column {field!r}, only {', '.join(batch.schema.names)}; name it: --field")
        yield from (str(value) for value in batch.column(field).to_pylist() if value is not None)


def _parquet(path: Path, field: str) -> Iterator[Any]:
    opened = _pyarrow("pyarrow.parquet").ParquetFile(path)
    known = opened.schema_arrow.names
    return opened.iter_batches(columns=[field] if field in known else None)


def _arrow(path: Path) -> Iterator[Any]:
    """A stream, as data sets are saved, or a file with an index at its end."""
    arrow, ipc = _pyarrow("pyarrow"), _pyarrow("pyarrow.ipc")
    with arrow.memory_map(str(path)) as source:
        if source.read(6) == b"ARROW1":
            opened = ipc.open_file(source)
            yield from (opened.get_batch(index) for index in range(opened.num_record_batches))
        else:
            source.seek(0)
            yield from ipc.open_stream(source)


def _pyarrow(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingDependencyError(
            "parquet and arrow files need the package pyarrow: pip install pyarrow, or give .txt or .jsonl"
        ) from error
