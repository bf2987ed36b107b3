"""Graph and circuit files as inputs of commands, and the thresholds that they are pruned at."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from circuits import Circuit

__all__ = ["EDGE_THRESHOLD", "NODE_THRESHOLD", "POCKET", "open_circuit"]

NODE_THRESHOLD, EDGE_THRESHOLD = 0.8, 0.98
POCKET = {"pocket-clt": "clt", "pocket-plt": "plt"}
"""What `--transcoder` calls the pocket model's transcoders, by their names in graphs."""


def open_circuit(path: Path, node_threshold: float | None, edge_threshold: float | None) -> "Circuit":
    """The circuit in a file as it was pruned; pruned anew if a threshold is given, or if the file holds a graph alone.

    Raises:
        InputError: no such file.
        GraphFileError: it is damaged, or no graph.
    """
    from circuits import load_circuit, load_graph, prune
    from circuits.graph_file import file_kind

    if node_threshold is None and edge_threshold is None and file_kind(path) == "circuit":
        return load_circuit(path)
    return prune(
        load_graph(path),
        node_threshold=NODE_THRESHOLD if node_threshold is None else node_threshold,
        edge_threshold=EDGE_THRESHOLD if edge_threshold is None else edge_threshold,
    )
