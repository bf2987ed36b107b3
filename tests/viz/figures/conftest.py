from collections.abc import Callable
from itertools import chain, combinations

import pytest
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from viz.figures.style import PaperFigure, paper_style


def find_faults(figure: PaperFigure) -> list[str]:
    """Text that leaves the figure, and tick labels of one axis that touch."""
    canvas = FigureCanvasAgg(figure)
    with paper_style(figure.font):
        canvas.draw()
    renderer = canvas.get_renderer()

    def box(text: Text) -> Bbox:
        return text.get_window_extent(renderer)

    ticks = {axis: axis.get_ticklabels() for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)}
    every_tick = {id(label) for labels in ticks.values() for label in labels}
    drawn = {axis: _in_view(axis, labels) for axis, labels in ticks.items()}
    others = [text for text in figure.findobj(Text) if id(text) not in every_tick]
    texts = [text for text in (*others, *chain(*drawn.values())) if text.get_visible() and text.get_text()]
    page = figure.bbox.padded(0.01)
    faults = [
        f"{text.get_text()!r} leaves the figure"
        for text in texts
        if box(text).x0 < page.x0 or box(text).y0 < page.y0 or box(text).x1 > page.x1 or box(text).y1 > page.y1
    ]
    for labels in drawn.values():
        pairs = combinations(labels, 2)
        faults += [f"{a.get_text()!r} touches {b.get_text()!r}" for a, b in pairs if box(a).overlaps(box(b))]
    return faults + [f"{text.get_text()!r} is {text.get_fontsize()} pt" for text in texts if text.get_fontsize() < 5]


def _in_view(axis: Axis, labels: list[Text]) -> list[Text]:
    low, high = sorted(axis.get_view_interval())
    places = zip(labels, axis.get_ticklocs(), strict=True)
    return [label for label, at in places if low <= at <= high and label.get_text() and label.get_visible()]


@pytest.fixture(scope="session")
def faults() -> Callable[[PaperFigure], list[str]]:
    return find_faults
