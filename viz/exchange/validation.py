"""Files checked against every rule of graph JSON: one file of any kind, or a folder that a page is served from."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from circuits.graph_file import file_kind, load_circuit, load_graph
from circuits.graph_json.parsing import read_json_file
from replacement_model.errors import GraphFileError, InputError, OrreryError
from replacement_model.evidence.folder import INDEX_NAME, EvidenceFolder
from viz.exchange.checked import Checked, check_json
from viz.exchange.encoding import encoded
from viz.exchange.graph_rules import check_graph
from viz.exchange.site import Site
from viz.exchange.violation import Findings, Violation

__all__ = ["validate", "validate_graph_json"]


def validate_graph_json(value: Any, n_bytes: int | None = None) -> list[Violation]:
    """Check a graph file's content against every rule.

    Args:
        value: what `json.load` returned.
        n_bytes: the size of the file; as `write_graph_json` would write it when None.

    Returns:
        What breaks a rule, errors first, of each rule at most 20 with the number of others; empty when all is well.

    Example:
        >>> [str(one) for one in validate_graph_json([])]
        ['top-types at /: expected an object, got a list with 0 entries; write it as that type']
    """
    found = Findings()
    if found.require(isinstance(value, dict), "top-types", "", "an object", value):
        check_graph(value, len(encoded(value)) if n_bytes is None else n_bytes, found)
    return found.all()


def validate(path: str | Path) -> list[Checked]:
    """Check a file by what it holds, or a folder with all of its files.

    Args:
        path: graph JSON, `graph-metadata.json`, a feature file, `supernodes.json`, a `.safetensors` graph or circuit of
            our own, a folder to serve, or what `orrery features collect` wrote.

    Returns:
        One entry a file, for a folder also one about how its files fit together.

    Raises:
        InputError: there is no such file.
        GraphFileError: a file is not JSON.

    Example:
        [str(violation) for checked in validate("site") for violation in checked.violations]
    """
    place = Path(path)
    if place.is_dir():
        return _evidence(place) if (place / INDEX_NAME).is_file() else Site(place).checked()
    if place.suffix == ".safetensors":
        return [_own(place)]
    return [check_json(place, read_json_file(place))]


def _own(path: Path) -> Checked:
    """A graph or circuit of our own, by the checks of its loader."""
    if not path.is_file():
        raise InputError(f"expected a file at {path}, found none; check the path")
    try:
        kind = file_kind(path)
    except GraphFileError as error:
        return _checked_by(path, "graph", error)
    return _attempted(path, kind, lambda: (load_circuit if kind == "circuit" else load_graph)(path))


def _evidence(folder: Path) -> list[Checked]:
    """What `orrery features collect` wrote: its index, and every record."""

    def read_all() -> None:
        evidence = EvidenceFolder(folder)
        for key in list(evidence.keys()):
            evidence.get(*key)

    return [_attempted(folder, "features", read_all)]


def _attempted(path: Path, kind: str, read: Callable[[], object]) -> Checked:
    try:
        read()
    except OrreryError as error:
        return _checked_by(path, kind, error)
    return Checked(path, kind, ())


def _checked_by(path: Path, kind: str, error: OrreryError) -> Checked:
    found = Findings()
    found.add("file-check", "", f"a {kind} that can be loaded", str(error).removeprefix(f"{path} ")[:400])
    return Checked(path, kind, tuple(found.all()))
