"""Names are shown with nothing in them that acts on who shows them."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.text import escape_text, escape_values

HARMLESS = ["met1", "café", "µm²", "上層", "a b", "<script>", "back\\slash", ""]


@given(st.text(alphabet=st.characters(exclude_categories=())))
def test_nothing_is_left_that_acts(text: str) -> None:
    shown = escape_text(text)
    assert not {unicodedata.category(c) for c in shown} & {"Cc", "Cf", "Cs", "Zl", "Zp", "Co", "Cn"}
    assert shown == escape_text(shown)
    shown.encode()


@pytest.mark.parametrize("text", HARMLESS)
def test_plain_text_stays(text: str) -> None:
    assert escape_text(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31m", r"\x1b[31m"), ("\x9b", r"\x9b"), ("\x7f\0\a", r"\x7f\x00\x07"),
        ("\u202e\u2066\u200f", r"\u202e\u2066\u200f"), ("\u2028", r"\u2028"),
        ("\udce9\ud800", r"\xe9\ud800"), ("\U000e0001", r"\U000e0001"), ("a\nb", r"a\nb"),
    ],
)  # fmt: skip
def test_each_kind_is_escaped(text: str, shown: str) -> None:
    assert escape_text(text) == shown


def test_line_breaks_of_an_output_may_stay() -> None:
    assert escape_text("a\r\n\x1b", keep="\n") == "a\\r\n\\x1b"


def test_values_of_any_depth() -> None:
    values = {"a\x07": [1, ("\x1b", Path("b\udcff"))], "c": None}
    assert escape_values(values) == {r"a\x07": [1, (r"\x1b", r"b\xff")], "c": None}
