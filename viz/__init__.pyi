from .dot import graphviz
from .exchange.validation import validate, validate_graph_json
from .exchange.violation import Violation
from .frontend_json import graph_json, write_graph_json
from .group_overview import group_summary, group_summary_dict
from .notebook import show
from .overview import summary, summary_dict
from .picture import Picture
from .tabular import graphml, tables
from .viewer.annotations import Annotations, load_annotations, save_annotations
from .viewer.merging import merge_annotations
from .viewer.page import page

__all__ = [
    "Annotations",
    "Picture",
    "Violation",
    "graph_json",
    "graphml",
    "graphviz",
    "group_summary",
    "group_summary_dict",
    "load_annotations",
    "merge_annotations",
    "page",
    "save_annotations",
    "show",
    "summary",
    "summary_dict",
    "tables",
    "validate",
    "validate_graph_json",
    "write_graph_json",
]
