"""A folder that a page is served from: whether its files are there and say the same."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from circuits.graph_json.parsing import read_json_file
from replacement_model.evidence.folder import INDEX_NAME
from viz.exchange.checked import Checked, check_json
from viz.exchange.folder import METADATA_NAME
from viz.exchange.other_rules import check_index
from viz.exchange.violation import Findings, pointer

__all__ = ["Site"]


class Site:
    """A folder that a page is served from."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._found = folder, Findings()

    def checked(self) -> list[Checked]:
        """Every file, and then the folder."""
        index = next((path for path in self._indices() if path.is_file()), None)
        files = [path for path in sorted(self._folder.rglob("*.json")) if path.is_file()]
        reports = [check_json(path, read_json_file(path)) for path in files]
        entries: list[dict[str, Any]] = []
        if index is None:
            self._found.add("folder-index", "", METADATA_NAME, "no such file")
        else:
            entries = check_index(_object(read_json_file(index).value), Findings())
        for other in self._indices():
            if index is not None and other.is_file() and other.read_bytes() != index.read_bytes():
                name = _name(other, self._folder)
                self._found.add("folder-agrees", "", f"the list in {_name(index, self._folder)}", f"another in {name}")
        listed = [self._check_entry(k, entry) for k, entry in enumerate(entries)]
        for report in reports:
            if report.kind == "graph" and report.path not in listed:
                self._found.add("folder-unlisted", _name(report.path, self._folder), "an entry in the list", "none")
        return [*reports, Checked(self._folder, "folder", tuple(self._found.all()))]

    def _indices(self) -> Iterator[Path]:
        for part in ("", "data", "graph_data"):
            yield self._folder / part / METADATA_NAME

    def _check_entry(self, k: int, entry: Mapping[str, Any]) -> Path | None:
        """The file of a graph, if it is there and its name can be a file's."""
        slug, where = entry.get("slug"), pointer("graphs", k)
        scratch = Findings()
        check_index({"graphs": [entry]}, scratch)
        if any(one.rule in ("slug-characters", "index-required") for one in scratch.all()):
            return None
        places = [self._folder / part / f"{slug}.json" for part in ("graph_data", "")]
        path = next((path for path in places if _is_file(path)), None)
        if path is None:
            self._found.add("folder-graph", where, f"graph_data/{slug}.json", "no such file")
            return None
        value = _object(read_json_file(path).value)
        metadata = _object(value.get("metadata"))
        for key in ("slug", "scan", "prompt", "prompt_tokens"):
            holds = metadata.get(key) == entry.get(key)
            self._found.require(holds, "folder-agrees", f"{where}/{key}", f"what {path.name} has", entry.get(key))
        if not metadata.get("feature_details") and isinstance(entry.get("scan"), str):
            self._check_features(value, self._folder / "features" / entry["scan"], where)
        return path

    def _check_features(self, value: Mapping[str, Any], folder: Path, where: str) -> None:
        if "\0" in str(folder) or not folder.resolve().is_relative_to(self._folder.resolve()):
            return
        if _is_file(folder / INDEX_NAME):
            return
        nodes = value.get("nodes")
        features = {
            node["feature"]
            for node in (nodes if isinstance(nodes, list) else [])
            if isinstance(node, dict) and node.get("feature_type") == "cross layer transcoder" and "feature" in node
            if isinstance(node["feature"], int)
        }
        for feature in sorted(features):
            path = folder / f"{feature}.json"
            self._found.require(_is_file(path), "folder-features", where, _name(path, self._folder), "no such file")


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _name(path: Path, folder: Path) -> str:
    return str(path.relative_to(folder))


def _is_file(path: Path) -> bool:
    """Whether there is such a file; there is none under a name that no file can have."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False
