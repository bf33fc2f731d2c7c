"""Simulating a region: what would print of it, and where that fails, tile by tile.

in       a packed layout, a process, whether the mask is corrected first
out      per tile: the moves of the mask's edges, the defects, the printed contours
promise  what a tile says does not depend on tiles or workers; a stopped simulation goes on
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from shapely import Polygon

from pipeline.engine.integrity import seal
from pipeline.engine.ledger import Status, UnitOutcome
from pipeline.engine.run_directory import Run, write_array, write_table
from pipeline.engine.session import Session
from pipeline.passes.units import open_layout
from stages.contracts import Box, Defect, Int64s, PackedLayer
from stages.geometry.staircase import as_rects
from stages.geometry.union import merge
from stages.geometry.window_query import query
from stages.lithography.correction.opc import corrections, reach_nm
from stages.lithography.measure.defects import find_defects
from stages.lithography.measure.prints import printed
from stages.lithography.optics.fields import halo_nm
from stages.lithography.optics.fields import reach_nm as field_reach_nm
from stages.lithography.process import Process
from stages.tiles import Tile, tiles_of

DEFECTS = pa.schema(
    [
        ("x_dbu", pa.int64()), ("y_dbu", pa.int64()), ("kind", pa.string()),
        ("corner", pa.string()), ("severity", pa.float64()),
    ]
)  # fmt: skip
CONTOURS = pa.schema([("corner", pa.string()), ("polygon", pa.binary())])
BAND = "band"
"""Name, beside the corners, of what prints at some corners and not at others."""


@dataclass(frozen=True, slots=True)
class Simulation:
    """What is simulated, and how."""

    run: Path
    """The run directory."""
    area: Box
    tile_dbu: int
    process: Process
    opc: str
    """``none``, or ``model``: the mask is corrected first."""
    mask: bool = False
    """Whether the layout's last layer is the mask; the first is what shall print."""

    @property
    def tiles(self) -> tuple[Tile, ...]:
        """The tiles of the area."""
        return tiles_of(self.area, self.tile_dbu)


def simulate(session: Session, job: Simulation, *, contours: bool) -> int:
    """Run the stages of a simulation that are not finished; return how many units failed."""
    stages = ["defects"]
    if job.opc == "model":
        stages.insert(0, "mask")
        tiles = tiles_of(_mask_area(job), job.tile_dbu)
        session.run_units("mask", "tiles", tiles, partial(correct_tile, job=job), name_of)
    session.run_units("defects", "tiles", job.tiles, partial(check_tile, job=job), name_of)
    if contours:
        stages.append("contours")
        session.run_units("contours", "tiles", job.tiles, partial(print_tile, job=job), name_of)
    return sum(session.ledger.totals(stage).failed for stage in stages)


def name_of(tile: Tile) -> str:
    """Return the name of a tile's unit."""
    return tile.name


def read_defects(job: Simulation, tiles: Sequence[str]) -> tuple[Defect, ...]:
    """Return the defects of tiles, by y, then x."""
    folder = Run(job.run).path / "defects"
    tables = [pq.read_table(folder / f"{tile}.parquet") for tile in tiles]
    rows = [Defect(**row) for row in pa.concat_tables([DEFECTS.empty_table(), *tables]).to_pylist()]
    return tuple(sorted(rows, key=lambda d: (d.y_dbu, d.x_dbu, d.kind, d.corner)))


def target_in(packed: PackedLayer, box: Box, dbu_nm: float, process: Process) -> Int64s:
    """Return a layer's shapes in a window as disjoint rectangles, slanted edges in fine steps."""
    step = max(1, round(process.wavelength_nm / process.na / 70 / dbu_nm))
    return merge(as_rects(query(packed, box), step))


def _mask_area(job: Simulation) -> Box:
    """Return where the mask is corrected: all that is looked at, to the border of the area."""
    return job.area.grown(2 * _reach(job, halo_nm(job.process)))


def _reach(job: Simulation, length_nm: float) -> int:
    return int(length_nm / open_layout(job.run).dbu_nm) + 1


def correct_tile(tile: Tile, *, job: Simulation) -> UnitOutcome:
    """Correct the edges of a tile and keep how they moved."""
    started = time.perf_counter()
    layout = open_layout(job.run)
    window = tile.box.intersect(_mask_area(job))
    assert window is not None  # tiles are those that the area reaches
    around = window.grown(_reach(job, reach_nm(job.process)))
    target = target_in(layout.packed[0], around, layout.dbu_nm, job.process)
    moved = corrections(target, window, layout.dbu_nm, job.process)
    write_array(job.run / (file := f"mask/{tile.name}.npy"), moved.astype(np.int32))
    return _outcome("mask", tile, len(moved), {"rectangles": len(moved)}, file, job, started)


