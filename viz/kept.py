"""What every export starts from: a circuit."""

from circuits.graph import Graph
from circuits.pruning import Circuit, prune
from circuits.supernodes.grouped import GroupedCircuit
from circuits.supernodes.grouping import Grouping

__all__ = ["as_circuit", "grouping_of"]


def as_circuit(graph: Graph | Circuit | GroupedCircuit) -> Circuit:
    """A circuit as it is, or that of its supernodes; a graph as the circuit that keeps everything with an influence."""
    if isinstance(graph, GroupedCircuit):
        return graph.circuit
    return prune(graph, node_threshold=1.0, edge_threshold=1.0) if isinstance(graph, Graph) else graph


def grouping_of(graph: Graph | Circuit | GroupedCircuit) -> Grouping:
    """The supernodes of a grouped circuit; none of anything else."""
    return graph.grouping if isinstance(graph, GroupedCircuit) else Grouping(())
