import re
import shutil
import subprocess
from pathlib import Path

import pytest

from circuits import Circuit, prune
from viz.figures.caption import graph_caption
from viz.figures.graph_figure import graph_figure
from viz.figures.style import COLUMN
from viz.figures.tikz import tikz

needs_latex = pytest.mark.skipif(
    shutil.which("pdflatex") is None or shutil.which("pdftotext") is None,
    reason="runs where pdfLaTeX and TikZ (texlive-latex-base, texlive-pictures) and poppler-utils are",
)
NASTY = ("<bos>", "a\\N b\\l", "50% $x^2$ #1", "{_&~}", "-- ``q''", "line\nbreak", "naïve Łódź", "日本 🙂", '"is"')
DOCUMENT = r"""\documentclass{article}
\usepackage{tikz}
\usepackage[paperwidth=3.25in,paperheight=9.5in,margin=0in]{geometry}
\pagestyle{empty}
\begin{document}
\noindent\input{figure.tex}
\clearpage
\begin{figure}\input{figure.caption.tex}\end{figure}
\end{document}
"""


@pytest.fixture(scope="module")
def nasty(make_graph) -> Circuit:
    features = [(0, k, f"{token} of {token}") for k, token in enumerate(NASTY) if k]
    return prune(make_graph(features, NASTY, n_layers=2), 1.0, 1.0)


def test_nodes_and_edges_are_all_there(texas: Circuit):
    figure = graph_figure(texas)
    source = tikz(figure)
    arrows = source.count("transparency group")
    assert arrows == len(figure.part.edges) + 2  # and the legend's
    for text in (r"\begin{tikzpicture}", "Austin", "p = 0.93", "Dallas", "raises", "lowers", r"\sffamily"):
        assert text in source, text
    assert source.count("dash pattern") == 1 + sum(edge.weight < 0 for edge in figure.part.edges)
    low, high = (float(x) for x in re.search(r"box \((-?[\d.]+),.*?rectangle \(([\d.]+),", source).groups())
    assert high - low == pytest.approx(72 * figure.width, abs=0.05)
    assert figure.width <= COLUMN + 0.001


def test_braces_balance_whatever_tokens_are(nasty: Circuit):
    source = tikz(graph_figure(nasty, font="serif")).replace("\\\\", "").replace(r"\{", "").replace(r"\}", "")
    assert source.count("{") == source.count("}")
    assert r"\rmfamily" in source
    assert not re.search(r"(?<!\\)#(?![12])", source)


@needs_latex
@pytest.mark.slow
def test_pdflatex_sets_it_at_its_size(nasty: Circuit, tmp_path: Path):
    figure = graph_figure(nasty)
    (tmp_path / "figure.tex").write_text(tikz(figure), encoding="utf-8")
    (tmp_path / "figure.caption.tex").write_text(graph_caption(figure).latex(), encoding="utf-8")
    (tmp_path / "document.tex").write_text(DOCUMENT, encoding="utf-8")
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "document.tex"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        errors="replace",
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert "Overfull" not in done.stdout.split("[1")[0]
    text = subprocess.run(["pdftotext", "document.pdf", "-"], cwd=tmp_path, capture_output=True, text=True).stdout
    for word in ("Austin", "raises", "50%", "U+65E5", "line"):
        assert word in text, word
