from .style import COLUMN, TEXT, figure_bytes, new_figure, paper_style, save_figure

__all__ = ["COLUMN", "TEXT", "figure_bytes", "new_figure", "paper_style", "save_figure"]
