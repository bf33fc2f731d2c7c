"""Simulating a region, tile by tile: OPC, defects, contours.

in       a packed layout, a process, whether the mask is corrected first
out      per tile: the rectangles that correct the mask, the defects, the margins, the contours
promise  the result does not depend on tiles or workers; a stopped simulation resumes
"""

from __future__ import annotations

import time
from collections.abc import Container, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import shapely
from shapely import Polygon

from pipeline.engine.agreement import Agreement
from pipeline.engine.session import Session
from pipeline.engine.storage.checksums import seal
from pipeline.engine.storage.ledger import Status, UnitOutcome
from pipeline.engine.storage.run_directory import write_array, write_table
from pipeline.engine.storage.tables import explain_damage, read_table
from pipeline.passes.units import open_layout
from stages.arithmetic import Arithmetic
from stages.contracts import Box, Defect, Int64s, PackedLayer
from stages.errors import IncompleteError
from stages.geometry.staircase import cut_into_rects
from stages.geometry.union import merge
from stages.geometry.window_query import query
from stages.lithography.arithmetic import measure_simulation
from stages.lithography.correction.curves import (
    compute_curves_reach_nm,
    find_curved_corrections,
    find_curved_mask,
)
from stages.lithography.correction.opc import find_corrections
from stages.lithography.measure.defects import check_window
from stages.lithography.measure.margins import CellMargins, merge_cells
from stages.lithography.measure.prints import simulate_prints
from stages.lithography.measure.sections import KINDS
from stages.lithography.measure.slanted import list_slanted_edges
from stages.lithography.optics.fields import compute_halo_nm, compute_slab_dbu
from stages.lithography.process import Process
from stages.text import escape_text
from stages.tiles import Tile, cut_tiles

DEFECTS = pa.schema(
    [
        ("x_dbu", pa.int64()), ("y_dbu", pa.int64()), ("kind", pa.string()),
        ("corner", pa.string()), ("severity", pa.float64()),
    ]
)  # fmt: skip
MARGINS = pa.schema(
    [("x_dbu", pa.int64()), ("y_dbu", pa.int64()), *((kind, pa.float32()) for kind in KINDS)]
)
"""Lower left corner of a cell, and the worst margin in it by kind."""
OUTLINES = pa.schema([("polygon", pa.binary())])
CONTOURS = pa.schema([("corner", pa.string()), ("polygon", pa.binary())])
BAND = "band"
"""Name, among the corners, of the process variation band."""


@dataclass(frozen=True, slots=True)
class Simulation:
    """The input of every tile of a simulation."""

    run: Path
    """The run directory."""
    area: Box
    tile_dbu: int
    process: Process
    opc: str
    """``none``, or how the mask is corrected first: ``model`` by its edges, ``curvy``."""
    cell_dbu: int
    """Side of the cells that margins are gathered in, see `stages.lithography.measure.margins`."""
    mask: bool = False
    """Whether the layout's last layer is the mask; the first is the target."""

    @property
    def tiles(self) -> tuple[Tile, ...]:
        """The tiles of the area."""
        return cut_tiles(self.area, self.tile_dbu)


def run_simulation(session: Session, job: Simulation, *, contours: bool) -> int:
    """Run the stages of a simulation that are not finished; return how many units failed."""
    stages = ["defects"]
    alike = Agreement(partial(measure, job.run, job.process))
    if job.opc != "none":
        stages.insert(0, "mask")
        tiles = cut_tiles(_compute_mask_area(job), job.tile_dbu)
        session.run_units(
            "mask", "tiles", tiles, partial(correct_tile, job=job), name_tile,
            replace(alike, dependents=("defects", "contours")),
        )  # fmt: skip
    session.run_units("defects", "tiles", job.tiles, partial(check_tile, job=job), name_tile, alike)
    if contours:
        stages.append("contours")
        task = partial(print_tile, job=job)
        session.run_units("contours", "tiles", job.tiles, task, name_tile, alike)
    return sum(session.ledger.totals(stage).failed for stage in stages)


def measure(run: Path, process: Process) -> Arithmetic:
    """Return what simulates the layout of a run in this process."""
    return measure_simulation(process, open_layout(run).dbu_nm)


def name_tile(tile: Tile) -> str:
    """Return the name of a tile's unit."""
    return tile.name


def read_defects(job: Simulation, tiles: Sequence[str]) -> tuple[Defect, ...]:
    """Return the defects of tiles, by y, then x."""
    files = [job.run / "defects" / f"{tile}.parquet" for tile in tiles]
    rows = [defect for file in files for defect in read_defect_table(file, job.process)]
    return tuple(sorted(rows, key=lambda d: (d.y_dbu, d.x_dbu, d.kind, d.corner)))


