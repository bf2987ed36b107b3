from .markdown import code, plain
from .report import FigurePart, Report, Section, Table, Text, write_report

__all__ = ["FigurePart", "Report", "Section", "Table", "Text", "code", "plain", "write_report"]
