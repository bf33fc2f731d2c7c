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
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np

from pipeline.config import FixConfig
from pipeline.engine.checksums import seal
from pipeline.engine.ledger import Status, UnitOutcome
from pipeline.layout.ingest import open_packed
from pipeline.passes.units import open_layout
from pipeline.report.fix_table import FLAT, IN_CELL, NOT_FIXED, FixRow, write_rows
from pipeline.simulate.tiles import measure, read_target
from stages.contracts import Box, Int64s, PackedLayer
from stages.fixes.members import Alignment, CellChange, carry_move, find_cell_changes
from stages.fixes.moves import Change, EdgeMove, fit_moves, to_change
from stages.fixes.rules import DesignRules
from stages.fixes.search import Bench, find_fix, make_bench, verify
from stages.geometry.owners import list_placements
from stages.lithography.process import Process

FOLDER, VIAS = "fix", "fix/vias"
SEARCHED = 3
"""Hotspots of a class, of different surroundings, that are searched until one is mended."""
OTHER_EDGES = "it has no edge where the class is moved"


@dataclass(frozen=True, slots=True)
class FixJob:
    """The input of every class."""

    run: Path
    process: Process
    opc: str
    rules: FixConfig
    tolerance_dbu: float
    """How far the edges of two hotspots of a class may differ."""


@dataclass(frozen=True, slots=True)
class Member:
    """A hotspot of a class."""

    id: int
    x_dbu: float
    """The place that fails, whole or half."""
    y_dbu: float
    lies: Alignment


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
    moves, source, reason = _search(group, ground)
    if source is None:
        return [
            FixRow(each.id, group.class_id, ground.snap(each.x_dbu, each.y_dbu), reason)
            for each in group.members
        ]
    return [_fix_member(each, moves, source, group, job, ground) for each in group.members]


def _search(group: Group, ground: Ground) -> tuple[list[EdgeMove], Member | None, str]:
    """Return moves from the place of a hotspot, and it; else why there are none for the first."""
    reasons, seen = [], set()
    for member in group.members:
        origin = ground.snap(member.x_dbu, member.y_dbu)
        target, vias = ground.read(origin)
        if target.tobytes() in seen:
            continue
        seen.add(target.tobytes())
        fix = find_fix(target, vias, ground.bench)
        if fix.moves:
            x, y = origin[0] - member.x_dbu, origin[1] - member.y_dbu
            return [move.shift(x, y) for move in fix.moves], member, ""
        reasons.append(fix.reason)
        if len(seen) == SEARCHED:
            break
    return [], None, reasons[0]


def _fix_member(
    member: Member,
    moves: list[EdgeMove],
    source: Member,
    group: Group,
    job: FixJob,
    ground: Ground,
) -> FixRow:
    """Try the moves of a class on one of its hotspots."""
    origin = ground.snap(member.x_dbu, member.y_dbu)
    dx, dy = member.x_dbu - origin[0], member.y_dbu - origin[1]
    carried = [carry_move(each, source.lies, member.lies).shift(dx, dy) for each in moves]
    around = ground.read(origin)
    fitted = fit_moves(around[0], carried, job.tolerance_dbu + 1, ground.bench.step)
    if not fitted:
        return FixRow(member.id, group.class_id, origin, OTHER_EDGES)
    if reason := ground.verify(around, to_change(fitted), mends=True):
        return FixRow(member.id, group.class_id, origin, reason)
    owners = find_cell_changes(ground.packed, fitted, origin)
    words = "; ".join(each.describe(ground.bench.dbu_nm) for each in fitted)
    change = to_change(fitted).shift(*origin)
    if len(owners) == 1 and ground.prints_everywhere(owners[0][0]):
        found = owners[0][0]
        return FixRow(
            member.id, group.class_id, origin, "", words, change, IN_CELL,
            ground.names[found.cell], ground.count_placements(found.cell), found.change,
        )  # fmt: skip
    return FixRow(member.id, group.class_id, origin, "", words, change, FLAT)


@dataclass(slots=True, eq=False)
class Ground:
    """The layout that fixes are tried on, with what is known already."""

    packed: PackedLayer
    names: tuple[str, ...]
    """Of the cells of the packed layer."""
    vias: tuple[PackedLayer, ...]
    bench: Bench
    _known: dict[tuple[object, ...], str] = field(default_factory=dict)
    _everywhere: dict[CellChange, bool] = field(default_factory=dict)
    _placements: dict[int, Int64s] = field(default_factory=dict)

    def snap(self, x_dbu: float, y_dbu: float) -> tuple[int, int]:
        """Return the place on the grid of the moves at or before a place."""
        step = self.bench.step
        return int(x_dbu // step * step), int(y_dbu // step * step)

    def read(self, origin: tuple[int, int]) -> tuple[Int64s, Int64s]:
        """Return the target and the vias around a place, from there."""
        x, y = origin
        window = Box(x, y, x, y).grow(self.bench.reach)
        found = [
            read_target(layer, window, self.bench.dbu_nm, self.bench.process)
            for layer in (self.packed, *self.vias)
        ]
        low, high = np.array(window.as_tuple()[:2] * 2), np.array(window.as_tuple()[2:] * 2)
        target, *vias = (np.clip(rects, low, high) - np.array([x, y, x, y]) for rects in found)
        return target, np.concatenate([np.empty((0, 4), np.int64), *vias])

    def verify(self, around: tuple[Int64s, Int64s], change: Change, *, mends: bool) -> str:
        """Return what `stages.fixes.search.verify` says there, once of equal geometry."""
        target, vias = around
        key = (target.tobytes(), vias.tobytes(), change, mends)
        if key not in self._known:
            self._known[key] = verify(target, change, vias, self.bench, mends=mends)
        return self._known[key]

    def prints_everywhere(self, wanted: CellChange) -> bool:
        """Return whether a cell may be changed: nothing fails more in any of its placements."""
        if wanted not in self._everywhere:
            self._everywhere[wanted] = all(
                self._prints_at(wanted.change.place(*placed))
                for placed in self.list_placements(wanted.cell).tolist()
            )
        return self._everywhere[wanted]

    def _prints_at(self, change: Change) -> bool:
        x, y = self.snap(*change.middle)
        return not self.verify(self.read((x, y)), change.shift(-x, -y), mends=False)

    def count_placements(self, cell: int) -> int:
        """Return how often a cell is placed."""
        return len(self.list_placements(cell))

    def list_placements(self, cell: int) -> Int64s:
        """Return where a cell is placed, see `stages.geometry.owners.list_placements`."""
        if cell not in self._placements:
            self._placements[cell] = list_placements(self.packed, cell)
        return self._placements[cell]


@lru_cache(maxsize=2)
def open_ground(job: FixJob) -> Ground:
    """Return the layout of a run, opened once per worker."""
    layout, rules, process = open_layout(job.run), job.rules, job.process
    vias = open_packed(job.run / VIAS).packed if rules.vias else ()

    def to_dbu(length_nm: float) -> int:
        return round(length_nm / layout.dbu_nm)

    least = DesignRules(
        to_dbu(process.min_width_nm if rules.width_nm is None else rules.width_nm),
        to_dbu(process.min_space_nm if rules.space_nm is None else rules.space_nm),
        to_dbu(rules.enclosure_nm),
    )
    step = max(1, to_dbu(rules.grid_nm))
    bench = make_bench(process, job.opc, layout.dbu_nm, least, step)
    return Ground(layout.packed[0], layout.cells[0], tuple(vias), bench)
