"""Masks of the ICCAD-2013 clips, as the published tables count them.

L2 is the number of 1 nm pixels where the nominal print differs from the target, the band that of
pixels that print in focus at dose 1.02 or out of focus at 0.98 but not at both. A target edge is
checked in its middle if it is at most 80 nm long, else every 40 nm from 40 nm inside both ends
towards the middle; a check is violated when the pixel 15 nm inside does not print, or the one 15 nm
outside does. Shots are the rectangles of the mask, cut along x or along y, whichever gives fewer;
curved masks have none. KLayout counts the places under the least width or space of the mask, of
sides that face each other within 60 degrees. Prints are those of the plain evaluation, not ours.

The settings were chosen on other clips: windows of 1 um of li1 of a taped-out chip, scaled to lines
of 70 nm, of the first metal of NanGate's 45 nm cells, and of generated wires. For edges, the weight
of the band was changed after a first run on the contest's clips, too.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import klayout.db as kdb
import numpy as np
import numpy.typing as npt
import shapely
from shapely import Polygon

from stages.contracts import Float32s, Int64s
from stages.geometry.union import find_edges, swap_xy
from stages.lithography.correction.curves import correct_whole_by_curves
from stages.lithography.correction.opc import correct_whole
from stages.lithography.correction.outlines import cut_into_signed_rects
from stages.lithography.optics.fields import make_disjoint
from stages.lithography.process import Opc, Process

Bools = npt.NDArray[np.bool_]

SETTINGS = Opc(
    iterations=8, damping=0.5, fragment_nm=40, corner_nm=20, max_move_nm=40, min_mask_width_nm=20,
    min_mask_space_nm=20, bar_nm=32, descent=120, band_weight=0.5,
)  # fmt: skip
SPACING_NM, SHORT_NM, FAR_NM = 40, 80, 15
FACING_NM = 100
"""How near to the border of a clip its mask is not checked: it goes on at the other side."""
PUBLISHED = (
    ("DiffOPC, edges", 30_119, 51_924, 3.2),
    ("OpenILT CurvMulti, curves", 26_941, 43_417, 2.0),
)


class Counted(NamedTuple):
    """One mask."""

    l2_nm2: int
    band_nm2: int
    violations: int
    shots: int | None
    seconds: float
    """Of one core."""
    broken: int
    """Places that break the rules of the mask."""


def correct_edges(target: Int64s, process: Process) -> tuple[Int64s, float]:
    """Return the mask of a clip, (r, 4) disjoint rectangles in nm, and the seconds it took."""
    started = time.process_time()
    mask = correct_whole(target, 1.0, replace(process, opc=SETTINGS))
    return make_disjoint(mask), time.process_time() - started


def correct_by_curves(target: Int64s, process: Process) -> tuple[list[Polygon], float]:
    """Return the curved mask of a clip, in nm, and the seconds it took."""
    started = time.process_time()
    mask = correct_whole_by_curves(target, 1.0, replace(process, opc=SETTINGS))
    return mask, time.process_time() - started


def as_boxes(rects: Int64s) -> list[Polygon]:
    """Return rectangles as polygons."""
    return list(shapely.box(*rects.T))


def build_region(polygons: Sequence[Polygon]) -> kdb.Region:
    """Return polygons of whole nm as a merged region of KLayout."""
    region = kdb.Region()
    for polygon in polygons:
        outer, *holes = (
            [kdb.Point(int(x), int(y)) for x, y in ring.coords[:-1]]
            for ring in (polygon.exterior, *polygon.interiors)
        )
        shape = kdb.Polygon(outer)
        for hole in holes:
            shape.insert_hole(hole)
        region.insert(shape)
    return region.merged()


def count_broken(polygons: Sequence[Polygon], side: int) -> int:
    """Count the places of a mask that break its rules; what the border of the clip cuts is left."""
    facing = {"metrics": kdb.Metrics.Projection, "ignore_angle": 60}
    mask, inside = build_region(polygons), kdb.Box(0, 0, side, side).enlarged(-FACING_NM)
    width = mask.width_check(round(SETTINGS.min_mask_width_nm), **facing)
    space = mask.space_check(round(SETTINGS.min_mask_space_nm), **facing)
    return sum(pair.bbox().inside(inside) for each in (width, space) for pair in each.each())


def count_shots(mask: Int64s) -> int:
    """Count the rectangles of a mask, cut the better way."""
    return min(len(make_disjoint(mask)), len(make_disjoint(swap_xy(mask))))


def fill(rects: Int64s, side: int) -> Bools:
    """Draw rectangles in pixels of 1 nm."""
    drawn = np.zeros((side, side), bool)
    for x_min, y_min, x_max, y_max in rects.tolist():
        drawn[y_min:y_max, x_min:x_max] = True
    return drawn


def fill_polygons(polygons: Sequence[Polygon], side: int) -> Bools:
    """Draw polygons in pixels of 1 nm: those whose centre they cover."""
    rects = cut_into_signed_rects(polygons, 1)
    added, taken = (fill(rects[rects[:, 4] == sign, :4], side) for sign in (1, -1))
    return added & ~taken


def count(
    target: Int64s, images: Sequence[Float32s], level: float, shots: int | None,
    seconds: float, broken: int,
) -> Counted:  # fmt: skip
    """Count a mask's errors.

    Parameters
    ----------
    target : (r, 4)
        Disjoint rectangles in nm.
    images
        In focus and out of focus, at dose 1, in pixels of 1 nm.
    """
    focus, defocus = images
    nominal = focus >= level
    band = (focus * 1.02**2 >= level) != (defocus * 0.98**2 >= level)
    wanted = fill(target, len(focus))
    return Counted(
        int((nominal != wanted).sum()), int(band.sum()), count_violations(target, nominal), shots,
        seconds, broken,
    )  # fmt: skip


def count_violations(target: Int64s, printed: Bools) -> int:
    """Count the checks that fail, (rows are y)."""
    found = 0
    for seen, shown in ((target, printed), (swap_xy(target), printed.T)):
        for x, low, high, side, *_ in find_edges(seen).tolist():
            for y in list_checks(low, high):
                ahead, behind = (x + side * FAR_NM, x - side * FAR_NM)
                # Pixel x lies right of a line at x: of two places, the lower one's is one less.
                inside = shown[y, ahead if side > 0 else ahead - 1]
                outside = shown[y, behind if side < 0 else behind - 1]
                found += int(not inside) + int(outside)
    return found


def list_checks(low: int, high: int) -> list[int]:
    """Return where along an edge its placement is checked."""
    middle = (low + high) // 2
    if high - low <= SHORT_NM:
        return [middle]
    first = range(low + SPACING_NM, middle + 1, SPACING_NM)
    return sorted({*first, *range(high - SPACING_NM, middle, -SPACING_NM)})


def print_table(rows: dict[str, tuple[Counted, Counted, Counted]]) -> None:
    """Print each clip's masks, the means of those and of the drawn ones, and what is published."""
    print(
        "| mask | L2, nm² | PV band, nm² | EPE violations | shots | s | rules broken |\n|---|"
        + "--:|" * 6
    )
    for how, index in (("edges", 1), ("curves", 2)):
        for name, row in rows.items():
            print_row(f"{name}, {how}", [row[index]], digits=0)
    for name, index in (("mean, as drawn", 0), ("**edges**", 1), ("**curves**", 2)):
        print_row(name, [row[index] for row in rows.values()], digits=1)
    for name, l2, band, violations in PUBLISHED:
        print(f"| {name} | {l2:,} | {band:,} | {violations} | | | |")


def print_row(name: str, masks: Sequence[Counted], digits: int) -> None:
    """Print the mean of masks."""
    shots = [mask.shots for mask in masks if mask.shots is not None]
    cells = [
        f"{np.mean([mask.l2_nm2 for mask in masks]):,.0f}",
        f"{np.mean([mask.band_nm2 for mask in masks]):,.0f}",
        f"{np.mean([mask.violations for mask in masks]):.{digits}f}",
        f"{np.mean(shots):.0f}" if shots else "",
        f"{np.mean([mask.seconds for mask in masks]):.1f}",
        f"{sum(mask.broken for mask in masks)}",
    ]
    print(f"| {name} | " + " | ".join(cells) + " |")
