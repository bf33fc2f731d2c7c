"""Decisions, and the file of them that tells when it was changed."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.errors import IncompleteError, UsageError
from stages.review.decisions import (
    Decision,
    apply_decision,
    format_decision,
    list_notes,
    pack_ids,
    parse_file,
    start_file,
    unpack_ids,
)

AT = "2026-11-26T12:00:00Z"


def decide(what: str, *ids: int, text: str = "") -> Decision:
    return Decision(what=what, hotspots=pack_ids(ids), by="N. N.", at=AT, text=text)


DECISIONS = [
    decide("accepted", 1, 2, 3, 9),
    decide("comment", 2, text='so "it" is\nn\u2028\x85é'),
    decide("fix", 2),
]


def write(decisions: list[Decision]) -> list[str]:
    lines = [start_file("abc")]
    for each in decisions:
        lines.append(format_decision(each, lines[-1]))
    return lines


def join(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


@given(st.lists(st.integers(1, 200), max_size=60))
def test_ranges_hold_the_ids(ids: list[int]) -> None:
    packed = pack_ids(ids)
    assert unpack_ids(packed) == sorted(set(ids))
    assert all(end + 1 < first for (_, end), (first, _) in pairwise(packed))


def test_a_file_holds_what_was_written() -> None:
    lines = write(DECISIONS)
    assert parse_file(join(lines)) == ("abc", DECISIONS, lines[-1])
    assert parse_file("") == ("", [], "")


def test_a_last_line_that_was_cut_is_dropped() -> None:
    lines = write(DECISIONS)
    text = join(lines)
    for cut in range(len(join(lines[:-1])), len(text)):
        assert parse_file(text[:cut]) == ("abc", DECISIONS[:-1], lines[-2])


def test_any_change_is_found() -> None:
    lines = write(DECISIONS)
    text = join(lines)
    for at in range(0, len(text) - 1, 7):
        changed = text[:at] + ("x" if text[at] != "x" else "y") + text[at + 1 :]
        with pytest.raises(IncompleteError, match="is not as it was written"):
            parse_file(changed)
    for lost in range(len(lines) - 1):  # a lost last line cannot be told from none
        with pytest.raises(IncompleteError, match=f"line {lost + 1} is not"):
            parse_file(join(lines[:lost] + lines[lost + 1 :]))
    with pytest.raises(IncompleteError, match="line 3 is not"):
        parse_file(join([*lines[:2], lines[3], lines[2]]))


@pytest.mark.parametrize(
    ("what", "by", "hotspots", "message"),
    [
        ("maybe", "N", ((1, 1),), "decision 'maybe' is unknown; choose one of open, accepted"),
        ("fix", " ", ((1, 1),), "nobody decides this"),
        ("fix", "N", ((0, 1),), "no ranges"),
        ("fix", "N", ((3, 2),), "no ranges"),
    ],
)
def test_what_is_no_decision_is_refused(
    what: str, by: str, hotspots: tuple[tuple[int, int], ...], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        Decision(what=what, hotspots=hotspots, by=by, at=AT)


def test_the_last_decision_counts() -> None:
    state = np.zeros(9, np.uint8)
    for each in DECISIONS:
        apply_decision(state, each)
    assert state.tolist() == [1, 2, 1, 0, 0, 0, 0, 0, 1]
    assert list_notes(DECISIONS, 2) == DECISIONS
    assert list_notes(DECISIONS, 9) == DECISIONS[:1]
