from .dot import graphviz
from .frontend_json import graph_json, write_graph_json
from .frontend_rules import validate_graph_json
from .overview import summary, summary_dict
from .picture import Picture
from .tabular import graphml, tables

__all__ = [
    "Picture",
    "graph_json",
    "graphml",
    "graphviz",
    "summary",
    "summary_dict",
    "tables",
    "validate_graph_json",
    "write_graph_json",
]
