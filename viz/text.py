"""Text in pictures: what is shown for a character that cannot be drawn, how wide a line is, and where it breaks."""

import unicodedata
from functools import lru_cache

__all__ = ["text_width", "visible", "visible_token", "wrap"]

# Advance widths of Helvetica (Arial and Liberation Sans agree) in thousandths of the font size, from Adobe's metrics.
_WIDTHS = {
    191: "'",
    222: "ijl",
    260: "|",
    278: " !,./:;I[\\]ft",
    333: "()-`r",
    334: "{}",
    355: '"',
    389: "*",
    469: "^",
    500: "Jckxsvyz",
    556: "#$0123456789?L_abdeghnopqu",
    584: "+<=>~",
    611: "FTZ",
    667: "&ABEKPSVXY",
    722: "CDHNRUw",
    778: "GOQ",
    833: "Mm",
    889: "%",
    944: "W",
    1015: "@",
}
_WIDTH_OF = {character: width for width, characters in _WIDTHS.items() for character in characters}
_SIGNS = {"\n": "↵", "\r": "␍", "\t": "⇥"}
_JOINER = "\u200d"
_BREAK_AFTER = tuple("-/,;:|_→")
_ELLIPSIS = "…"


def visible(text: str) -> str:
    r"""The text with line breaks, control and format characters written out, so that it is one line of valid XML.

    >>> print(visible("a\nb\x00"))
    a↵b\x00
    """
    return "".join(_visible_character(character) for character in text)


@lru_cache(maxsize=4096)
def _visible_character(character: str) -> str:
    if character in _SIGNS:
        return _SIGNS[character]
    if unicodedata.category(character).startswith("C") and character != _JOINER:
        code = ord(character)
        return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
    return " " if unicodedata.category(character) in ("Zl", "Zp") else character


def visible_token(token: str) -> str:
    """A token for people: the space that many tokenizers put before a word is dropped, a lone space is drawn.

    >>> visible_token(" Dallas"), visible_token(" "), visible_token("")
    ('Dallas', '␣', '(empty)')
    """
    text = visible(token.replace("▁", " "))
    if text.strip():
        return text.strip(" ")
    return "␣" * len(text) or "(empty)"


def text_width(text: str, font_size: float) -> float:
    """Width of one line in points, for Helvetica and the fonts made to its measure."""
    return sum(_character_width(character) for character in text) * font_size / 1000


@lru_cache(maxsize=4096)
def _character_width(character: str) -> int:
    if character in _WIDTH_OF:
        return _WIDTH_OF[character]
    if unicodedata.combining(character) or character == _JOINER:
        return 0
    base = unicodedata.normalize("NFD", character)[0]
    if base in _WIDTH_OF:
        return _WIDTH_OF[base]
    return 1000 if unicodedata.east_asian_width(character) in "WF" else 650


def wrap(text: str, font_size: float, max_width: float, max_lines: int) -> tuple[str, ...]:
    """The text in lines of at most `max_width` points; what does not fit in `max_lines` ends in an ellipsis.

    >>> wrap("Texas (city in Texas)", 10, 60, 2)
    ('Texas (city in', 'Texas)')
    """
    lines = [""]
    for piece in _pieces(text, font_size, max_width):
        if text_width((lines[-1] + piece).strip(), font_size) <= max_width:
            lines[-1] += piece
        else:
            lines.append(piece.lstrip())
    lines = [line.strip() for line in lines if line.strip()] or [""]
    if len(lines) <= max_lines:
        return tuple(lines)
    return (*lines[: max_lines - 1], _shortened(" ".join(lines[max_lines - 1 :]), font_size, max_width))


def _pieces(text: str, font_size: float, max_width: float) -> list[str]:
    """The text cut after spaces and some signs, and inside words that are wider than a line."""
    pieces = [""]
    for character in text:
        piece = pieces[-1]
        after_word = piece.endswith(" ") and character != " "
        after_sign = piece.endswith(_BREAK_AFTER) and not (character.isdigit() or character.isspace())
        if piece and (after_word or after_sign or text_width(piece.strip() + character, font_size) > max_width):
            pieces.append(character)
        else:
            pieces[-1] += character
    return pieces


def _shortened(text: str, font_size: float, max_width: float) -> str:
    while text and text_width(text + _ELLIPSIS, font_size) > max_width:
        text = text[:-1]
    return text.rstrip() + _ELLIPSIS
