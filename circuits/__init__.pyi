from .attribution import attribute
from .graph import Books, Graph, GraphMetadata, Target
from .graph_file import load_circuit, load_graph, save_circuit, save_graph
from .layout import Layout
from .pruning import Circuit, prune

__all__ = [
    "Books",
    "Circuit",
    "Graph",
    "GraphMetadata",
    "Layout",
    "Target",
    "attribute",
    "load_circuit",
    "load_graph",
    "prune",
    "save_circuit",
    "save_graph",
]
