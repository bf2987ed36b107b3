from .attribution import attribute
from .faithfulness.check import Check, Checks, CheckSettings, check_circuits
from .graph import Books, Graph, GraphMetadata, Target
from .graph_file import load_circuit, load_graph, save_circuit, save_graph
from .graph_json.reading import read_graph_json
from .layout import Layout
from .paths import strongest_features, strongest_paths
from .pruning import Circuit, prune
from .supernodes.automatic import find_groups
from .supernodes.file import load_grouping, save_grouping
from .supernodes.grouped import GroupedCircuit, group, prune_groups
from .supernodes.grouping import Group, Grouping
from .targets import DifferenceTarget, DirectionTarget, FeatureTarget, SalientLogits, TokenTarget

__all__ = [
    "Books",
    "Check",
    "CheckSettings",
    "Checks",
    "Circuit",
    "DifferenceTarget",
    "DirectionTarget",
    "FeatureTarget",
    "Graph",
    "GraphMetadata",
    "Group",
    "GroupedCircuit",
    "Grouping",
    "Layout",
    "SalientLogits",
    "Target",
    "TokenTarget",
    "attribute",
    "check_circuits",
    "find_groups",
    "group",
    "load_circuit",
    "load_graph",
    "load_grouping",
    "prune",
    "prune_groups",
    "read_graph_json",
    "save_circuit",
    "save_graph",
    "save_grouping",
    "strongest_features",
    "strongest_paths",
]
