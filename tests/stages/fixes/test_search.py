"""The search: what it returns prints in the full simulation, keeps the rules, and is small."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from stages.contracts import Box, Defect, Int64s
from stages.fixes.bench import SAFETY, Bench, make_bench, simulate
from stages.fixes.moves import UNCHANGED, Change, join_changes, to_change
from stages.fixes.rules import DesignRules, find_broken, inspect_drawn
from stages.fixes.search import CLEAN, find_failing, find_fix, is_inside, prints_near
from stages.geometry.union import merge
from stages.lithography.measure.defects import find_defects
from stages.lithography.process import Corner, load_process

KRF = load_process("krf130")
NO_VIAS = np.empty((0, 4), np.int64)
CORE = np.array([[-640, -640, 640, 640]])
LINE_END = np.array([[0, -70, 9000, 70], [435, -130, 755, 130]])
"""A line that begins before its contact: it pulls back too far."""
BLOCKED = np.concatenate([LINE_END, [[-9000, 500, 9000, 2000], [-9000, -2000, 9000, -500]]])
"""The same between two plates, as near to the line as the rule of the test allows."""

SLIT = merge(np.array([[-9000, 55, 9000, 2000], [-9000, -2000, 9000, -55]]))


@pytest.fixture(scope="module")
def bench() -> Bench:
    return make_bench(KRF, "none", 1.0, DesignRules(140, 140), 5)


def find_left(target: Int64s, change: Change, bench: Bench, cores: Int64s = CORE) -> int:
    """Return how many failing samples a change must not leave."""
    before, after = (simulate(rects, bench) for rects in (target, change.apply_to(target)))
    return len(find_failing(after, before, cores, bench.same_dbu))


def find_new_broken(before: Int64s, after: Int64s, rules: DesignRules) -> str:
    return find_broken(inspect_drawn(merge(before), rules, 9000), after, NO_VIAS)


def find_near(target: Int64s, reach: int = 400) -> tuple[Defect, ...]:
    return find_defects(merge(target), Box(-reach, -reach, reach, reach), 1.0, KRF)


def test_a_line_end_is_mended(bench: Bench) -> None:
    assert "line_end" in {defect.kind for defect in find_near(LINE_END)}
    fix = find_fix(merge(LINE_END), NO_VIAS, CORE, bench)
    assert fix.reason == ""
    after = to_change(fix.moves).apply_to(merge(LINE_END))
    assert find_near(after, reach=1500) == ()
    assert [prints_near(each, bench) for each in (merge(LINE_END), after)] == [False, True]
    assert find_new_broken(LINE_END, after, bench.rules) == ""
    assert all(move.out % 5 == 0 and abs(move.out) <= 20 for move in fix.moves)


def test_a_smaller_move_would_not_do(bench: Bench) -> None:
    fix = find_fix(merge(LINE_END), NO_VIAS, CORE, bench)
    smaller = [replace(move, out=move.out - 5 * np.sign(move.out)) for move in fix.moves]
    assert find_left(merge(LINE_END), to_change(fix.moves), bench) == 0
    assert find_left(merge(LINE_END), to_change(smaller), bench) > 0


def test_what_prints_needs_no_fix(bench: Bench) -> None:
    wide = np.array([[-9000, -300, 9000, 300]])
    assert find_fix(wide, NO_VIAS, CORE, bench).reason == CLEAN


def test_a_fix_that_breaks_a_rule_is_none(bench: Bench) -> None:
    assert find_near(BLOCKED)
    strict = replace(bench, rules=DesignRules(140, 430))
    allowed = find_fix(merge(BLOCKED), NO_VIAS, CORE, strict)
    after = to_change(allowed.moves).apply_to(merge(BLOCKED))
    assert find_new_broken(BLOCKED, after, strict.rules) == ""
    widened = Change((), ((0, -130, 435, 130),)).apply_to(merge(BLOCKED))
    assert find_new_broken(BLOCKED, widened, strict.rules) == "space"


def test_what_fails_in_focus_alone_is_mended(bench: Bench) -> None:
    """Small fields are simulated out of focus, and at the corners that the place fails at."""
    assert [corner.name for corner in bench.hardest] == ["over", "under"]
    corners = Corner("sharp", 0.96, 0.0), Corner("blurred", 1.2, 120.0)
    easy = replace(bench, process=replace(bench.process, corners=corners))
    before = simulate(merge(LINE_END), easy)
    assert {corners[int(row[3])].name for row in before if is_inside(row[None], CORE)} == {"sharp"}
    fix = find_fix(merge(LINE_END), NO_VIAS, CORE, easy)
    after = simulate(to_change(fix.moves).apply_to(merge(LINE_END)), easy)
    assert fix.moves
    assert not is_inside(after, CORE).any()


def test_where_there_is_no_hotspot_nothing_may_get_worse(bench: Bench) -> None:
    target, nowhere = merge(LINE_END), CORE + 9000
    assert find_left(target, UNCHANGED, bench) > 0
    assert find_left(target, UNCHANGED, bench, nowhere) == 0
    notched = Change(((1150, 10, 1350, 70),), ())
    assert find_left(target, notched, bench, nowhere) > 0


def test_all_of_a_core_must_print(bench: Bench) -> None:
    """Widened at one place, a slit fails further along."""
    part = Change(((-300, 55, 300, 150), (-300, -150, 300, -55)), ())
    assert find_near(part.apply_to(SLIT), reach=100) == ()
    assert find_left(SLIT, part, bench) > 0


def test_another_place_is_mended_with_what_was_done_at_the_first(bench: Bench) -> None:
    first = find_fix(SLIT, NO_VIAS, CORE, bench)
    given = to_change(first.moves)
    assert find_left(SLIT, given, bench) > 0
    aside = np.array([600, 0] * 2)
    there = find_fix(SLIT - aside, NO_VIAS, CORE - aside, bench, given.shift(-600, 0))
    both = join_changes((given, to_change(there.moves).shift(600, 0)))
    assert find_left(SLIT, both, bench, CORE // 4 + aside) == 0


def test_a_place_that_prints_by_a_hair_may_stay_and_must_not_fail() -> None:
    def at(severity: float) -> np.ndarray:
        return np.array([[0, 10.0, 10.0, 0, severity]])

    inside, outside = CORE, CORE + 5000
    for boxes, before, after, left in (
        (inside, 0.5 * SAFETY, 0.6 * SAFETY, 0),
        (inside, 0.5 * SAFETY, SAFETY, 1),
        (inside, 0.4, 0.4, 1),
        (outside, 0.4, 0.4, 0),
        (outside, 0.4, 0.5, 1),
        (outside, 0.5 * SAFETY, SAFETY, 1),
        (outside, 0.95 * SAFETY, 0.95 * SAFETY, 0),
        (inside, 0.95 * SAFETY, 0.95 * SAFETY, 1),
    ):
        assert len(find_failing(at(after), at(before), boxes, 100)) == left
    elsewhere = at(0.4) + np.array([0, 500, 0, 0, 0])
    assert len(find_failing(at(SAFETY), elsewhere, inside, 100)) == 1
