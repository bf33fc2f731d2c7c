"""The fix of one class: searched on one of its hotspots, tried on all of them.

in       the hotspots of a class, the packed layout, the process
out      ``fix/NNNNN-DIGEST.parquet``, a row per hotspot, see `FixRow`
unit     a class
promise  the fix of a hotspot depends on its class and on the layout around it; the shapes of a cell
         are changed only if every placement of the cell still prints
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from pipeline.engine.storage.checksums import seal
from pipeline.engine.storage.ledger import Status, UnitOutcome
from pipeline.fix.ground import FOLDER, FixJob, Ground, Place, open_ground
from pipeline.report.fix_table import FLAT, IN_CELL, NOT_FIXED, FixRow, write_rows
from pipeline.simulate.tiles import measure
from stages.contracts import Box
from stages.fixes.bench import OWN
from stages.fixes.members import Alignment, carry_move, find_cell_changes
from stages.fixes.moves import Change, EdgeMove, fit_moves, join_changes, join_moves, to_change

SEARCHED = 3
"""Searches in a class that may fail: what is like those is not searched again."""
CARRIED = 8
"""Most searches of a class whose moves are tried on its other hotspots."""
PLACES = 8
"""Most places of a hotspot that are mended."""
OTHERS = "nothing mends it that is known of its class, which has places that nothing mends"
BEYOND = "at another place of it: "
MANY = f"it fails at more than {PLACES} places"
Moves = tuple[EdgeMove, ...]


@dataclass(frozen=True, slots=True)
class Member:
    """A hotspot of a class."""

    id: int
    x_dbu: float
    """The place that fails worst, whole or half."""
    y_dbu: float
    lies: Alignment
    cores: tuple[Box, ...]
    """Of its clips that fail: it is mended when nothing fails in them."""


@dataclass(frozen=True, slots=True)
class Group:
    """One unit: the hotspots of a class, the one that is searched first."""

    class_id: int
    members: tuple[Member, ...]

    @property
    def name(self) -> str:
        """Name of the unit: of other hotspots, it is another unit."""
        hotspots = hashlib.blake2b(repr(self.members).encode(), digest_size=4).hexdigest()
        return f"{self.class_id:05d}-{hotspots}"


def fix_class(group: Group, *, job: FixJob) -> UnitOutcome:
    """Search the fix of a class, try it on its hotspots, and write a row for each."""
    started = time.perf_counter()
    ground = open_ground(job)
    rows = _fix_members(group, job, ground)
    name = f"{FOLDER}/{group.name}.parquet"
    write_rows(job.run / name, rows)
    fixed = sum(row.scope != NOT_FIXED for row in rows)
    return UnitOutcome(
        "fix", group.name, Status.DONE, checksum=seal(job.run, (name,)), files=(name,),
        arithmetic=measure(job.run, job.process),
        counts={"hotspots": len(rows), "fixed": fixed, "classes_fixed": int(bool(rows[0].scope))},
        seconds=time.perf_counter() - started,
    )  # fmt: skip


def _fix_members(group: Group, job: FixJob, ground: Ground) -> list[FixRow]:
    """Return the row of each hotspot of a class."""
    known = _Known(job.tolerance_dbu + 1, ground)
    rows = []
    for member in group.members:
        origin = ground.snap(member.x_dbu, member.y_dbu)
        moves, reason = _mend(member, known)
        if reason:
            rows.append(FixRow(member.id, group.class_id, origin, reason))
        else:
            rows.append(_describe(member.id, group.class_id, origin, moves, ground))
    return rows


@dataclass(slots=True, eq=False)
class _Known:
    """What is known of a class: the moves that mended places of some, and how many found none."""

    tolerance_dbu: float
    ground: Ground
    mended: list[tuple[Member, Moves]] = field(default_factory=list)
    """Moves count from the hotspot's worst place."""
    failed: int = 0

    def mend_place(self, member: Member, place: Place, given: Change) -> tuple[Moves, str]:
        """Return moves, from the worst place, that mend a place, or why there are none."""
        ground = self.ground
        around = Box(*place, *place).grow(ground.bench.to_dbu(OWN))
        x, y = origin = ground.snap(member.x_dbu, member.y_dbu)
        for moves in self._carry_to(member, origin):
            change = join_changes((given, to_change(moves).shift(x, y)))
            if ground.seems_to_print(place, change) and (
                ground.try_change(place, change, [around]) == ("", [])
            ):
                return moves, ""
        if self.failed == SEARCHED:
            return (), OTHERS
        fix = ground.search(place, member.cores, given)
        moves = tuple(move.shift(place[0] - x, place[1] - y) for move in fix.moves)
        self.failed += not moves
        if moves and len(self.mended) < CARRIED:
            shift = x - member.x_dbu, y - member.y_dbu
            self.mended.append((member, tuple(move.shift(*shift) for move in moves)))
        return moves, fix.reason

    def _carry_to(self, member: Member, origin: Place) -> Iterator[Moves]:
        """Yield what mended others of the class as it lies at a hotspot, from its origin."""
        dx, dy = member.x_dbu - origin[0], member.y_dbu - origin[1]
        target, _ = self.ground.read(origin)
        for source, moves in self.mended:
            carried = [carry_move(each, source.lies, member.lies).shift(dx, dy) for each in moves]
            if fitted := fit_moves(target, carried, self.tolerance_dbu, self.ground.bench.step):
                yield fitted


def _mend(member: Member, known: _Known) -> tuple[Moves, str]:
    """Return the moves that mend a hotspot, from its worst place, or why there are none.

    Its places are mended one after the other, worst first, until nothing fails in its cores.
    """
    ground = known.ground
    place = x, y = ground.snap(member.x_dbu, member.y_dbu)
    moves: Moves = ()
    for nth in range(PLACES):
        given = to_change(moves).shift(x, y)
        more, reason = known.mend_place(member, place, given)
        if reason:
            return (), BEYOND + reason if nth else reason
        moves += more
        reason, left = ground.verify((x, y), to_change(moves).shift(x, y), member.cores)
        if reason or not left:
            return moves, reason
        place = ground.snap(*left[0])
    return (), MANY


def _describe(
    hotspot: int, class_id: int, origin: tuple[int, int], moves: Moves, ground: Ground
) -> FixRow:
    """Return the row of a hotspot that moves mend; in its cell, if that may be changed."""
    owners = find_cell_changes(ground.packed, moves, origin)
    words = "; ".join(each.describe(ground.bench.dbu_nm) for each in join_moves(moves))
    change = to_change(moves).shift(*origin)
    if len(owners) == 1 and ground.prints_everywhere(owners[0][0]):
        found = owners[0][0]
        return FixRow(
            hotspot, class_id, origin, "", words, change, IN_CELL,
            ground.names[found.cell], ground.count_placements(found.cell), found.change,
        )  # fmt: skip
    return FixRow(hotspot, class_id, origin, "", words, change, FLAT)
