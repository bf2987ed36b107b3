"""The last section of every report: what it was made with, file by file, and how to make it again."""

import hashlib
from collections.abc import Mapping
from typing import Any

from circuits.studies.folder import GRAPHS, StudyFolder
from replacement_model.hashing import sha256
from viz.reports.markdown import code
from viz.reports.parts import Cell, Section, Table, Text

__all__ = ["provenance"]

STATED = ("results.json", "interventions.json", "interventions-*.json", f"{GRAPHS}/*.safetensors")
MOST_LISTED = 12  # of one kind; of more, the hash of their hashes


def provenance(folder: StudyFolder, command: str | None) -> Section:
    """Settings, hashes of what was read and of what was computed, versions.

    Args:
        folder: the study's, with `results.json` and all else in it.
        command: that makes the study, for `FOLDER`; None if there is none.
    """
    facts, files = folder.facts, _files(folder)
    ways = [] if command is None else [f"The study is made, or continued, by {code(command)}."]
    if (folder.path / "interventions.json").is_file():
        again = code("orrery replay FOLDER/interventions.json")
        ways.append(f"Its interventions are run again, and compared, by {again}.")
    ways.append("A file is the one that was used if its SHA-256 is the one given here.")
    code_of, versions = facts["versions"]["code of orrery"], dict(facts["versions"])
    del versions["code of orrery"]
    parts: list[Text | Table] = [
        Text(" ".join(ways)),
        Table(("setting", "value"), _rows(facts["settings"]), "Settings."),
        Table(("file", "SHA-256"), _rows(facts["inputs"]), "What was read."),
        Table(("file", "SHA-256"), tuple(files), "What was computed; every number above is in results.json."),
        Table(("package", "version"), (*_rows(versions), ("modules of orrery that compute", code_of)), "Versions."),
    ]
    return Section("How this was made", tuple(part for part in parts if isinstance(part, Text) or part.rows))


def _files(folder: StudyFolder) -> list[tuple[Cell, ...]]:
    found: list[tuple[Cell, ...]] = []
    for pattern in STATED:
        paths = sorted(folder.path.glob(pattern))
        rows = [(path.relative_to(folder.path).as_posix(), sha256(path)) for path in paths]
        if len(rows) > MOST_LISTED:
            lines = "".join(f"{digest}  {name}\n" for name, digest in rows)  # as the program sha256sum prints them
            name = f"{len(rows)} files: sha256sum {pattern} | sha256sum"
            rows = [(name, hashlib.sha256(lines.encode()).hexdigest())]
        found += rows
    return found


def _rows(values: Mapping[str, Any]) -> tuple[tuple[Cell, ...], ...]:
    return tuple((name, _text(value)) for name, value in values.items())


def _text(value: Any) -> Cell:
    if isinstance(value, dict):
        return ", ".join(f"{name}: {one}" for name, one in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return value if isinstance(value, (str, int, float)) or value is None else str(value)
