"""The search: what it returns prints in the full simulation, keeps the rules, and is small."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from stages.contracts import Box, Defect, Int64s
from stages.fixes.moves import UNCHANGED, Change, to_change
from stages.fixes.rules import DesignRules, find_broken
from stages.fixes.search import (
    BREAKS,
    CLEAN,
    PARTLY,
    STUBBORN,
    Bench,
    find_fix,
    make_bench,
    verify,
)
from stages.geometry.union import merge
from stages.lithography.measure.defects import find_defects
from stages.lithography.process import load_process

KRF = load_process("krf130")
NO_VIAS = np.empty((0, 4), np.int64)
LINE_END = np.array([[0, -70, 9000, 70], [435, -130, 755, 130]])
"""A line that begins before its contact: it pulls back too far."""
BLOCKED = np.concatenate([LINE_END, [[-9000, 500, 9000, 2000], [-9000, -2000, 9000, -500]]])
"""The same between two plates, as near to the line as the rule of the test allows."""


@pytest.fixture(scope="module")
def bench() -> Bench:
    return make_bench(KRF, "none", 1.0, DesignRules(140, 140), 5)


def find_near(target: Int64s, reach: int = 400) -> tuple[Defect, ...]:
    return find_defects(merge(target), Box(-reach, -reach, reach, reach), 1.0, KRF)


def test_a_line_end_is_mended(bench: Bench) -> None:
    assert {defect.kind for defect in find_near(LINE_END)} == {"line_end"}
    fix = find_fix(merge(LINE_END), NO_VIAS, bench)
    assert fix.reason == ""
    after = to_change(fix.moves).apply_to(merge(LINE_END))
    assert find_near(after, reach=1500) == ()
    assert find_broken(merge(LINE_END), after, NO_VIAS, bench.rules) == ""
    assert all(move.out % 5 == 0 and abs(move.out) <= 20 for move in fix.moves)


def test_a_smaller_move_would_not_do(bench: Bench) -> None:
    fix = find_fix(merge(LINE_END), NO_VIAS, bench)
    smaller = [replace(move, out=move.out - 5 * np.sign(move.out)) for move in fix.moves]
    assert verify(merge(LINE_END), to_change(smaller), NO_VIAS, bench) == STUBBORN


def test_what_prints_needs_no_fix(bench: Bench) -> None:
    wide = np.array([[-9000, -300, 9000, 300]])
    assert find_fix(wide, NO_VIAS, bench).reason == CLEAN


def test_a_fix_that_breaks_a_rule_is_none(bench: Bench) -> None:
    assert find_near(BLOCKED)
    strict = replace(bench, rules=DesignRules(140, 430))
    allowed = find_fix(merge(BLOCKED), NO_VIAS, strict)
    after = to_change(allowed.moves).apply_to(merge(BLOCKED))
    assert find_broken(merge(BLOCKED), after, NO_VIAS, strict.rules) == ""
    widened = Change((), ((0, -130, 435, 130),))
    assert verify(merge(BLOCKED), widened, NO_VIAS, strict) == BREAKS + "space"


def test_where_there_is_no_hotspot_nothing_may_get_worse(bench: Bench) -> None:
    target = merge(LINE_END)
    assert verify(target, UNCHANGED, NO_VIAS, bench) == STUBBORN
    assert verify(target, UNCHANGED, NO_VIAS, bench, mends=False) == ""


def test_all_of_a_slit_must_print(bench: Bench) -> None:
    """Widened at one place, it fails further along."""
    slit = merge(np.array([[-9000, 55, 9000, 2000], [-9000, -2000, 9000, -55]]))
    assert {defect.kind for defect in find_near(slit)} == {"space"}
    part = Change(((-300, 55, 300, 150), (-300, -150, 300, -55)), ())
    assert find_near(part.apply_to(slit), reach=100) == ()
    assert verify(slit, part, NO_VIAS, bench) == PARTLY
