"""Confirming hotspots: simulating the fields that hold clips over the threshold.

in       the clips over the threshold, the packed layout, the process of the model
out      a table of defects per batch of fields, so that a stopped scan resumes; `Confirmed`
promise  a clip fails exactly if it fails when its whole region is simulated
"""

from __future__ import annotations

import time
from collections.abc import Container, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.engine.checksums import seal
from pipeline.engine.ledger import Status, UnitOutcome
from pipeline.engine.run_directory import Run, write_table
from pipeline.engine.stored import read_table
from pipeline.layout.ingest import compute_sha256
from pipeline.passes.units import open_layout
from pipeline.simulate.tiles import (
    DEFECTS,
    correct_window,
    read_defect_table,
    read_slanted,
    read_target,
)
from stages.contracts import Box, Clips, Defect, Hotspot, Int64s, Verdict
from stages.errors import IncompleteError
from stages.hotspots import assign_hotspots
from stages.lithography.measure.defects import find_defects
from stages.lithography.optics.fields import Lattice, make_lattice
from stages.lithography.process import Process

HOT_CLIPS = "hot_clips.parquet"
CLIPS = pa.schema([("x_dbu", pa.int64()), ("y_dbu", pa.int64()), ("hotspot", pa.int64())])


@dataclass(frozen=True, slots=True)
class Confirmation:
    """The input of every batch."""

    run: Path
    """The run directory."""
    hot_clips: str
    """Digest of the clips to simulate, which depend on the threshold."""
    core_dbu: int
    process: Process
    opc: str
    batch_fields: int
    clips: str = HOT_CLIPS
    """The list of clips, relative to the run directory."""
    folder: str = "confirm"
    """Where the defects of each batch go, relative to the run directory."""

    @property
    def batches(self) -> range:
        """The units."""
        return range(-(-len(_read_hot(self).fields) // self.batch_fields))


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The result of simulating the clips over the threshold."""

    verdicts: dict[int, Verdict]
    """By id of the hotspot. A hotspot has none if one of its clips was not simulated and none of
    the others fails."""
    clips_simulated: int
    clips_failing: int


def select_to_simulate(hotspots: Sequence[Hotspot], confident: bool) -> list[int]:
    """Return the ids of the hotspots to simulate: all, or only those for review."""
    return [spot.id for spot in hotspots if confident or spot.answer == "review"]


def write_hot_clips(
    run: Run, hotspots: Sequence[Hotspot], asked: Sequence[int], clips: Clips, core_dbu: int
) -> None:
    """Write the clips over the threshold of the hotspots to simulate, with their ids."""
    x, y = clips.x_dbu, clips.y_dbu
    owner = assign_hotspots(hotspots, x, y, core_dbu) if len(clips) else x
    kept = np.isin(owner, asked)
    write_clips_to_simulate(run, x[kept], y[kept], owner[kept])


def write_clips_to_simulate(
    run: Run, x_dbu: Int64s, y_dbu: Int64s, owner: Int64s, clips: str = HOT_CLIPS
) -> None:
    """Write the clips to simulate, (n,), with the id of the owner of each."""
    order = np.lexsort((x_dbu, y_dbu))
    table = pa.table([x_dbu[order], y_dbu[order], owner[order]], schema=CLIPS)
    write_table(run.path / clips, table)


def make_confirmation(
    run: Run, core_dbu: int, process: Process, opc: str, batch_fields: int
) -> Confirmation:
    """Return the input of the batches for the clips that a run holds now."""
    digest = compute_sha256(run.path / HOT_CLIPS)
    return Confirmation(run.path, digest, core_dbu, process, opc, batch_fields)


def count_fields(job: Confirmation) -> int:
    """Return how many fields hold the clips to simulate."""
    return len(_read_hot(job).fields)


def name_batch(batch: int) -> str:
    """Return the name of a batch's unit."""
    return f"{batch:05d}"


@dataclass(frozen=True, slots=True, eq=False)
class _Hot:
    """The clips over the threshold, and the fields that their cores overlap."""

    x_dbu: Int64s
    y_dbu: Int64s
    hotspot: Int64s
    touched: Int64s
    """(n, 4, 2) row and column of each clip's fields."""
    fields: Int64s
    """(f, 2) row and column of the fields to simulate, by row, then column."""


@lru_cache(maxsize=2)
def _read_hot(job: Confirmation) -> _Hot:
    table = read_table(job.run / job.clips, CLIPS)
    x, y, owner = (table[name].to_numpy() for name in CLIPS.names)
    side, half = _make_lattice(job).core_dbu, job.core_dbu // 2
    low_x, high_x = (x - half) // side, (x + half - 1) // side
    low_y, high_y = (y - half) // side, (y + half - 1) // side
    rows, columns = (low_y, low_y, high_y, high_y), (low_x, high_x, low_x, high_x)
    touched = np.stack([np.stack(rows, axis=1), np.stack(columns, axis=1)], axis=2)
    return _Hot(x, y, owner, touched, np.unique(touched.reshape(-1, 2), axis=0))


def _list_fields(job: Confirmation, number: int) -> list[tuple[int, int]]:
    """Return row and column of the fields of a batch."""
    part = slice(number * job.batch_fields, (number + 1) * job.batch_fields)
    return [(row, column) for row, column in _read_hot(job).fields[part].tolist()]


def _make_lattice(job: Confirmation) -> Lattice:
    return make_lattice(job.process, open_layout(job.run).dbu_nm)


def confirm_batch(batch: int, *, job: Confirmation) -> UnitOutcome:
    """Simulate a batch of fields and write the defects of each."""
    started = time.perf_counter()
    layout, lattice = open_layout(job.run), _make_lattice(job)
    fields = _list_fields(job, batch)
    defects: list[Defect] = []
    for row, column in fields:
        x, y = column * lattice.core_dbu, row * lattice.core_dbu
        core = Box(x, y, x + lattice.core_dbu, y + lattice.core_dbu)
        around, mask = core.grow(lattice.guard_dbu), None
        if job.opc == "model":
            target, mask = correct_window(layout.packed[0], around, layout.dbu_nm, job.process)
        else:
            target = read_target(layout.packed[0], around, layout.dbu_nm, job.process)
        slanted = read_slanted(layout.packed[0], around)
        defects += find_defects(target, core, layout.dbu_nm, job.process, mask, slanted=slanted)
    table = pa.Table.from_pylist([asdict(defect) for defect in defects], schema=DEFECTS)
    file = f"{job.folder}/{name_batch(batch)}.parquet"
    write_table(job.run / file, table)
    return UnitOutcome(
        "confirm", name_batch(batch), Status.DONE if defects else Status.EMPTY,
        checksum=seal(job.run, (file,)), files=(file,),
        counts={"fields": len(fields), "defects": len(defects)},
        seconds=time.perf_counter() - started,
    )  # fmt: skip


def _find_worst(defects: Sequence[Defect]) -> Defect | None:
    """Return the defect of highest severity; of equals, the lowest, then the leftmost."""
    return min(defects, key=lambda d: (-d.severity, d.y_dbu, d.x_dbu, d.kind), default=None)


def read_confirmed(job: Confirmation, finished: Container[str]) -> Confirmed:
    """Return the verdict on each hotspot.

    Parameters
    ----------
    finished
        Names of the batches that were simulated.
    """
    by_field: dict[tuple[int, int], list[Defect]] = {}
    side = _make_lattice(job).core_dbu
    # Names come from the batches: those in a ledger could lead anywhere.
    for batch in [batch for batch in job.batches if name_batch(batch) in finished]:
        by_field |= {field: [] for field in _list_fields(job, batch)}
        file = job.run / job.folder / f"{name_batch(batch)}.parquet"
        for defect in read_defect_table(file, job.process):
            place = defect.y_dbu // side, defect.x_dbu // side
            if place not in by_field:
                raise IncompleteError(
                    f"{file} has a defect outside of its fields, at ({defect.x_dbu}, "
                    f"{defect.y_dbu}) dbu; scan into a new run directory"
                )
            by_field[place].append(defect)
    return _judge_hotspots(job, by_field)


def _judge_hotspots(job: Confirmation, by_field: dict[tuple[int, int], list[Defect]]) -> Confirmed:
    """Assign the defects of each field to the clips in whose cores they lie, and to hotspots."""
    hot, half = _read_hot(job), job.core_dbu // 2
    failing: dict[int, set[Defect]] = {}
    incomplete: set[int] = set()
    clips_simulated = clips_failing = 0
    every = zip(
        hot.x_dbu.tolist(), hot.y_dbu.tolist(), hot.hotspot.tolist(), hot.touched.tolist(),
        strict=True,
    )  # fmt: skip
    for clip_x, clip_y, owner, touched in every:
        mine = failing.setdefault(owner, set())
        fields = {(row, column) for row, column in touched}
        if not fields <= by_field.keys():
            incomplete.add(owner)
        inside = [
            defect
            for place in fields & by_field.keys()
            for defect in by_field[place]
            if clip_x - half <= defect.x_dbu < clip_x + half
            and clip_y - half <= defect.y_dbu < clip_y + half
        ]
        mine.update(inside)
        clips_simulated += fields <= by_field.keys()
        clips_failing += bool(inside)
    verdicts = {
        owner: Verdict(len(defects), _find_worst(list(defects)))
        for owner, defects in failing.items()
        if defects or owner not in incomplete
    }
    return Confirmed(verdicts, clips_simulated, clips_failing)
