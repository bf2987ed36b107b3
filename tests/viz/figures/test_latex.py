import pytest

from viz.figures.latex import latex


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("50% of a_b & #1", r"50\% of a\_b \& \#1"),
        ("\\x{y}$", r"\textbackslash{}x\{y\}\$"),
        ("~^", r"\textasciitilde{}\textasciicircum{}"),
        ("é ñ ü ç ï Å", r"\'{e} \~{n} \"{u} \c{c} \"{\i} \r{A}"),
        ("a → b…", r"a \ensuremath{\rightarrow} b\ldots{}"),
        ("--''", "{-}{-}{'}{'}"),
        ("日", r"\ifdefined\Umathcode 日\else U+65E5\fi{}"),
        ("<bos>", r"\ensuremath{<}bos\ensuremath{>}"),
    ],
)
def test_what_latex_would_misread_is_escaped(text: str, expected: str):
    assert latex(text) == expected


def test_every_ascii_character_has_a_form():
    for code in range(32, 127):
        assert latex(chr(code))
        if chr(code).isalnum():
            assert latex(chr(code)) == chr(code)