def read_defect_table(file: Path, process: Process) -> list[Defect]:
    """Return the defects of a table.

    Raises
    ------
    IncompleteError
        When it is missing or damaged, or names a corner that the process does not have.
    """
    defects = [Defect(**row) for row in read_table(file, DEFECTS).to_pylist()]
    corners = {corner.name for corner in process.corners}
    for defect in defects:
        if defect.corner not in corners:
            raise IncompleteError(
                f"{file} has a defect at corner {escape_text(defect.corner)!r}; corners of process "
                f"{process.name} are {', '.join(sorted(corners))}: simulate into a new directory"
            )
    return defects


def read_target(packed: PackedLayer, box: Box, dbu_nm: float, process: Process) -> Int64s:
    """Return a layer's shapes in a window as disjoint rectangles, slanted edges in fine steps."""
    return merge(cut_into_rects(query(packed, box), compute_slab_dbu(process, dbu_nm)))


def read_slanted(packed: PackedLayer, box: Box) -> Int64s:
    """Return the edges of a layer around a window that are measured across."""
    return list_slanted_edges(query(packed, box))


def _compute_mask_area(job: Simulation) -> Box:
    """Return the area where the mask is corrected: all that simulating the border needs."""
    return job.area.grow(2 * _compute_reach_dbu(job, compute_halo_nm(job.process)))


def _compute_reach_dbu(job: Simulation, length_nm: float) -> int:
    return int(length_nm / open_layout(job.run).dbu_nm) + 1


def correct_tile(tile: Tile, *, job: Simulation) -> UnitOutcome:
    """Correct the mask of a tile and write the rectangles that do so."""
    started = time.perf_counter()
    layout = open_layout(job.run)
    window = tile.box.intersect(_compute_mask_area(job))
    assert window is not None  # tiles are those that the area reaches
    curved = job.opc == "curvy"
    reach_nm = (compute_curves_reach_nm if curved else compute_halo_nm)(job.process)
    around = window.grow(_compute_reach_dbu(job, reach_nm))
    target = read_target(layout.packed[0], around, layout.dbu_nm, job.process)
    files = [f"mask/{tile.name}.npy"]
    if curved:
        cores = find_curved_mask(target, window, layout.dbu_nm, job.process)
        moved = find_curved_corrections(cores, target, window, layout.dbu_nm, job.process)
        files.append(f"mask/{tile.name}.parquet")
        _write_outlines(job.run / files[1], cores, window)
    else:
        moved = find_corrections(target, window, layout.dbu_nm, job.process)
    write_array(job.run / files[0], moved.astype(np.int32))
    return _make_outcome("mask", tile, len(moved), {"rectangles": len(moved)}, files, job, started)


def _write_outlines(
    file: Path, cores: Sequence[tuple[Box, Sequence[Polygon]]], window: Box
) -> None:
    """Write the polygons of the cores that begin in a window."""
    polygons = [
        shapely.to_wkb(polygon)
        for core, mine in cores
        if window.x_min <= core.x_min < window.x_max and window.y_min <= core.y_min < window.y_max
        for polygon in mine
    ]
    write_table(file, pa.table({"polygon": polygons}, schema=OUTLINES))


def read_outlines(job: Simulation, finished: Container[str]) -> Iterator[Polygon]:
    """Yield the polygons of a curved mask that reach into the area.

    Parameters
    ----------
    finished
        Names of the tiles whose mask is there.
    """
    area = shapely.box(*job.area.as_tuple())
    for tile in cut_tiles(_compute_mask_area(job), job.tile_dbu):
        if tile.name in finished:
            file = job.run / "mask" / f"{tile.name}.parquet"
            column = read_table(file, OUTLINES)["polygon"]
            with explain_damage(file, advice="simulate into a new directory"):
                polygons = shapely.from_wkb(column.to_numpy(zero_copy_only=False))
            yield from polygons[shapely.intersects(polygons, area)]


def read_geometry(job: Simulation, window: Box) -> tuple[Int64s, Int64s | None]:
    """Return the target and the mask around a window; None where the mask is the target.

    Parameters
    ----------
    window
        In the area, or at most `compute_halo_nm` outside.
    """
    layout = open_layout(job.run)
    around = window.grow(_compute_reach_dbu(job, compute_halo_nm(job.process)))
    target = read_target(layout.packed[0], around, layout.dbu_nm, job.process)
    if job.mask:
        return target, read_target(layout.packed[-1], around, layout.dbu_nm, job.process)
    if job.opc == "none":
        return target, None
    moves = [
        _read_corrections(job.run / "mask" / f"{tile.name}.npy")
        for tile in cut_tiles(around, job.tile_dbu)
    ]
    return target, np.concatenate([np.insert(target, 4, 1, axis=1), *moves])


