import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from functools import cache
from itertools import combinations
from pathlib import Path

import pytest
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath

from circuits import Circuit, Graph, Group, Grouping, group, prune
from replacement_model.errors import InputError
from viz.figures.graph_figure import GraphFigure, graph_figure, pinned_figure
from viz.figures.style import COLUMN, TEXT, installed

needs_graphviz = pytest.mark.skipif(shutil.which("neato") is None, reason="runs where Graphviz is installed")
needs_poppler = pytest.mark.skipif(shutil.which("pdffonts") is None, reason="runs where poppler's programs are")
SVG = "{http://www.w3.org/2000/svg}"
PAGE_HEIGHT = 9.0


@pytest.fixture(scope="module")
def forty(make_random) -> Circuit:
    """A circuit that is drawn with 40 nodes, at all of ten positions."""
    return prune(make_random(60, seed=3), 0.97, 0.98)


@pytest.fixture(scope="module")
def column(forty: Circuit) -> GraphFigure:
    return graph_figure(forty, width=COLUMN, max_nodes=28)


@pytest.fixture(scope="module")
def column_svg(column: GraphFigure) -> ET.Element:
    return ET.fromstring(column.drawn("svg"))


@needs_graphviz
def test_a_graph_of_forty_nodes_fits_a_column_and_can_be_read(column: GraphFigure, column_svg: ET.Element):
    assert len(column.part.nodes) == 40
    width, height = (float(column_svg.attrib[name].removesuffix("pt")) / 72 for name in ("width", "height"))
    assert width == pytest.approx(COLUMN, abs=0.02)
    assert height < PAGE_HEIGHT
    assert column.smallest_type >= 5
    assert column.is_readable
    drawing = column_svg.find(f"{SVG}g")
    scale = float(re.search(r"scale\(([\d.]+)", drawing.attrib["transform"])[1])
    corners = [tuple(map(float, point.split(","))) for point in drawing.find(f"{SVG}polygon").attrib["points"].split()]
    assert scale * (max(x for x, _ in corners) - min(x for x, _ in corners)) == pytest.approx(72 * width, abs=0.5)
    drawn = [scale * float(text.attrib["font-size"]) for text in column_svg.iter(f"{SVG}text")]
    assert min(drawn) >= 5 * 0.99


@needs_graphviz
def test_lines_keep_their_length_where_the_font_is_absent(column_svg: ET.Element):
    texts = list(column_svg.iter(f"{SVG}text"))
    assert len(texts) > 40
    for text in texts:
        (left, right), size = text_extent(text), float(text.attrib["font-size"])
        assert float(text.attrib["textLength"]) == pytest.approx(right - left, abs=0.3 * size), text.text  # ink is less
        assert text.attrib["font-family"].startswith("Arial, Helvetica")


@cache
def ink(text: str, size: float, weight: str) -> float:
    prop = FontProperties(family=list(installed("sans")), size=size, weight=weight)
    return TextPath((0, 0), text, prop=prop, usetex=False).get_extents().width


def text_extent(text: ET.Element) -> tuple[float, float]:
    """Left and right end, measured with the font itself."""
    width = ink(
        text.text.replace("\xa0", " "), float(text.attrib["font-size"]), text.attrib.get("font-weight", "normal")
    )
    x = float(text.attrib["x"])
    return (x, x + width) if text.attrib["text-anchor"] == "start" else (x - width / 2, x + width / 2)


@needs_graphviz
def test_no_text_leaves_its_box_or_the_picture(column_svg: ET.Element):
    frame = column_svg.find(f"{SVG}g/{SVG}polygon")
    corners = [tuple(map(float, point.split(","))) for point in frame.attrib["points"].split()]
    low, high = min(x for x, _ in corners), max(x for x, _ in corners)
    checked = 0
    for node in column_svg.iter(f"{SVG}g"):
        if node.attrib.get("class") != "node":
            continue
        shapes = [
            shape.attrib.get("d") or shape.attrib["points"]
            for shape in node.iter()
            if shape.tag != f"{SVG}text" and ("d" in shape.attrib or "points" in shape.attrib)
        ]
        xs = [float(x) for shape in shapes for x in re.findall(r"(-?[\d.]+),-?[\d.]+", shape)]
        for text in node.iter(f"{SVG}text"):
            left, right = text_extent(text)
            assert low <= left, text.text
            assert right <= high, text.text
            if xs:
                assert min(xs) - 0.5 <= left, text.text
                assert right <= max(xs) + 0.5, text.text
                checked += 1
    assert checked >= 40


@needs_graphviz
@needs_poppler
def test_a_pdf_is_as_wide_as_the_column_and_its_text_is_text(column: GraphFigure, tmp_path: Path):
    path = tmp_path / "figure.pdf"
    path.write_bytes(column.drawn("pdf"))
    size = subprocess.run(["pdfinfo", path], capture_output=True, text=True, check=True).stdout
    assert float(re.search(r"Page size: +([\d.]+)", size)[1]) == pytest.approx(72 * COLUMN, abs=1)
    fonts = subprocess.run(["pdffonts", path], capture_output=True, text=True, check=True).stdout
    assert re.search(r"(TrueType|CID|Type 1C).* yes yes", fonts)
    assert "Type 3" not in fonts
    text = subprocess.run(["pdftotext", path, "-"], capture_output=True, text=True, check=True).stdout
    assert "Austin" in text
    assert "raises" in text


