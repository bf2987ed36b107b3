"""Text of any characters as LaTeX that pdfLaTeX, XeLaTeX and LuaLaTeX can set."""

import unicodedata

__all__ = ["latex"]

_SIGNS = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\ensuremath{<}",
    ">": r"\ensuremath{>}",
    "|": r"\ensuremath{|}",
    # Every font encoding has these; and two hyphens or quotes do not join.
    '"': r"\char34{}",
    "'": "{'}",
    "-": "{-}",
    "`": r"\char96{}",
    "→": r"\ensuremath{\rightarrow}",
    "−": r"\ensuremath{-}",
    "×": r"\ensuremath{\times}",
    "·": r"\ensuremath{\cdot}",
    "…": r"\ldots{}",
    "–": "--",
    "—": "---",
    "‘": "`",
    "’": "'",
    "“": "``",
    "”": "''",
    "␣": r"\textvisiblespace{}",
    "↵": r"\ensuremath{\hookleftarrow}",
    "⇥": r"\ensuremath{\mapsto}",
    "\u00a0": "~",
    "ß": r"\ss{}",
    "æ": r"\ae{}",
    "Æ": r"\AE{}",
    "ø": r"\o{}",
    "Ø": r"\O{}",
    "œ": r"\oe{}",
    "Œ": r"\OE{}",
    "ł": r"\l{}",
    "Ł": r"\L{}",
    "ı": r"\i{}",
}
_ACCENTS = {
    "\u0300": "`",
    "\u0301": "'",
    "\u0302": "^",
    "\u0303": "~",
    "\u0304": "=",
    "\u0306": "u",
    "\u0307": ".",
    "\u0308": '"',
    "\u030a": "r",
    "\u030b": "H",
    "\u030c": "v",
    "\u0323": "d",
    "\u0327": "c",
}


def latex(text: str) -> str:
    r"""Text with everything that LaTeX would read otherwise escaped.

    Letters with accents are written with commands. What pdfLaTeX has no letter for is left to XeLaTeX and LuaLaTeX,
    and is written as its code point by pdfLaTeX.

    >>> print(latex("50% of é"))
    50\% of \'{e}
    """
    return "".join(_character(character) for character in text)


def _character(character: str) -> str:
    if character in _SIGNS:
        return _SIGNS[character]
    if " " <= character <= "~":
        return character
    parts = unicodedata.normalize("NFD", character)
    base, mark = parts[0], parts[1:]
    if mark in _ACCENTS and base.isascii() and base.isalpha():
        letter = {"i": r"\i", "j": r"\j"}.get(base, base)
        return rf"\{_ACCENTS[mark]}{{{letter}}}"
    return rf"\ifdefined\Umathcode {character}\else U+{ord(character):04X}\fi{{}}"
