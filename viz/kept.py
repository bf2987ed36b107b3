"""What every export starts from: a circuit."""

from circuits.graph import Graph
from circuits.pruning import Circuit, prune

__all__ = ["as_circuit"]


def as_circuit(graph: Graph | Circuit) -> Circuit:
    """A circuit as it is; a graph as the circuit that keeps everything with an influence on its targets."""
    return prune(graph, node_threshold=1.0, edge_threshold=1.0) if isinstance(graph, Graph) else graph
