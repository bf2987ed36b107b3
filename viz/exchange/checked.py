"""One JSON file checked: what it was taken for, and what is wrong with it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from circuits.graph_json.parsing import JsonFile
from viz.exchange.graph_rules import check_graph
from viz.exchange.other_rules import check_feature, check_index, check_supernodes
from viz.exchange.violation import Findings, Violation

__all__ = ["Checked", "check_json"]

KINDS = {"graph": "nodes and links", "index": "graphs", "feature": "examples_quantiles", "supernodes": "supernodes"}


@dataclass(frozen=True, slots=True)
class Checked:
    """A file or folder, what it was taken for, and what is wrong with it."""

    path: Path
    kind: str
    violations: tuple[Violation, ...]

    @property
    def n_errors(self) -> int:
        return sum(1 + one.hidden for one in self.violations if one.level == "error")

    @property
    def n_warnings(self) -> int:
        return sum(1 + one.hidden for one in self.violations if one.level == "warning")


def check_json(path: Path, file: JsonFile) -> Checked:
    """Check a file by what it holds."""
    found, value = Findings(), file.value
    kind = _kind(value)
    for word in file.constants:
        found.add("json-constants", "", "numbers that JSON has", word)
    if kind == "graph":
        check_graph(value, file.n_bytes, found)
    elif kind == "index":
        check_index(value, found)
    elif kind == "feature":
        check_feature(value, path.stem, found)
    elif kind == "supernodes":
        check_supernodes(value, found)
    else:
        expected = "; or ".join(f"{keys} ({name})" for name, keys in KINDS.items())
        found.add("file-kind", "", f"an object with {expected}", value)
    return Checked(path, kind, tuple(found.all()))


def _kind(value: Any) -> str:
    """What a file is meant to be, by its keys; `unknown` if nothing fits."""
    if not isinstance(value, dict):
        return "unknown"
    if "nodes" in value or "links" in value or ("metadata" in value and "qParams" in value):
        return "graph"
    if "graphs" in value:
        return "index"
    if "supernodes" in value:
        return "supernodes"
    return "feature" if "examples_quantiles" in value or "index" in value else "unknown"
