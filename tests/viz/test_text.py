import xml.etree.ElementTree as ET

import pytest

from viz.text import text_width, visible, visible_token, wrap


def test_what_cannot_be_drawn_is_written_out():
    assert visible("a\nb\tc\r\x00\x1b\ud800") == "a↵b⇥c␍\\x00\\x1b\\ud800"


def test_ordinary_text_of_any_script_stays():
    text = 'Dallas, naïve 日本語 مرحبا <b>&amp;\\n "q" 👩‍🚀'
    assert visible(text) == text


def test_direction_overrides_cannot_turn_a_label_round():
    assert "\u202e" not in visible("safe\u202eexe")


@pytest.mark.parametrize("code", [*range(32), 0x7F, 0x85, 0x2028, 0x2029, 0xD800, 0xFFFE, 0xFFFF])
def test_visible_text_is_one_line_of_valid_xml(code):
    text = visible(f"a{chr(code)}b")
    assert len(text.splitlines()) == 1
    assert ET.fromstring(f"<t>{text}</t>").text == text


@pytest.mark.parametrize(
    ("token", "shown"),
    [(" Dallas", "Dallas"), ("▁Dallas", "Dallas"), (" ", "␣"), ("   ", "␣␣␣"), ("", "(empty)"), ("\n\n", "↵↵")],
)
def test_a_token_is_shown_without_its_leading_space(token, shown):
    assert visible_token(token) == shown


def test_width_follows_the_font_metrics():
    assert text_width("Ml", 1000) == 833 + 222
    assert text_width("é", 10) == text_width("e", 10)
    assert text_width("日", 10) == 10


@pytest.mark.parametrize(
    "text", ["Texas (city in Texas)", "x" * 300, "relation: capital/of-a_state", "日本語" * 30, ""]
)
@pytest.mark.parametrize("max_lines", [1, 2, 3])
def test_lines_fit(text, max_lines):
    lines = wrap(text, 10, 60, max_lines)
    assert 1 <= len(lines) <= max_lines
    assert all(text_width(line, 10) <= 60 for line in lines)


def test_a_text_that_fits_is_whole_and_one_that_does_not_says_so():
    assert wrap("Texas (city in Texas)", 10, 60, 2) == ("Texas (city in", "Texas)")
    assert wrap("a longer text about Texas and other states", 10, 60, 2)[-1].endswith("…")


def test_numbers_are_not_broken_at_their_minus_sign():
    assert wrap("Books close to 3.1e-07.", 10, 95, 2) == ("Books close to", "3.1e-07.")
