from .attribution import attribute
from .graph import Books, Graph, GraphMetadata, Target
from .graph_file import load_circuit, load_graph, save_circuit, save_graph
from .layout import Layout
from .paths import strongest_features, strongest_paths
from .pruning import Circuit, prune
from .targets import DifferenceTarget, DirectionTarget, FeatureTarget, SalientLogits, TokenTarget

__all__ = [
    "Books",
    "Circuit",
    "DifferenceTarget",
    "DirectionTarget",
    "FeatureTarget",
    "Graph",
    "GraphMetadata",
    "Layout",
    "SalientLogits",
    "Target",
    "TokenTarget",
    "attribute",
    "load_circuit",
    "load_graph",
    "prune",
    "save_circuit",
    "save_graph",
    "strongest_features",
    "strongest_paths",
]