def _read_corrections(file: Path) -> Int64s:
    """Return the rectangles that correct the mask of a tile, (n, 5)."""
    with explain_damage(file, advice="simulate into a new directory"):
        moved = np.load(file, allow_pickle=False)
        if moved.dtype != np.int32 or moved.ndim != 2 or moved.shape[1] != 5:
            raise ValueError(f"it is {moved.dtype} of shape {moved.shape}, not int32 of (n, 5)")
    rectangles: Int64s = moved.astype(np.int64)
    return rectangles


def _cut_window(tile: Tile, job: Simulation) -> Box:
    window = tile.box.intersect(job.area)
    assert window is not None  # tiles are those that the area reaches
    return window


def check_tile(tile: Tile, *, job: Simulation) -> UnitOutcome:
    """Simulate a tile and write its defects and margins."""
    started = time.perf_counter()
    window = _cut_window(tile, job)
    target, mask = read_geometry(job, window)
    layout = open_layout(job.run)
    around = window.grow(_compute_reach_dbu(job, compute_halo_nm(job.process)))
    slanted = read_slanted(layout.packed[0], around)
    found = check_window(target, window, layout.dbu_nm, job.process, job.cell_dbu, mask, slanted)
    defects, margins = found.defects, found.margins
    table = pa.Table.from_pylist([asdict(defect) for defect in defects], schema=DEFECTS)
    files = f"defects/{tile.name}.parquet", f"margins/{tile.name}.parquet"
    write_table(job.run / files[0], table)
    write_table(job.run / files[1], make_margin_table(margins))
    counts: dict[str, float] = {"defects": len(defects), "cells": len(margins)}
    return _make_outcome("defects", tile, len(margins), counts, files, job, started)


def make_margin_table(margins: CellMargins) -> pa.Table:
    """Return the table of the cells of `MARGINS`."""
    return pa.table([margins.x_dbu, margins.y_dbu, *margins.margin.T], schema=MARGINS)


def read_margins(job: Simulation, tiles: Sequence[str]) -> CellMargins:
    """Return the margins of tiles, cell by cell.

    Raises
    ------
    IncompleteError
        When a table is missing or damaged.
    """
    parts = []
    for tile in tiles:
        table = read_table(job.run / "margins" / f"{tile}.parquet", MARGINS)
        x, y, *margin = (table[name].to_numpy() for name in MARGINS.names)
        parts.append(CellMargins(x, y, np.stack(margin, axis=1)))
    return merge_cells(parts)


def print_tile(tile: Tile, *, job: Simulation) -> UnitOutcome:
    """Simulate a tile and write the contours at every corner, and the band between them."""
    started = time.perf_counter()
    window = _cut_window(tile, job)
    target, mask = read_geometry(job, window)
    um2 = (open_layout(job.run).dbu_nm / 1000) ** 2
    shapes = simulate_prints(
        target if mask is None else mask, window, open_layout(job.run).dbu_nm, job.process
    )
    rows = [
        {"corner": name, "polygon": shapely.to_wkb(polygon)}
        for name, polygons in (*shapes.by_corner.items(), (BAND, shapes.band))
        for polygon in polygons
    ]
    table = pa.Table.from_pylist(rows, schema=CONTOURS)
    write_table(job.run / (file := f"contours/{tile.name}.parquet"), table)
    counts = {
        "contours": len(rows),
        "band_um2": sum(polygon.area for polygon in shapes.band) * um2,
        **{
            f"printed_um2_{name}": sum(polygon.area for polygon in polygons) * um2
            for name, polygons in shapes.by_corner.items()
        },
    }
    return _make_outcome("contours", tile, len(rows), counts, [file], job, started)


def _make_outcome(
    stage: str,
    tile: Tile,
    found: int,
    counts: dict[str, float],
    files: Sequence[str],
    job: Simulation,
    started: float,
) -> UnitOutcome:
    return UnitOutcome(
        stage, tile.name, Status.DONE if found else Status.EMPTY, counts=counts,
        checksum=seal(job.run, files), files=tuple(files), seconds=time.perf_counter() - started,
        arithmetic=measure(job.run, job.process),
    )  # fmt: skip


def count_kinds(defects: Sequence[Defect]) -> dict[str, int]:
    """Return how many defects there are of each kind, most first."""
    names, counts = np.unique([defect.kind for defect in defects] or [""], return_counts=True)
    tally = {str(name): int(n) for name, n in zip(names, counts, strict=True) if name}
    return dict(sorted(tally.items(), key=lambda item: -item[1]))
