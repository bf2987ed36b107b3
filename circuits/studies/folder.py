"""A study's folder: what was computed is kept piece by piece, so that an interrupted study goes on where it was.

    study.json          the study's name, settings, hashes of its inputs, versions
    pieces/NAME.json    one result each, with its own SHA-256
    graphs/NAME.safetensors
    results.json, report.md, report.html, figures/, interventions.json

Every file appears whole or not at all. One process at a time writes a folder; the operating system frees the lock of a
process that was killed. Settings, inputs and versions never change within a folder, so that what it holds was made from
one and the same start.
"""

import hashlib
import json
import logging
import re
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import BaseFileLock, FileLock, Timeout

from circuits.graph import Graph
from circuits.graph_file import save_circuit, save_graph
from circuits.pruning import Circuit
from circuits.versions import RECORDED_PACKAGES, code_hash, recorded_versions
from replacement_model.errors import InputError
from replacement_model.formats.files import atomic_path
from replacement_model.hashing import sha256

__all__ = ["Json", "StudyFolder"]

Json = Any
"""Plain values: None, booleans, finite numbers, text, lists, and mappings from text."""

SCHEMA_VERSION = 1
STUDY_NAME, LOCK_NAME, PIECES, GRAPHS = "study.json", ".lock", "pieces", "graphs"
COMPUTED_WITH = (*RECORDED_PACKAGES, "scipy", "scikit-learn")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+=-]{0,119}")
TEMPORARY = re.compile(r"\..+\.[a-z0-9_]{8}(\.[A-Za-z0-9]+)?")  # as `atomic_path` names them
SHOWN_DIFFERENCES = 4

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StudyFolder:
    """An open folder of one study. Made by `open`; a context manager that lets go of the folder.

    Attributes:
        path: the folder.
        facts: what `study.json` holds.

    Example:
        with StudyFolder.open("out/multi-step", "multi-step", {"quick": True}, inputs) as folder:
            value = folder.piece("texas", lambda: measure("Texas"))
    """

    path: Path
    facts: Mapping[str, Json]
    _lock: BaseFileLock

    @classmethod
    def open(
        cls, path: str | Path, study: str, settings: Mapping[str, Json], inputs: Mapping[str, str]
    ) -> "StudyFolder":
        """A new folder, or one that the same study began with equal settings, inputs and versions.

        Args:
            path: the folder; made if need be.
            study: the study's name.
            settings: what it was asked to do; plain values.
            inputs: SHA-256 of everything that it reads, by name.

        Raises:
            InputError: it is in use, holds something else, or was begun with other settings, inputs or versions.
        """
        place = Path(path)
        facts = {
            "schema_version": SCHEMA_VERSION,
            "study": study,
            "settings": dict(settings),
            "inputs": dict(inputs),
            "versions": recorded_versions(COMPUTED_WITH) | {"code of orrery": code_hash()},
        }
        facts = json.loads(_encoded(facts, STUDY_NAME))
        with ExitStack() as undo:
            folder = cls(place, facts, _locked(place))
            undo.callback(folder.close)
            _check_same(place, facts)
            _remove_torn(place)
            if not (place / STUDY_NAME).is_file():
                folder.write_json(STUDY_NAME, facts)
            undo.pop_all()
        return folder

    def close(self) -> None:
        """Let another process write the folder."""
        self._lock.release(force=True)

    def __enter__(self) -> "StudyFolder":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def piece(self, name: str, compute: Callable[[], Json]) -> Json:
        """The value that is kept under `name`; computed and kept if there is none, or if its file is damaged.

        The value is always what the file gives back (lists for tuples), so that a first run and a later one agree.

        Raises:
            InputError: the name is no file name, or the value is not plain.
        """
        path = self.path / PIECES / f"{_checked(name)}.json"
        kept = _read_piece(path)
        if kept is not None:
            return kept["value"]
        value = _encoded(compute(), name)
        digest = hashlib.sha256(value.encode()).hexdigest()
        with atomic_path(path) as temporary:
            temporary.write_text(f'{{"sha256": "{digest}", "value": {value}}}\n', encoding="utf-8")
        return json.loads(value)

    def graph(self, name: str, make: Callable[[], Circuit | Graph]) -> Path:
        """The file of a circuit or graph; made if it is not there, or not as it was written.

        Raises:
            InputError: the name is no file name.
        """
        path = self.path / GRAPHS / f"{_checked(name)}.safetensors"
        note = self.path / PIECES / f"graph.{name}.json"
        kept = _read_piece(note)
        if kept is not None and (not path.is_file() or sha256(path) != kept["value"]["sha256"]):
            logger.warning("%s is missing or not as it was written; it is made again", path)
            note.unlink()
        self.piece(f"graph.{name}", lambda: _saved(make(), path))
        return path

    def write_text(self, name: str, text: str) -> Path:
        """Write a file of the folder, whole or not at all."""
        return self.write_bytes(name, text.encode())

    def write_bytes(self, name: str, data: bytes) -> Path:
        """Write a file of the folder, whole or not at all; `name` may begin with a subfolder.

        Raises:
            InputError: the name leads out of the folder, or the file cannot be written.
        """
        path = self.path.joinpath(*map(_checked, name.split("/")))
        with atomic_path(path) as temporary:
            temporary.write_bytes(data)
        return path

    def write_json(self, name: str, value: Json) -> Path:
        """Write plain values as a file of the folder, in their order, whole or not at all."""
        return self.write_text(name, _encoded(value, name, indent=1) + "\n")


