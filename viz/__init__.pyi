from .dot import graphviz
from .exchange.validation import validate, validate_graph_json
from .exchange.violation import Violation
from .frontend_json import graph_json, write_graph_json
from .group_overview import group_summary, group_summary_dict
from .overview import summary, summary_dict
from .picture import Picture
from .tabular import graphml, tables

__all__ = [
    "Picture",
    "Violation",
    "graph_json",
    "graphml",
    "graphviz",
    "group_summary",
    "group_summary_dict",
    "summary",
    "summary_dict",
    "tables",
    "validate",
    "validate_graph_json",
    "write_graph_json",
]
