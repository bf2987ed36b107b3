from .dot import graphviz

__all__ = ["graphviz"]