def _saved(made: Circuit | Graph, path: Path) -> dict[str, str]:
    if isinstance(made, Circuit):
        save_circuit(made, path)
    else:
        save_graph(made, path)
    return {"file": path.name, "sha256": sha256(path)}


def _locked(place: Path) -> BaseFileLock:
    """The folder's lock; the folder is made."""
    try:
        place.mkdir(parents=True, exist_ok=True)
        lock = FileLock(place / LOCK_NAME, thread_local=False)
        lock.acquire(blocking=False)
    except Timeout as error:
        raise InputError(f"another process is writing {place}; wait until it ends, or choose another folder") from error
    except OSError as error:
        raise InputError(f"cannot write to {place} ({error.strerror}); choose another folder") from error
    return lock


def _check_same(place: Path, facts: Mapping[str, Json]) -> None:
    """Raise unless `place` is new, or holds a study with these facts."""
    if not (place / STUDY_NAME).is_file():
        others = [one.name for one in place.iterdir() if one.name != LOCK_NAME and not TEMPORARY.fullmatch(one.name)]
        if others:
            raise InputError(f"{place} holds {min(others)} and no {STUDY_NAME}; choose a new folder for a study")
        return
    try:
        known = json.loads((place / STUDY_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{place / STUDY_NAME} cannot be read ({error}); delete {place} to begin again") from error
    differences = _differences(known, facts)
    if differences:
        shown = "; ".join(differences[:SHOWN_DIFFERENCES])
        more = len(differences) - SHOWN_DIFFERENCES
        raise InputError(
            f"{place} was begun with something else: {shown}{f'; and {more} more' if more > 0 else ''}. "
            "Choose another folder, or delete this one to begin again"
        )


def _differences(known: Json, now: Json, name: str = "") -> list[str]:
    """What differs between two records, in words."""
    if isinstance(known, dict) and isinstance(now, dict):
        keys = [*known, *(key for key in now if key not in known)]
        found = [_differences(known.get(key), now.get(key), f"{name}, {key}" if name else key) for key in keys]
        return [one for part in found for one in part]
    return [] if known == now else [f"{name or STUDY_NAME} was {_short(known)}, is now {_short(now)}"]


def _short(value: Json) -> str:
    if value is None:
        return "absent"
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 40 else f"{text[:12]}..."


def _remove_torn(place: Path) -> None:
    """Remove what a killed process was writing, which no reader takes for a finished file."""
    for path in place.rglob(".*"):
        if TEMPORARY.fullmatch(path.name) and path.is_file():
            path.unlink()


def _read_piece(path: Path) -> dict[str, Json] | None:
    """What `piece` wrote; None, with a warning, where the file is not as it was written."""
    if not path.is_file():
        return None
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        whole = hashlib.sha256(_encoded(kept["value"], path.name).encode()).hexdigest() == kept["sha256"]
    except (OSError, ValueError, KeyError, TypeError, InputError):
        whole = False
    if whole:
        return dict(kept)
    logger.warning("%s is damaged; what it held is computed again", path)
    return None


def _encoded(value: Json, name: str, indent: int | None = None) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent)
        text.encode()  # refuses half of a surrogate pair
        return text
    except (TypeError, ValueError) as error:
        raise InputError(f"{name}: expected plain values with finite numbers for JSON ({error})") from error


def _checked(name: str) -> str:
    if not NAME.fullmatch(name):
        raise InputError(f"expected a file name of letters, digits and . _ + = -, got {name!r}")
    return name
