"""The search for the smallest move of drawn edges that mends a hotspot, by simulation.

in       the target around a hotspot, vias, the process, design rules
out      `Fix`: the moves, or why none was found
unit     one hotspot
promise  a fix depends on the geometry within `Bench.far` around the place alone. All that fails
         there as one with the place prints at every corner of the process with the limits of
         failure drawn `SAFETY` tighter; a fix makes nothing fail that did not, keeps the rules, and
         neither joins nor cuts a net

Single moves of the nearest edges are tried first, by growing distance, then pairs of those that
help most. Small fields around the place are simulated until one prints; that one is then simulated
as far around as its light reaches.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from stages.contracts import Floats, Int64s
from stages.fixes.moves import Change, EdgeMove, list_stretches, to_change
from stages.fixes.rules import DesignRules, find_broken
from stages.lithography.clip_window import compute_reach_nm, make_window, simulate_clip
from stages.lithography.measure.defects import NO_EDGES
from stages.lithography.optics.fields import Lattice, clip_to_field
from stages.lithography.process import Process

SAFETY = 0.03
"""Share by which the limits of failure are drawn tighter for a fix: more than what a verdict
depends on how fields are cut."""
NEAR, WHOLE, FURTHEST = 1.0, 1.5, 0.3
"""Half the length of the longest stretch of a long edge, how far whole edges reach, and the longest
move, in wavelength / NA."""
BESIDE = 0.5
"""How far beyond what changes the small fields are judged, in wavelength / NA."""
LADDER = (1, 2, 3, 4, 6, 8, 12, 16, 24)
"""Distances that are tried, in steps of the grid."""
_STILL_PRINTS = 0.8 * SAFETY
"""Severity by the tighter limits up to which a place prints by those of the process, with room."""
KEPT, BEAM, TRIED, TOGETHER = 10, 4, 12, 3
"""At each distance: stretches that are moved further, sets of moves that are extended, sets of one
move more that are simulated, and most moves in a set."""
OWN = 0.75
"""What fails within this of the place is the hotspot's, and what fails within this of that, and so
on, in wavelength / NA: a slit fails from its one end to the other."""

Moves = tuple[EdgeMove, ...]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Bench:
    """Everything that a search needs but the geometry; lengths in dbu."""

    process: Process
    """With limits that are `SAFETY` tighter."""
    opc: str
    dbu_nm: float
    rules: DesignRules
    step: int
    """Moves are whole multiples of this."""
    near: Lattice
    """Fields that are searched in."""
    far: Lattice
    """Fields that a fix is verified in."""

    @property
    def reach(self) -> int:
        """How far around the place the geometry must be complete."""
        return -(-self.far.side_dbu // 2)

    def to_dbu(self, resolutions: float) -> int:
        """Return a length that is given in wavelength / NA."""
        return round(resolutions * self.process.wavelength_nm / self.process.na / self.dbu_nm)


def make_bench(
    process: Process, opc: str, dbu_nm: float, rules: DesignRules, step_dbu: int
) -> Bench:
    """Return the fields and limits that fixes of a layout are searched with.

    Raises
    ------
    ConfigError
        When the process's kernels are for fields that are too small.
    """
    resolution_nm = process.wavelength_nm / process.na
    changed_nm = (WHOLE + FURTHEST) * resolution_nm
    near_nm = changed_nm + BESIDE * resolution_nm
    far_nm = changed_nm + compute_reach_nm(process, opc)
    near, far = (
        make_window(process, dbu_nm, 2 * math.ceil(half_nm / dbu_nm), opc)
        for half_nm in (near_nm, far_nm)
    )
    return Bench(_tighten(process), opc, dbu_nm, rules, step_dbu, near, far)


def _tighten(process: Process) -> Process:
    limits = process.limits
    return replace(
        process,
        limits=replace(
            limits,
            pinch_share=min(limits.pinch_share * (1 + SAFETY), 1),
            space_share=min(limits.space_share * (1 + SAFETY), 1),
            epe_nm=limits.epe_nm * (1 - SAFETY),
            line_end_epe_nm=limits.line_end_epe_nm * (1 - SAFETY),
        ),
    )


@dataclass(frozen=True, slots=True)
class Fix:
    """The moves that mend a hotspot, or why there are none."""

    moves: tuple[EdgeMove, ...]
    reason: str = ""
    """Empty where it is mended."""
    simulations: int = 0


CLEAN = "prints within the tighter limits as drawn"
STUBBORN = "no move within reach prints"
ELSEWHERE = "what prints makes something else fail"
PARTLY = "what prints leaves the rest of the hotspot failing"
BREAKS = "what prints breaks a rule: "


def find_fix(target: Int64s, vias: Int64s, bench: Bench) -> Fix:
    """Search for the smallest move that mends the hotspot at the origin.

    Parameters
    ----------
    target, vias : (n, 4) int64
        Disjoint rectangles, in dbu from the place; the target is complete up to `Bench.reach`.
    """
    search = _Search(target, vias, bench)
    if not search.measure(()):
        return Fix((), CLEAN, search.simulations)
    stretches = list_stretches(target, bench.to_dbu(NEAR), bench.to_dbu(WHOLE))
    for steps in LADDER:
        out = steps * bench.step
        if out > bench.to_dbu(FURTHEST):
            break
        singles = [replace(edge, out=way * out) for edge in stretches for way in (1, -1)]
        singles.sort(key=lambda move: (search.measure((move,)), move))
        sets: list[Moves] = [(move,) for move in singles]
        for _ in range(TOGETHER):
            for moves in sorted(sets, key=lambda each: (sum(m.area for m in each), each)):
                if search.measure(moves) == 0 and search.accepts(to_change(moves)):
                    return Fix(search.shorten(moves), simulations=search.simulations)
            sets = search.extend(sets, singles[: 2 * KEPT])
        kept = {replace(move, out=0) for move in singles[:KEPT]}
        stretches = [edge for edge in stretches if edge in kept]
    return Fix((), search.reason, search.simulations)


def verify(
    target: Int64s, change: Change, vias: Int64s, bench: Bench, *, mends: bool = True
) -> str:
    """Return why a change does not mend the hotspot at the origin; empty where it does.

    Parameters
    ----------
    mends
        Whether there is a hotspot: elsewhere it is enough that nothing fails more than before.
    """
    search = _Search(target, vias, bench)
    return "" if search.accepts(change, mends=mends) else search.reason


class _Search:
    """The simulations of one hotspot, each done once."""

    def __init__(self, target: Int64s, vias: Int64s, bench: Bench) -> None:
        self.target, self.vias, self.bench = target, vias, bench
        self.simulations, self.reason = 0, STUBBORN
        self._near = 3 * bench.far.pitch_dbu
        self.before = self._simulate(target, bench.near)
        self._own = self._find_own(self.before)
        self._badness: dict[Moves, float] = {}

    def _simulate(self, rects: Int64s, window: Lattice) -> Floats:
        """Return the failing samples, (n, 5), of the middle of a window, from the place."""
        self.simulations += 1
        corner = -(window.core_dbu // 2) - window.guard_dbu
        local = clip_to_field(rects, (corner, corner), window.side_dbu)
        bench = self.bench
        samples = simulate_clip(
            local, NO_EDGES, window, bench.dbu_nm, bench.process, bench.opc
        ).samples
        samples[:, 1:3] += corner
        return samples

    def measure(self, moves: Moves) -> float:
        """Return how badly it prints after moves: at the place, and elsewhere what is new."""
        if moves not in self._badness:
            self._badness[moves] = self._measure_change(to_change(moves))
        return self._badness[moves]

    def _measure_change(self, change: Change) -> float:
        found = self._simulate(change.apply_to(self.target), self.bench.near)
        own = self._is_at_place(found) | _is_near(found, self._own, self._near)
        counts = own | ~_has_match(found, self.before, self._near)
        return float((found[counts, 4] + SAFETY).sum())

    @cached_property
    def _far(self) -> tuple[Floats, Floats]:
        """What fails before as far as a change has an effect, and what of it is the hotspot's."""
        samples = self._simulate(self.target, self.bench.far)
        return samples, self._find_own(samples)

    def _is_at_place(self, samples: Floats) -> Bools:
        at_place: Bools = np.abs(samples[:, 1:3]).max(axis=1, initial=0) <= self.bench.to_dbu(OWN)
        return at_place

    def _find_own(self, samples: Floats) -> Floats:
        """Return the failing samples that are of the hotspot at the place, to its end."""
        reach, joined = self.bench.to_dbu(OWN), self._is_at_place(samples)
        while (more := _is_near(samples, samples[joined], reach) & ~joined).any():
            joined |= more
        own: Floats = samples[joined]
        return own

    def extend(self, sets: Sequence[Moves], singles: Sequence[EdgeMove]) -> list[Moves]:
        """Return sets of one move more that promise most and break no rule."""
        best = sorted(sets, key=lambda moves: (self.measure(moves), moves))[:BEAM]
        longer = {
            tuple(sorted((*moves, move)))
            for moves, move in itertools.product(best, singles)
            if all(replace(move, out=0) != replace(other, out=0) for other in moves)
        }
        order = sorted(
            longer, key=lambda moves: (sum(self.measure((move,)) for move in moves), moves)
        )
        allowed = (moves for moves in order if not self._find_broken(to_change(moves)))
        return list(itertools.islice(allowed, TRIED))

    def _find_broken(self, change: Change) -> str:
        after = change.apply_to(self.target)
        return find_broken(self.target, after, self.vias, self.bench.rules)

    def accepts(self, change: Change, *, mends: bool = True) -> bool:
        """Return whether a change keeps the rules and prints, as far as it has an effect."""
        if broken := self._find_broken(change):
            self.reason = BREAKS + broken
            return False
        before, own = self._far
        after = self._simulate(change.apply_to(self.target), self.bench.far)
        if mends and self._is_at_place(after).any():
            self.reason = STUBBORN
        elif mends and _is_near(after, own, self._near).any():
            self.reason = PARTLY
        elif not _has_match(after, before, self._near).all():
            self.reason = ELSEWHERE
        else:
            return True
        return False

    def shorten(self, moves: Moves) -> Moves:
        """Return the moves at the least distance, in steps, that is accepted, too."""
        step = self.bench.step
        while min(abs(move.out) for move in moves) > step:
            shorter = tuple(
                replace(move, out=move.out - step * (1 if move.out > 0 else -1)) for move in moves
            )
            if self.measure(shorter) or not self.accepts(to_change(shorter)):
                break
            moves = shorter
        return moves


def _is_near(samples: Floats, others: Floats, reach: int) -> Bools:
    """Return which samples have one of the others within reach, (n,)."""
    apart, _ = cKDTree(others[:, 1:3]).query(samples[:, 1:3], p=np.inf)
    near: Bools = apart <= reach
    return near


def _has_match(samples: Floats, before: Floats, near: int) -> Bools:
    """Return which samples fail that failed before, near them and not less, (n,)."""
    found = np.zeros(len(samples), bool)
    for at, (kind, x, y, _, severity) in enumerate(samples.tolist()):
        same = before[before[:, 0] == kind]
        close = np.abs(same[:, 1:3] - (x, y)).max(axis=1, initial=0) <= near
        worst = same[close, 4].max(initial=-1)
        allowed = worst + SAFETY if worst > SAFETY else _STILL_PRINTS
        found[at] = worst >= 0 and severity <= allowed
    return found
