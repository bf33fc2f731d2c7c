"""The search for the smallest moves of drawn edges that mend a hotspot, by simulation.

in       the target around a place that fails, the cores of its hotspot, vias, the process, rules
out      `Fix`: the moves, or why none was found
unit     one place of a hotspot
promise  a fix depends on the geometry within `Bench.far` around the place and on the cores. After
         it the place prints at every corner of the process with the limits of failure drawn
         `SAFETY` tighter; it makes nothing fail that did not, keeps the rules, and neither joins
         nor cuts a net

A hotspot is mended when nothing fails in the cores that it failed in (`find_failing`): that is what
a scan of the changed layout would say of it. Its places are mended one after the other, each with
what was done at the ones before; moves that mend all of them at once are taken first.

Single moves of the nearest edges are tried first, by growing distance, then sets of those that help
most. Small fields around the place are simulated until one prints; that one is then simulated as
far around as its light reaches.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt

from stages.contracts import Floats, Int64s
from stages.fixes.bench import FURTHEST, NEAR, SAFETY, WHOLE, Bench, simulate, simulate_fields
from stages.fixes.moves import UNCHANGED, Change, EdgeMove, join_changes, list_stretches, to_change
from stages.fixes.rules import find_broken, inspect_drawn
from stages.lithography.process import Corner

LADDER = (1, 2, 3, 4, 6, 8, 12, 16, 24)
"""Distances that are tried, in steps of the grid."""
_PRINTS = 0.6 * SAFETY
"""Severity by the tighter limits up to which a place prints by those of the process, with room."""
_SAME = 0.01 * SAFETY
"""Difference in severity that light from far away makes."""
_NEVER = -1.0
"""Less than any severity."""
KEPT, BEAM, TRIED, TOGETHER = 10, 4, 12, 3
"""At each distance: stretches that are moved further, sets of moves that are extended, sets of one
move more that are simulated, and most moves in a set."""
IMAGED = 4
"""Small fields that are imaged in one call: more do not fit a processor's cache."""
Moves = tuple[EdgeMove, ...]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Fix:
    """The moves that mend a place, or why there are none."""

    moves: tuple[EdgeMove, ...]
    reason: str = ""
    """Empty where it is mended."""
    simulations: int = 0


CLEAN = "prints within the tighter limits as drawn"
STUBBORN = "no move within reach prints"
ELSEWHERE = "what prints makes something else fail"
BREAKS = "what prints breaks a rule: "


def prints_near(rects: Int64s, bench: Bench) -> bool:
    """Return whether the place in the middle seems to print: a small field, the hardest corners."""
    (samples,) = simulate_fields([rects], bench, bench.near, bench.hardest)
    at_place = is_inside(samples, bench.place)
    return not (samples[at_place, 4] > _PRINTS).any()


def find_failing(after: Floats, before: Floats, boxes: Int64s, same: int) -> Floats:
    """Return the failing samples that a change must not leave, (m, 5).

    In what is to be mended these are all that do not print by the process's own limits, with room;
    elsewhere those that did not fail before, or failed less.

    Parameters
    ----------
    after, before : (n, 5) float64
        By the tighter limits, with and without the change; see `simulate`.
    boxes : (k, 4) int64
        What is to be mended, in the same coordinates.
    same
        A sample is that of before if it is of the same kind and as near as this, in dbu.
    """
    allowed = _find_allowed(after, before, same)
    failing: Floats = after[after[:, 4] > np.where(is_inside(after, boxes), _PRINTS, allowed)]
    return failing


def _find_allowed(after: Floats, before: Floats, same: int) -> Floats:
    """Return how bad each sample may be that is not to be mended, (n,).

    What failed may not fail more, what printed must print with room, or as well as it did.
    """
    worst = _find_worst(after, before, same)
    return np.where(worst > SAFETY, worst + SAFETY, np.maximum(worst + _SAME, _PRINTS))