def corrected(
    packed: PackedLayer, window: Box, dbu_nm: float, process: Process
) -> tuple[Int64s, Int64s]:
    """Return the target of a window and its corrected mask, as signed rectangles."""
    reach = int(reach_nm(process) / dbu_nm) + 1
    target = target_in(packed, window.grown(reach), dbu_nm, process)
    moved = corrections(target, window, dbu_nm, process)
    return target, np.concatenate([np.insert(target, 4, 1, axis=1), moved])


def print_window(
    packed: PackedLayer, window: Box, dbu_nm: float, process: Process, opc: str, corner: str
) -> tuple[Int64s, Sequence[Polygon]]:
    """Return what shall print of a small window, and what prints of it at a corner."""
    side_nm = max(window.width, window.height) * dbu_nm
    around = window.grown(int(field_reach_nm(process, side_nm) / dbu_nm) + 1)
    corners = [each for each in process.corners if each.name == corner]
    mask: Int64s
    if opc == "model":
        target, mask = corrected(packed, around, dbu_nm, process)
    else:
        target = mask = target_in(packed, around, dbu_nm, process)
    return target, printed(mask, window, dbu_nm, process, corners).by_corner[corner]


def geometry(job: Simulation, window: Box) -> tuple[Int64s, Int64s | None]:
    """Return the target and the mask around a window; None where the mask is the target.

    Parameters
    ----------
    window
        In the area, or at most `halo_nm` outside.
    """
    layout = open_layout(job.run)
    around = window.grown(_reach(job, halo_nm(job.process)))
    target = target_in(layout.packed[0], around, layout.dbu_nm, job.process)
    if job.mask:
        return target, target_in(layout.packed[-1], around, layout.dbu_nm, job.process)
    if job.opc == "none":
        return target, None
    moves = [
        np.load(job.run / "mask" / f"{tile.name}.npy").astype(np.int64)
        for tile in tiles_of(around, job.tile_dbu)
    ]
    return target, np.concatenate([np.insert(target, 4, 1, axis=1), *moves])


def _window(tile: Tile, job: Simulation) -> Box:
    window = tile.box.intersect(job.area)
    assert window is not None  # tiles are those that the area reaches
    return window


def check_tile(tile: Tile, *, job: Simulation) -> UnitOutcome:
    """Simulate a tile and keep its defects."""
    started = time.perf_counter()
    window = _window(tile, job)
    target, mask = geometry(job, window)
    dbu_nm = open_layout(job.run).dbu_nm
    defects = find_defects(target, window, dbu_nm, job.process, mask)
    table = pa.Table.from_pylist([asdict(defect) for defect in defects], schema=DEFECTS)
    write_table(job.run / (file := f"defects/{tile.name}.parquet"), table)
    return _outcome("defects", tile, len(defects), {"defects": len(defects)}, file, job, started)


def print_tile(tile: Tile, *, job: Simulation) -> UnitOutcome:
    """Simulate a tile and keep the contours at every corner, and the band between them."""
    started = time.perf_counter()
    window = _window(tile, job)
    target, mask = geometry(job, window)
    um2 = (open_layout(job.run).dbu_nm / 1000) ** 2
    shapes = printed(
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
    return _outcome("contours", tile, len(rows), counts, file, job, started)


def _outcome(
    stage: str,
    tile: Tile,
    found: int,
    counts: dict[str, float],
    file: str,
    job: Simulation,
    started: float,
) -> UnitOutcome:
    return UnitOutcome(
        stage, tile.name, Status.DONE if found else Status.EMPTY, counts=counts,
        checksum=seal(job.run, (file,)), files=(file,), seconds=time.perf_counter() - started,
    )  # fmt: skip


def kinds(defects: Sequence[Defect]) -> dict[str, int]:
    """Return how many defects there are of each kind, most first."""
    names, counts = np.unique([defect.kind for defect in defects] or [""], return_counts=True)
    tally = {str(name): int(n) for name, n in zip(names, counts, strict=True) if name}
    return dict(sorted(tally.items(), key=lambda item: -item[1]))
