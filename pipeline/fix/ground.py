"""The layout that fixes are tried on.

in       the packed layout of a run, the process, design rules
out      what a change leaves failing, the moves that mend a place
unit     a hotspot
promise  each depends on the geometry around it alone; equal geometry is simulated once
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np

from pipeline.config import FixConfig
from pipeline.layout.ingest import open_packed
from pipeline.passes.units import open_layout
from pipeline.simulate.tiles import read_target
from stages.contracts import Box, Floats, Int64s, PackedLayer
from stages.fixes.bench import Bench, make_bench, simulate, simulate_core
from stages.fixes.members import CellChange
from stages.fixes.moves import UNCHANGED, Change, join_changes
from stages.fixes.rules import DesignRules, Drawn, find_broken, inspect_drawn
from stages.fixes.search import (
    BREAKS,
    ELSEWHERE,
    Fix,
    find_failing,
    find_fix,
    is_inside,
    prints_near,
)
from stages.geometry.owners import list_placements
from stages.geometry.union import merge
from stages.lithography.process import Process

FOLDER, VIAS = "fix", "fix/vias"
Place = tuple[int, int]


@dataclass(frozen=True, slots=True)
class FixJob:
    """The input of every class."""

    run: Path
    process: Process
    opc: str
    rules: FixConfig
    tolerance_dbu: float
    """How far the edges of two hotspots of a class may differ."""


@dataclass(slots=True, eq=False)
class Ground:
    """The layout that fixes are tried on, with what is known already."""

    packed: PackedLayer
    names: tuple[str, ...]
    """Of the cells of the packed layer."""
    vias: tuple[PackedLayer, ...]
    bench: Bench
    _prints: dict[bytes, Floats] = field(default_factory=dict)
    _fixes: dict[tuple[object, ...], Fix] = field(default_factory=dict)
    _everywhere: dict[CellChange, bool] = field(default_factory=dict)
    _placements: dict[int, Int64s] = field(default_factory=dict)

    def snap(self, x_dbu: float, y_dbu: float) -> Place:
        """Return the place on the grid of the moves at or before a place."""
        step = self.bench.step
        return int(x_dbu // step * step), int(y_dbu // step * step)

    def read(self, origin: Place) -> tuple[Int64s, Int64s]:
        """Return the target and the vias around a place, from there."""
        x, y = origin
        window = Box(x, y, x, y).grow(self.bench.reach)
        found = [
            read_target(layer, window, self.bench.dbu_nm, self.bench.process)
            for layer in (self.packed, *self.vias)
        ]
        low, high = np.array(window.as_tuple()[:2] * 2), np.array(window.as_tuple()[2:] * 2)
        target, *vias = (np.clip(rects, low, high) - np.array([x, y, x, y]) for rects in found)
        return merge(target), np.concatenate([np.empty((0, 4), np.int64), *vias])

    def search(self, place: Place, cores: Sequence[Box], given: Change) -> Fix:
        """Return what `stages.fixes.search.find_fix` finds at a place, once of equal geometry."""
        target, vias = self.read(place)
        given, boxes = self._bring(given, place), _list_boxes(cores) - np.array(place * 2)
        key = (_digest(target), _digest(vias), given, boxes.tobytes())
        if key not in self._fixes:
            self._fixes[key] = find_fix(target, vias, boxes, self.bench, given, self._simulate)
        return self._fixes[key]

    def try_change(
        self,
        origin: Place,
        change: Change,
        cores: Sequence[Box] = (),
        beside: Change = UNCHANGED,
    ) -> tuple[str, list[Place]]:
        """Simulate a change wherever it has an effect, and a hotspot as far as it failed.

        Parameters
        ----------
        origin
            The place that is simulated first.
        cores
            What is to be mended; nothing, if it is enough that nothing fails more than before.
        beside
            What else is changed.

        Returns
        -------
        reason : str
            What the change breaks or makes fail; empty if nothing.
        left : list of (x, y)
            Where it still fails in the cores, worst first.
        """
        left: list[tuple[float, int, int]] = []
        changed = join_changes((change, beside))
        for x, y in self.list_windows(origin, change, cores):
            target, vias = self.read((x, y))
            after = self._bring(changed, (x, y)).apply_to(target)
            drawn = _inspect(target.tobytes(), self.bench)
            if broken := find_broken(drawn, after, vias):
                return BREAKS + broken, []
            boxes = _list_boxes(cores) - np.array([x, y, x, y])
            prints = self._simulate(after), self._simulate(target)
            failing = find_failing(*prints, boxes, self.bench.same_dbu)
            if not is_inside(failing, boxes).all():
                return ELSEWHERE, []
            left += [(-bad, round(b) + y, round(a) + x) for a, b, _, bad in failing[:, 1:].tolist()]
        return "", [(x, y) for _, y, x in sorted(left)]

    def verify(
        self, origin: Place, change: Change, cores: Sequence[Box], beside: Change = UNCHANGED
    ) -> tuple[str, list[Place]]:
        """Return what `try_change` does, and where a scan would still find that the cores fail."""
        reason, left = self.try_change(origin, change, cores, beside)
        if reason or left:
            return reason, left
        found: list[tuple[float, int, int]] = []
        changed = join_changes((change, beside))
        for core in cores:
            x, y = (core.x_min + core.x_max) // 2, (core.y_min + core.y_max) // 2
            after = self._bring(changed, (x, y)).apply_to(self.read((x, y))[0])
            samples = simulate_core(after, self.bench, core.width)
            found += [
                (-bad, round(b) + y, round(a) + x) for a, b, _, bad in samples[:, 1:].tolist()
            ]
        return "", [(x, y) for _, y, x in sorted(found)]

    def list_windows(self, origin: Place, change: Change, cores: Sequence[Box]) -> list[Place]:
        """Return the middles of fields that hold the cores and all that a change has an effect on.

        The first is the origin.
        """
        effects = [Box(*rect).grow(self.bench.effect) for rect in change.removed + change.added]
        found, half = [origin], self.bench.far.core_dbu // 2
        for box in (*cores, *effects):
            x_0, y_0, x_1, y_1 = box.as_tuple()
            if not any(
                max(x - x_0, y - y_0, x_1 - x, y_1 - y) <= half for x, y in found
            ):  # fmt: skip
                found.append(self.snap((x_0 + x_1) / 2, (y_0 + y_1) / 2))
        return found

    def _bring(self, change: Change, place: Place) -> Change:
        """Return a change of the layout as it is around a place, from there."""
        (x, y), reach = place, self.bench.reach
        return change.shift(-x, -y).clip(Box(-reach, -reach, reach, reach))

    def _simulate(self, rects: Int64s) -> Floats:
        key = _digest(rects)
        if key not in self._prints:
            self._prints[key] = simulate(rects, self.bench)
        return self._prints[key]

    def seems_to_print(self, place: Place, change: Change) -> bool:
        """Return whether a change may mend a place: a test before the one of `try_change`."""
        target, _ = self.read(place)
        return prints_near(self._bring(change, place).apply_to(target), self.bench)

    def prints_everywhere(self, wanted: CellChange) -> bool:
        """Return whether a cell may be changed: nothing fails more in any of its placements.

        In one of them it was tried.
        """
        if self.count_placements(wanted.cell) == 1:
            return True
        if wanted not in self._everywhere:
            self._everywhere[wanted] = all(
                self._prints_at(wanted.change.place(*placed))
                for placed in self.list_placements(wanted.cell).tolist()
            )
        return self._everywhere[wanted]

    def _prints_at(self, change: Change) -> bool:
        return not self.try_change(self.snap(*change.middle), change)[0]

    def count_placements(self, cell: int) -> int:
        """Return how often a cell is placed."""
        return len(self.list_placements(cell))

    def list_placements(self, cell: int) -> Int64s:
        """Return where a cell is placed, see `stages.geometry.owners.list_placements`."""
        if cell not in self._placements:
            self._placements[cell] = list_placements(self.packed, cell)
        return self._placements[cell]


@lru_cache(maxsize=64)
def _inspect(rects: bytes, bench: Bench) -> Drawn:
    """Return what `inspect_drawn` says: at one place many changes are tried."""
    drawn = np.frombuffer(rects, np.int64).reshape(-1, 4)
    return inspect_drawn(drawn, bench.rules, bench.reach)


def _digest(rects: Int64s) -> bytes:
    """Return what stands for rectangles among those that are known: a chip has many."""
    return hashlib.blake2b(rects.tobytes(), digest_size=16).digest()


def _list_boxes(boxes: Sequence[Box]) -> Int64s:
    return np.array([box.as_tuple() for box in boxes], np.int64).reshape(-1, 4)


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
