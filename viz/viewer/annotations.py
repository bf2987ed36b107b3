"""What people add to a graph: supernodes, pins, places, labels. Kept beside the graph, for the page and for Python.

`FILE.safetensors` has its annotations in `FILE.annotations.json`, which is also a `supernodes.json`
(`circuits.supernodes.file`), so that `--supernodes` reads it:

    {"schema_version": 1, "revision": 3, "supernodes": [["name", "2_1440_8", ...]], "pinned": ["1_1006_8"],
     "positions": {"1_1006_8": [0.2, 0.5]}, "labels": {"1/1006": "in Texas"}, "node_threshold": null, ...}

Nodes are named by their ids (`circuits.node_names`). Ids that a graph does not have stay in the file: the graph may
have been traced again with other settings, and nobody's work is thrown away for that. `revision` counts savings;
whoever saves says which one was read, so that two who save at once notice each other.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from filelock import FileLock

from circuits.graph import Graph
from circuits.graph_json.parsing import is_json, read_json_file
from circuits.node_names import node_names
from circuits.pruning import Circuit
from circuits.supernodes.file import parse_groups
from circuits.supernodes.grouped import GroupedCircuit, group
from circuits.supernodes.grouping import Grouping
from replacement_model.errors import GraphFileError, InputError
from replacement_model.formats.files import atomic_path
from replacement_model.labels import FeatureLabel
from viz.exchange.encoding import encoded

__all__ = [
    "Annotations",
    "annotated",
    "annotations_of",
    "annotations_path",
    "exchange",
    "load_annotations",
    "parse_annotations",
    "save_annotations",
]

SCHEMA_VERSION = 1
SUFFIX = ".annotations.json"
LOCK_TIMEOUT = 10.0  # seconds; saving takes milliseconds


@dataclass(frozen=True, slots=True)
class Annotations:
    """What people added to a graph.

    Attributes:
        supernodes: names with the ids of their nodes; a node is in one at most.
        pinned: ids, in the order of pinning.
        positions: where pinned nodes and supernodes were put, by id: shares of the width and the height.
        labels: texts by "LAYER/INDEX", in place of the features' own.
        node_threshold, edge_threshold: what the page shows; None for the circuit's.
        revision: how often they were saved.
        others: further keys of the file, which are kept.
    """

    supernodes: tuple[tuple[str, ...], ...] = ()
    pinned: tuple[str, ...] = ()
    positions: Mapping[str, tuple[float, float]] = field(default_factory=lambda: MappingProxyType({}))
    labels: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    node_threshold: float | None = None
    edge_threshold: float | None = None
    revision: int = 0
    others: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, from which `parse_annotations` makes it again."""
        return {
            "schema_version": SCHEMA_VERSION,
            "revision": self.revision,
            "supernodes": [list(row) for row in self.supernodes],
            "pinned": list(self.pinned),
            "positions": {name: list(place) for name, place in self.positions.items()},
            "labels": dict(self.labels),
            "node_threshold": self.node_threshold,
            "edge_threshold": self.edge_threshold,
            **self.others,
        }

    def unknown(self, graph: Graph) -> tuple[str, ...]:
        """Ids in supernodes and pins that the graph does not have, in order."""
        names = set(node_names(graph))
        used = [name for row in self.supernodes for name in row[1:]] + list(self.pinned)
        return tuple(dict.fromkeys(name for name in used if name not in names))

    def grouping(self, graph: Graph) -> Grouping:
        """The supernodes, without nodes that the graph does not have (see `unknown`)."""
        names = set(node_names(graph))
        rows = [[row[0], *(name for name in row[1:] if name in names)] for row in self.supernodes]
        return parse_groups([row for row in rows if len(row) > 1], graph)

    def labelled(self, graph: Graph) -> Graph:
        """The graph with these labels in place of its own; what was measured of a replaced label goes with it."""
        found = [
            label if (text := self.labels.get(f"{layer}/{idx}")) is None else _relabelled(label, text)
            for (layer, _, idx), label in zip(graph.features.tolist(), graph.feature_labels, strict=True)
        ]
        return replace(graph, feature_labels=tuple(found))