def test_what_has_no_room_in_columns_names_its_token(forty: Circuit, column: GraphFigure, texas: Circuit):
    assert not column.has_columns
    tokens = {box.node: box.caption for box in column.plan.boxes.values() if box.kind == "feature"}
    for node, caption in tokens.items():
        token = forty.graph.tokens[forty.graph.node_attributes(node)["pos"]]
        assert caption.startswith("@")
        assert token.startswith(caption[1:].rstrip("…"))
    assert graph_figure(texas).has_columns


def test_the_wider_the_larger(texas: Circuit):
    narrow, wide = graph_figure(texas, width=2.0), graph_figure(texas, width=TEXT)
    assert narrow.smallest_type < wide.smallest_type
    assert narrow.width == pytest.approx(2.0)
    assert wide.width <= TEXT + 0.01


def test_type_is_never_larger_than_8_points(make_graph):
    figure = graph_figure(prune(make_graph([(0, 1, "a")], ("<bos>", "is"), n_layers=2), 1.0, 1.0), width=TEXT)
    assert figure.smallest_type <= 8
    assert figure.width < TEXT


def test_kinds_and_signs_need_no_colour(texas_graph: Graph):
    """Each pair of kinds differs in its border, each sign in its line; shapes and grey levels are those of print."""
    layout = texas_graph.layout
    source = pinned_figure(texas_graph, [*range(layout.n_features), layout.error_node(2, 9)]).picture().source
    nodes = re.findall(r"^\tn\d+ \[label=.*$", source, re.M)
    borders = {(*re.findall(r'style="?([\w,]+)', node), *re.findall(r"penwidth=([\d.]+)", node)) for node in nodes}
    assert borders == {(), ("filled,rounded",), ("filled,dashed", "0.6"), ("filled,rounded", "1.4")}
    signs = {
        (re.search(r'color="(#\w{6})', edge)[1], re.search(r"style=(\w+)", edge)[1])
        for edge in re.findall(r"^\tn\d+ -> n\d+ .*$", source, re.M)
    }
    assert signs == {("#0072B2", "solid"), ("#D55E00", "dashed")}


def test_supernodes_are_one_box(texas: Circuit):
    members = [node for node in range(texas.graph.layout.n_features) if texas.node_mask[node]][:3]
    grouped = group(texas, Grouping((Group("my group", tuple(members)),)))
    figure = graph_figure(grouped)
    assert "my group" in figure.picture().source
    assert figure.source is texas
    assert len(figure.part.captions) == 1


def test_pinned_nodes_are_drawn_and_no_others(texas: Circuit):
    layout = texas.graph.layout
    features = [node for node in range(layout.n_features) if texas.node_mask[node]][-2:]
    figure = pinned_figure(texas, [*features, layout.error_node(3, 9)])
    kinds = [layout.kind(node) for node in figure.part.nodes]
    assert kinds.count("feature") == 2
    assert kinds.count("error") == 1
    assert kinds.count("target") == 1
    drawn = {(edge.source, edge.target): edge.weight for edge in figure.part.edges}
    square = texas.graph.to_scipy().toarray()
    for source, target in combinations(sorted(figure.part.nodes), 2):
        for pair in ((source, target), (target, source)):
            if pair in drawn:
                assert drawn[pair] == square[pair[1], pair[0]] != 0
    assert (features[-1], layout.target_nodes.start) in drawn


def test_a_pinned_target_is_drawn_alone(texas: Circuit):
    second = texas.graph.layout.target_nodes.start + 1
    figure = pinned_figure(texas, [0, second])
    assert [node for node in figure.part.nodes if node >= texas.graph.layout.target_nodes.start] == [second]
    assert second in figure.plan.boxes


def test_equal_input_gives_equal_figures(texas: Circuit):
    assert graph_figure(texas, max_nodes=5).picture().source == graph_figure(texas, max_nodes=5).picture().source


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (lambda c: graph_figure(c, width=0.5), "expected a width of 1 inch or more"),
        (lambda c: graph_figure(c, max_nodes=0), "at least 1 node and edge, got 3.25, 0 and None"),
        (lambda c: pinned_figure(c, []), "expected nodes of the graph, got"),
        (lambda c: pinned_figure(c, [0, 10**6]), "got .1000000.; choose some of 0 to"),
    ],
)
def test_bad_input(texas: Circuit, act, words: str):
    with pytest.raises(InputError, match=words):
        act(texas)


def test_many_layers_make_a_figure_higher_before_they_make_type_tiny(make_random):
    deep = prune(make_random(50, n_layers=26, tokens=[f"tok{i}" for i in range(40)]), 0.8)
    figure = graph_figure(deep, max_nodes=36)
    assert figure.plan.height * figure.scale / 72 > 5
    assert figure.smallest_type >= 4
