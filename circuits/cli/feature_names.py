"""Features as people name them on the command line, and those of a graph file."""

import re
from collections.abc import Sequence
from pathlib import Path

from replacement_model.errors import InputError

__all__ = ["chosen_features", "parse_feature"]

NAME = re.compile(r"\s*(\d+)\s*[/:]\s*(\d+)\s*")


def parse_feature(name: str) -> tuple[int, int]:
    """(layer, feature_idx) from `LAYER/INDEX`.

    >>> parse_feature("3/1234")
    (3, 1234)

    Raises:
        InputError: it is written otherwise.
    """
    found = NAME.fullmatch(name)
    if found is None:
        raise InputError(f"expected a feature as LAYER/INDEX, such as 3/1234, got {name!r}")
    return int(found[1]), int(found[2])


def chosen_features(names: Sequence[str], graph: Path | None) -> list[tuple[int, int]] | None:
    """The features that are named and those of a graph or circuit file, sorted; None if neither is given.

    Raises:
        InputError: a name is wrong, or there is no such file.
        GraphFileError: it holds no graph.
    """
    if not names and graph is None:
        return None
    found = {parse_feature(name) for name in names}
    if graph is not None:
        found |= _features_of(graph)
    return sorted(found)


def _features_of(path: Path) -> set[tuple[int, int]]:
    """Those of a graph; of a circuit, those that were kept."""
    from circuits import load_circuit, load_graph
    from circuits.graph_file import file_kind

    if file_kind(path) == "graph":
        return {(int(layer), int(idx)) for layer, _, idx in load_graph(path).features.tolist()}
    circuit = load_circuit(path)
    kept = circuit.node_mask[circuit.graph.layout.feature_nodes]
    return {(int(layer), int(idx)) for layer, _, idx in circuit.graph.features[kept].tolist()}