def annotated(circuit: Circuit, annotations: Annotations) -> Circuit | GroupedCircuit:
    """A circuit with these labels and supernodes, as exports take it; nodes that it does not keep are left out."""
    labelled = replace(circuit, graph=annotations.labelled(circuit.graph))
    grouped = group(labelled, annotations.grouping(circuit.graph))
    return grouped if grouped.n_groups else labelled


def annotations_path(graph: str | Path) -> Path:
    """Where the annotations of a graph file are kept."""
    path = Path(graph)
    return path.with_name(path.name.removesuffix(".safetensors").removesuffix(".json") + SUFFIX)


def load_annotations(path: str | Path) -> Annotations:
    """Read annotations; none if there is no file.

    Args:
        path: the annotations, or the graph file that they are of.

    Raises:
        GraphFileError: the file is damaged, or of another schema.

    Example:
        grouped = group(circuit, load_annotations("out/dallas.safetensors").grouping(circuit.graph))
    """
    place = _place(path)
    try:
        return parse_annotations(json.loads(place.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return Annotations()
    except (OSError, ValueError, RecursionError, InputError) as error:
        reason = " ".join(str(error).split())
        raise GraphFileError(f"{place} holds no annotations ({reason}); move it away, or repair it") from error


def annotations_of(graph: str | Path) -> Annotations:
    """Annotations of a graph file: those beside it; else, of graph JSON, the supernodes and pins that are in it.

    Raises:
        GraphFileError: the file is damaged, or of another schema.
    """
    path = Path(graph)
    place = annotations_path(path)
    if place.is_file() or not is_json(path):
        return load_annotations(place)
    content = read_json_file(path).value
    params = content.get("qParams") if isinstance(content, dict) else None
    if not isinstance(params, dict):
        return Annotations()
    rows, pinned = params.get("supernodes"), params.get("pinnedIds")
    return Annotations(
        supernodes=_apart(rows if isinstance(rows, list) else []),
        pinned=tuple(dict.fromkeys(filter(_is_text, pinned))) if isinstance(pinned, list) else (),
    )


def _apart(rows: Sequence[Any]) -> tuple[tuple[str, ...], ...]:
    """The rows that name nodes, each node in the first of them alone."""
    found: list[tuple[str, ...]] = []
    taken: set[str] = set()
    for row in rows:
        if isinstance(row, list) and row and all(map(_is_text, row)):
            ids = tuple(one for one in dict.fromkeys(row[1:]) if one not in taken)
            taken.update(ids)
            found += [(row[0], *ids)] if ids else []
    return tuple(found)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def save_annotations(annotations: Annotations, path: str | Path) -> Annotations:
    """Write annotations, all or nothing, as the next revision.

    Args:
        annotations: changed from what `load_annotations` gave, with its revision.
        path: the file, or the graph file that they are of.

    Returns:
        The same with the revision that was written.

    Raises:
        InputError: somebody saved since these were loaded, or the file cannot be written.
        GraphFileError: the file that is there is damaged.

    Example:
        found = load_annotations("out/dallas.safetensors")
        save_annotations(replace(found, pinned=(*found.pinned, "1_1006_8")), "out/dallas.safetensors")
    """
    is_saved, current = exchange(annotations, path)
    if not is_saved:
        raise InputError(
            f"{_place(path)} is at revision {current.revision}, these annotations are from {annotations.revision}: "
            "load it again and make the change there, or merge the two with merge_annotations"
        )
    return current


def exchange(annotations: Annotations, path: str | Path) -> tuple[bool, Annotations]:
    """Write annotations if the file is still at their revision.

    Returns:
        Whether they were written, and what is now in the file.

    Raises:
        InputError: the file cannot be written.
        GraphFileError: the file that is there is damaged.
    """
    place = _place(path)
    with _locked(place):
        current = load_annotations(place)
        if current.revision != annotations.revision:
            return False, current
        saved = replace(annotations, revision=current.revision + 1)
        with atomic_path(place) as temporary:
            temporary.write_bytes(encoded(saved.to_dict()))
    return True, saved


@contextmanager
def _locked(place: Path) -> Iterator[None]:
    """Nobody else, in this process or another, writes the file during the block."""
    lock = FileLock(place.with_name(f".{place.name}.lock"), timeout=LOCK_TIMEOUT)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        raise InputError(f"cannot write {place} ({error}); are you allowed to write to this folder?") from error
    try:
        yield
    finally:
        lock.release()


def parse_annotations(value: Any) -> Annotations:
    """Annotations from what `json.load` gave.

    Raises:
        InputError: they are something else; the message says where.
    """
    given = _object("annotations", value)
    if given.get("schema_version") != SCHEMA_VERSION:
        raise InputError(
            f"expected annotations of schema_version {SCHEMA_VERSION}, got {given.get('schema_version')!r}"
        )
    supernodes = tuple(_row(row) for row in _list("supernodes", given.get("supernodes", [])))
    _check_members(supernodes)
    known = {column.name for column in fields(Annotations)} | {"schema_version"}
    return Annotations(
        supernodes=supernodes,
        pinned=tuple(dict.fromkeys(_text("pinned", name) for name in _list("pinned", given.get("pinned", [])))),
        positions={name: _spot(name, spot) for name, spot in _object("positions", given.get("positions", {})).items()},
        labels={key: _text(f"labels[{key}]", text) for key, text in _object("labels", given.get("labels", {})).items()},
        node_threshold=_share("node_threshold", given.get("node_threshold")),
        edge_threshold=_share("edge_threshold", given.get("edge_threshold")),
        revision=_count("revision", given.get("revision", 0)),
        others={key: other for key, other in given.items() if key not in known},
    )


def _relabelled(label: FeatureLabel | None, text: str) -> FeatureLabel:
    if label is None:
        return FeatureLabel(text)
    return replace(label, text=text, concept=None, f1=None, precision=None, recall=None)


def _place(path: str | Path) -> Path:
    return annotations_path(path) if Path(path).suffix == ".safetensors" else Path(path)


def _object(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError(f"{name}: expected an object, got {_short(value)}")
    return value


def _list(name: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise InputError(f"{name}: expected a list, got {_short(value)}")
    return value


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise InputError(f"{name}: expected text, got {_short(value)}")
    return value


def _row(value: Any) -> tuple[str, ...]:
    row = tuple(_text("supernodes", part) for part in _list("supernodes", value))
    if len(row) < 2:
        raise InputError(f"supernodes: expected a name and at least one node id, got {_short(value)}; leave it out")
    return row


def _check_members(supernodes: tuple[tuple[str, ...], ...]) -> None:
    seen: dict[str, str] = {}
    for name, *members in supernodes:
        for member in members:
            if member in seen:
                raise InputError(
                    f"supernodes: node {member!r} is in {seen[member]!r} and in {name!r}; take it out of one"
                )
            seen[member] = name


def _spot(name: str, value: Any) -> tuple[float, float]:
    numbers = [_number(f"positions[{name}]", part) for part in _list(f"positions[{name}]", value)]
    if len(numbers) != 2:
        raise InputError(f"positions[{name}]: expected x and y, got {len(numbers)} numbers")
    return numbers[0], numbers[1]


def _share(name: str, value: Any) -> float | None:
    number = None if value is None else _number(name, value)
    if number is not None and not 0 <= number <= 1:
        raise InputError(f"{name}: expected a share between 0 and 1, got {number}")
    return number


def _number(name: str, value: Any) -> float:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or abs(value) > 1e300 or math.isnan(value):
        raise InputError(f"{name}: expected a finite number, got {_short(value)}")
    return float(value)


def _count(name: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**53:
        raise InputError(f"{name}: expected a whole number from 0, got {_short(value)}")
    return value


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
