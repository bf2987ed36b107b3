"""Supernodes as a file of their own, `supernodes.json`, which people, the command line and viewers edit.

    {"schema_version": 1, "prompt": "...", "transcoder": "...", "supernodes": [["a label", "2_1440_8", ...], ...]}

The list is what graph JSON holds as `qParams.supernodes`, with the same node ids (`circuits.node_names`), so it can be
copied either way, and `load_grouping` reads both files. Other keys are for people and are not read.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from circuits.graph import Graph
from circuits.node_names import node_names
from circuits.supernodes.grouping import Group, Grouping
from replacement_model.errors import GraphFileError, InputError
from replacement_model.formats.files import atomic_path

__all__ = ["SCHEMA_VERSION", "load_grouping", "named_groups", "parse_groups", "save_grouping"]

SCHEMA_VERSION = 1


def named_groups(grouping: Grouping, graph: Graph) -> list[list[str]]:
    """Each supernode as its label and the ids of its nodes: `qParams.supernodes` of graph JSON."""
    names = node_names(graph)
    return [[group.label, *(names[node] for node in group.nodes)] for group in grouping]


def parse_groups(rows: Sequence[Any], graph: Graph) -> Grouping:
    """The supernodes that such rows name.

    Raises:
        InputError: a row is not a label and node ids, a node is not in the graph, or is given twice.
    """
    number = {name: node for node, name in enumerate(node_names(graph))}
    groups = []
    for row in rows:
        if isinstance(row, str) or not row or not all(isinstance(value, str) for value in row):
            raise InputError(f"expected each supernode as a list of its label and node ids, got {row!r}")
        label, *ids = row
        unknown = [name for name in ids if name not in number]
        if unknown:
            advice = "is it from another graph? ids are those of the graph's JSON, such as 2_1440_8"
            raise InputError(f"supernode {label!r} has node {unknown[0]!r}, which the graph does not have; {advice}")
        groups.append(Group(label, tuple(number[name] for name in ids)))
    return Grouping(tuple(groups))


def save_grouping(grouping: Grouping, graph: Graph, path: str | Path, facts: Mapping[str, Any] | None = None) -> None:
    """Write `supernodes.json`: one line for each supernode, equal bytes for equal input, all of it or nothing.

    Args:
        grouping: supernodes of `graph`.
        graph: for the ids of nodes.
        path: the file.
        facts: what else to tell the reader, such as how they were found; plain values.

    Raises:
        InputError: the file cannot be written.
    """
    metadata = graph.metadata
    head = {"schema_version": SCHEMA_VERSION, "prompt": metadata.prompt, "transcoder": metadata.transcoder_name}
    pairs = [f"{_json(key)}: {_json(value)}" for key, value in (head | dict(facts or {})).items()]
    rows = ",\n".join(f"  {_json(row)}" for row in named_groups(grouping, graph))
    text = "{" + ",\n".join([*pairs, f'"supernodes": [\n{rows}\n]']) + "}\n"
    with atomic_path(Path(path)) as temporary:
        temporary.write_text(text, encoding="utf-8")


def load_grouping(path: str | Path, graph: Graph) -> Grouping:
    """Read `supernodes.json`, or the supernodes of a graph JSON.

    Raises:
        InputError: there is no such file, or its supernodes are not of this graph.
        GraphFileError: it is no such file, or of another schema.
    """
    place = Path(path)
    if not place.is_file():
        raise InputError(f"expected supernodes at {place}, found no file; write one with `orrery group GRAPH -o FILE`")
    try:
        content = json.loads(place.read_text(encoding="utf-8"))
        rows = _rows(content)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise GraphFileError(
            f"{place} holds no supernodes ({type(error).__name__}: {reason}); see docs/supernodes.md"
        ) from error
    return parse_groups(rows, graph)


def _rows(content: Any) -> Sequence[Any]:
    if "qParams" in content:
        rows = content["qParams"].get("supernodes", [])
    elif content["schema_version"] == SCHEMA_VERSION:
        rows = content["supernodes"]
    else:
        raise ValueError(f"schema_version is {content['schema_version']!r}, expected {SCHEMA_VERSION}")
    if not isinstance(rows, list):
        raise TypeError(f"supernodes is a {type(rows).__name__}, expected a list")
    return rows


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