def _find_worst(after: Floats, before: Floats, same: int) -> Floats:
    """Return how badly the place of each sample failed before, `_NEVER` if it did not, (n,)."""
    worst = np.full(len(after), _NEVER)
    for at, (kind, x, y, *_) in enumerate(after.tolist()):
        alike = before[before[:, 0] == kind]
        close = np.abs(alike[:, 1:3] - (x, y)).max(axis=1, initial=0) <= same
        worst[at] = alike[close, 4].max(initial=_NEVER)
    return worst


def find_fix(
    target: Int64s,
    vias: Int64s,
    cores: Int64s,
    bench: Bench,
    given: Change = UNCHANGED,
    simulate_far: Callable[[Int64s], Floats] | None = None,
) -> Fix:
    """Search for the smallest move that mends the hotspot at the origin, or at least that place.

    Parameters
    ----------
    target, vias : (n, 4) int64
        Disjoint rectangles, in dbu from the place; the target is complete up to `Bench.reach`.
    cores : (k, 4) int64
        Those that the hotspot fails in.
    given
        What is changed already; the moves come on top, and are of edges of the target as well.
    simulate_far
        `simulate` with this bench, which may remember.
    """
    search = _Search(
        target, vias, cores, bench, given, simulate_far or partial(simulate, bench=bench)
    )
    if not search.measure(())[_PLACE]:
        return Fix((), CLEAN, search.simulations)
    near, whole = (bench.to_dbu(each) // bench.step * bench.step for each in (NEAR, WHOLE))
    stretches = list_stretches(target, near, whole, near // 2 // bench.step * bench.step)
    for steps in LADDER:
        out = steps * bench.step
        if out > bench.to_dbu(FURTHEST):
            break
        singles = [replace(edge, out=way * out) for edge in stretches for way in (1, -1)]
        sets: list[Moves] = [(move,) for move in singles]
        for _ in range(TOGETHER):
            if moves := search.select(sets):
                return Fix(moves, simulations=search.simulations)
            # All of them are simulated now.
            singles.sort(key=lambda move: (search.measure((move,)), move))
            sets = search.extend(sets, singles[: 2 * KEPT])
        kept = {replace(move, out=0) for move in singles[:KEPT]}
        stretches = [edge for edge in stretches if edge in kept]
    return Fix((), search.reason, search.simulations)


_ALL, _PLACE = 0, 1
"""What is to be mended: all of the hotspot that is in sight, or its place at the origin."""


class _Search:
    """The simulations around one place, each done once."""

    def __init__(
        self,
        target: Int64s,
        vias: Int64s,
        cores: Int64s,
        bench: Bench,
        given: Change,
        simulate_far: Callable[[Int64s], Floats],
    ) -> None:
        self.target, self.vias, self.bench, self._simulate_far = target, vias, bench, simulate_far
        self._cores, self._given = cores, given
        self._drawn = inspect_drawn(target, bench.rules, bench.reach)
        self.simulations, self.reason = 1, STUBBORN
        self._badness: dict[Moves, tuple[float, float]] = {}
        self._far: dict[Moves, tuple[float, float]] = {}
        start = given.apply_to(target)
        self._before_far = simulate_far(start)
        self._corners = self._list_corners()
        (self._before,) = self._simulate_near([()])

    def _list_corners(self) -> list[Corner]:
        """Return the hardest corners, and those that the place fails at."""
        corners, before = self.bench.process.corners, self._before_far
        failing = set(before[is_inside(before, self.bench.place), 3].astype(int).tolist())
        hardest = self.bench.hardest
        return [each for at, each in enumerate(corners) if at in failing or each in hardest]

    def _simulate_near(self, sets: Sequence[Moves]) -> list[Floats]:
        self.simulations += len(sets)
        after = [self._apply(moves) for moves in sets]
        return simulate_fields(after, self.bench, self.bench.near, self._corners)

    def measure(self, moves: Moves) -> tuple[float, float]:
        """Return how badly it prints after moves: by what is wanted of all, and of the place."""
        self._measure_near([moves])
        return self._badness[moves]

    def _measure_near(self, sets: Sequence[Moves]) -> None:
        unknown = [moves for moves in sets if moves not in self._badness]
        if unknown:
            for moves, after in zip(unknown, self._simulate_near(unknown), strict=True):
                self._badness[moves] = self._rate(after, self._before)

    def _measure_far(self, moves: Moves) -> tuple[float, float]:
        """Return the same as far as the moves have an effect."""
        if moves not in self._far:
            self.simulations += 1
            self._far[moves] = self._rate(self._simulate_far(self._apply(moves)), self._before_far)
        return self._far[moves]

    def _apply(self, moves: Moves) -> Int64s:
        return join_changes((self._given, to_change(moves))).apply_to(self.target)

    def _rate(self, after: Floats, before: Floats) -> tuple[float, float]:
        allowed = _find_allowed(after, before, self.bench.same_dbu)
        own, at_place = is_inside(after, self._cores), is_inside(after, self.bench.place)
        bad = after[:, 4]
        # What fails at another place of its own may get worse: it is mended later.
        every, place = (
            (bad + SAFETY)[bad > np.where(at_place, _NEVER, np.where(own, of_own, allowed))]
            for of_own in (_PRINTS, 1)
        )
        return float(every.sum()), float(place.sum())

    def select(self, sets: Iterable[Moves]) -> Moves:
        """Return the smallest moves that are accepted, shortened; none if none are."""
        smallest = sorted(sets, key=lambda moves: (sum(move.area for move in moves), moves))
        for goal in (_ALL, _PLACE):
            for first in range(0, len(smallest), IMAGED):
                some = smallest[first : first + IMAGED]
                self._measure_near(some)
                for moves in some:
                    if self.accepts(moves, goal):
                        return self._shorten(moves, goal)
        return ()

    def extend(self, sets: Sequence[Moves], singles: Sequence[EdgeMove]) -> list[Moves]:
        """Return sets of one move more that promise most and break no rule."""
        best = sorted(sets, key=lambda moves: (self.measure(moves), moves))[:BEAM]
        longer = {
            tuple(sorted((*moves, move)))
            for moves, move in itertools.product(best, singles)
            if all(replace(move, out=0) != replace(other, out=0) for other in moves)
        }
        order = sorted(
            longer, key=lambda moves: (sum(self.measure((move,))[_ALL] for move in moves), moves)
        )
        allowed = (moves for moves in order if not self._find_broken(moves))
        return list(itertools.islice(allowed, TRIED))

    def _find_broken(self, moves: Moves) -> str:
        return find_broken(self._drawn, self._apply(moves), self.vias)

    def accepts(self, moves: Moves, goal: int) -> bool:
        """Return whether moves keep the rules and print, as far as they have an effect."""
        if self.measure(moves)[goal]:
            return False
        if broken := self._find_broken(moves):
            self.reason = BREAKS + broken
            return False
        if self._measure_far(moves)[goal]:
            self.reason = ELSEWHERE
            return False
        return True

    def _shorten(self, moves: Moves, goal: int) -> Moves:
        """Return the moves at the least distance, in steps, that is accepted, too."""
        step = self.bench.step
        while min(abs(move.out) for move in moves) > step:
            shorter = tuple(
                replace(move, out=move.out - step * (1 if move.out > 0 else -1)) for move in moves
            )
            if not self.accepts(shorter, goal):
                break
            moves = shorter
        return moves


def is_inside(samples: Floats, boxes: Int64s) -> Bools:
    """Return which samples are in one of the boxes, borders included, (n,)."""
    x, y = samples[:, 1, None], samples[:, 2, None]
    across = (boxes[:, 0] <= x) & (x <= boxes[:, 2])
    along = (boxes[:, 1] <= y) & (y <= boxes[:, 3])
    return np.asarray((across & along).any(axis=1))
