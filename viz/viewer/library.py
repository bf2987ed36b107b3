"""The graphs of a folder, by the names that addresses have for them: our own files, and graph JSON of any program.

Of graph JSON beside our own file of the same name only the latter is listed: it has the unpruned graph. A name is
looked up in the list of what is in the folder; it is never made into a path. Files that lie elsewhere, as links can
make them appear, are not in the list.
"""

import mmap
import os
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from circuits.graph import GraphMetadata
from circuits.graph_file import file_kind, load_circuit, load_graph, load_metadata
from circuits.graph_json.reading import read_graph_json
from circuits.pruning import Circuit, prune
from replacement_model.errors import InputError, OrreryError
from viz.viewer.coverage import Budget
from viz.viewer.payload import payload

__all__ = ["Library", "OpenGraph"]


SUFFIX, JSON_SUFFIX = ".safetensors", ".json"
JSON_MARKS = (b'"metadata"', b'"prompt_tokens"')  # in the beginning of every graph JSON
NODE_THRESHOLD, EDGE_THRESHOLD = 0.8, 0.98
BUDGET = Budget(max_nodes=5_000, max_bytes=12_000_000)
MAX_OPEN = 4

Stamp = tuple[str, int, int]


@dataclass(frozen=True, slots=True, eq=False)
class OpenGraph:
    """A graph as the server keeps it.

    Attributes:
        value: what the page is given; its annotations are those in graph JSON, for where no others are kept.
        token_ids, n_ignored_pos: of its prompt.
    """

    path: Path
    value: dict[str, Any]
    metadata: GraphMetadata
    token_ids: tuple[int, ...]
    n_ignored_pos: int


class Library:
    """Graph files of a folder and its subfolders, or a single one.

    Args:
        place: the folder, or a graph file.

    Raises:
        InputError: there is no such place.
        GraphFileError: it is a file, but no graph.
    """

    def __init__(self, place: Path) -> None:
        if not place.exists():
            raise InputError(f"expected a folder of graphs, or a graph file, at {place}, found nothing; check the path")
        self.single = place.resolve() if place.is_file() else None
        if self.single is not None and self.single.suffix != JSON_SUFFIX:
            file_kind(self.single)
        self.root = place.resolve() if self.single is None else self.single.parent
        self._lock = threading.Lock()
        self._open: OrderedDict[Stamp, OpenGraph] = OrderedDict()
        self._summaries: dict[Stamp, dict[str, Any] | None] = {}

    def paths(self) -> dict[str, Path]:
        """Where each graph is, by name; the names are paths within the folder, without suffix, quoted."""
        if self.single is not None:
            return {self._name(self.single): self.single}
        # Our own files come last, and take the place of graph JSON of the same name.
        found = [path for suffix in (JSON_SUFFIX, SUFFIX) for path in self.root.rglob(f"*{suffix}")]
        inside = [path for path in found if path.is_file() and path.resolve().is_relative_to(self.root)]
        return dict(sorted({self._name(path): path for path in inside if self._summary(path) is not None}.items()))

    def _name(self, path: Path) -> str:
        return quote(os.fsencode(path.relative_to(self.root).with_suffix("").as_posix()), safe="")

    def summaries(self) -> list[dict[str, Any]]:
        """Name, title and origin of every graph, by name."""
        found = [(slug, self._summary(path)) for slug, path in self.paths().items()]
        return [{"slug": slug, **facts} for slug, facts in found if facts is not None]

    def open(self, slug: str) -> OpenGraph | None:
        """A graph, read again if its file has changed; None if there is none of this name.

        Raises:
            GraphFileError: the file is damaged.
        """
        path = self.paths().get(slug)
        if path is None:
            return None
        with self._lock:
            stamp = _stamp(path)
            found = self._open.pop(stamp, None) or _opened(slug, path)
            self._open[stamp] = found
            while len(self._open) > MAX_OPEN:
                self._open.popitem(last=False)
        return found

    def _summary(self, path: Path) -> dict[str, Any] | None:
        """None for a file that is no graph, such as a model's weights, that cannot be read, or is gone by now."""
        try:
            stamp = _stamp(path)
            if stamp not in self._summaries:
                self._summaries[stamp] = _summary(path)
        except OSError:
            return None
        return self._summaries[stamp]


def _stamp(path: Path) -> Stamp:
    status = path.stat()
    return str(path), status.st_mtime_ns, status.st_size


def _summary(path: Path) -> dict[str, Any] | None:
    if path.suffix == JSON_SUFFIX:
        if path.stat().st_size == 0:
            return None
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
            is_graph = all(text.find(mark) >= 0 for mark in JSON_MARKS)
        return {"title": path.stem, "kind": "graph JSON", "file": path.name} if is_graph else None
    try:
        metadata, kind = load_metadata(path), file_kind(path)
    except OrreryError:
        return None
    title = metadata.prompt or path.stem
    names = {"model": metadata.model_name, "transcoder": metadata.transcoder_name}
    return {"title": title, "prompt": metadata.prompt, "kind": kind, "file": path.name, **names}


def _opened(slug: str, path: Path) -> OpenGraph:
    circuit = _read(path)
    graph = circuit.graph
    value = payload(circuit, slug=slug, budget=BUDGET)
    token_ids = tuple(map(int, graph.token_ids))
    return OpenGraph(path, value, graph.metadata, token_ids, graph.n_ignored_pos)


def _read(path: Path) -> Circuit:
    if path.suffix == JSON_SUFFIX:
        return read_graph_json(path)
    if file_kind(path) == "circuit":
        return load_circuit(path)
    return prune(load_graph(path), NODE_THRESHOLD, EDGE_THRESHOLD)
