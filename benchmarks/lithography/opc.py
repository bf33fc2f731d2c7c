"""What OPC does for clips of a real chip.

python -m benchmarks.lithography.opc [LAYOUT] [--layer L/D] [--clips N] [--figures]

Takes clips of 2.56 um around the defects of the drawn shapes in random squares (seed 0), and as
many random clips that show anything; corrects the mask of each and simulates it at every corner.
Prints the mean absolute edge placement error at nominal, of straight edges and of line ends, and
the number of defects, as drawn and corrected. ``--figures`` draws the clip with most shapes into
docs/img/opc.png.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely
from matplotlib.figure import Figure
from shapely.plotting import plot_polygon

from benchmarks.machine import machine
from benchmarks.open_benchmark.regions import CHIP
from pipeline.layout.ingest import open_packed, pack_into
from pipeline.simulate.tiles import read_target
from stages.contracts import Box, Defect, Floats, Int64s, Layer, PackedLayout
from stages.geometry.window_query import query
from stages.lithography.correction.opc import correct
from stages.lithography.correction.placement import measure_edge_errors
from stages.lithography.measure.defects import find_defects
from stages.lithography.measure.prints import simulate_prints
from stages.lithography.optics.fields import (
    clip_to_field,
    compute_halo_nm,
    make_disjoint,
    make_lattice,
)
from stages.lithography.process import Process, load_process

CLIP_DBU = 2560
SQUARE_DBU = 60_000
IMAGES = Path(__file__).parents[2] / "docs" / "img"


@dataclass(frozen=True)
class Measured:
    """A clip as drawn and corrected."""

    clip: Box
    target: Int64s
    mask: Int64s
    is_end: Int64s
    """Of each sample, 1 in the middle of a line end."""
    errors_nm: tuple[Floats, Floats]
    defects: tuple[int, int]


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    chip = Path(os.environ.get("HOTSCAN_DATA", "../shared/data")) / CHIP
    parser.add_argument("layout", type=Path, nargs="?", default=chip)
    parser.add_argument("--layer", default="68/20")
    parser.add_argument("--clips", type=int, default=100)
    parser.add_argument("--figures", action="store_true")
    asked = parser.parse_args()
    process = load_process("krf130")
    with tempfile.TemporaryDirectory() as folder:
        pack_into(asked.layout, Path(folder, "l"), [Layer.parse(asked.layer)])
        layout = open_packed(Path(folder, "l"))
        failing, anywhere = chosen(layout, process, asked.clips)
        print(machine() + "\n")
        print(
            "| clips | | mean abs EPE, nm | 99 % under | of line ends | defects |\n"
            "|---|---|--:|--:|--:|--:|"
        )
        for name, clips in (("that fail as drawn", failing), ("random", anywhere)):
            rows = [measure(layout, clip, process) for clip in clips]
            report(name, rows)
            if asked.figures and clips is failing:
                draw(rows, process, layout.dbu_nm)


def chosen(layout: PackedLayout, process: Process, count: int) -> tuple[list[Box], list[Box]]:
    """Return clips around defects, and random ones that show anything."""
    rng, extent = np.random.default_rng(0), layout.extent
    defects: list[Defect] = []
    random: list[Box] = []
    while len(random) < count:
        x = int(rng.integers(extent.x_min, extent.x_max))
        y = int(rng.integers(extent.y_min, extent.y_max))
        clip = Box(x, y, x + CLIP_DBU, y + CLIP_DBU)
        if len(query(layout.packed[0], clip).rects):
            random.append(clip)
    while len(defects) < count:
        x = int(rng.integers(extent.x_min, extent.x_max - SQUARE_DBU))
        y = int(rng.integers(extent.y_min, extent.y_max - SQUARE_DBU))
        square = Box(x, y, x + SQUARE_DBU, y + SQUARE_DBU)
        target = around(layout, square, process)
        defects += find_defects(target, square, layout.dbu_nm, process)
    places = [Box(*(d.x_dbu, d.y_dbu) * 2).grow(CLIP_DBU // 2) for d in defects]
    return places[:count], random


def around(layout: PackedLayout, window: Box, process: Process) -> Int64s:
    reach = int(compute_halo_nm(process) / layout.dbu_nm) + 1
    return read_target(layout.packed[0], window.grow(reach), layout.dbu_nm, process)


def measure(layout: PackedLayout, clip: Box, process: Process) -> Measured:
    """Correct a clip's mask as far as the optics see past it, and measure it with and without."""
    seen = clip.grow(make_lattice(process, layout.dbu_nm).guard_dbu)
    target = around(layout, seen, process)
    mask = correct(target, seen, layout.dbu_nm, process)
    (places, drawn), (_, corrected) = (
        measure_edge_errors(target, clip, layout.dbu_nm, process, each) for each in (None, mask)
    )
    before, after = (
        len(find_defects(target, clip, layout.dbu_nm, process, each)) for each in (None, mask)
    )
    return Measured(clip, target, mask, places[:, 2], (drawn, corrected), (before, after))


def report(name: str, rows: list[Measured]) -> None:
    """Print two lines of the table."""
    is_end = np.concatenate([row.is_end for row in rows]).astype(bool)
    for index, how in enumerate(("as drawn", "corrected")):
        errors = np.abs(np.concatenate([row.errors_nm[index] for row in rows]))
        ends = f"{errors[is_end].mean():.1f}" if is_end.any() else ""
        print(
            f"| {len(rows)} {name} | {how} | {errors[~is_end].mean():.2f} "
            f"| {np.percentile(errors[~is_end], 99):.1f} | {ends} "
            f"| {sum(row.defects[index] for row in rows):,} |"
        )


def draw(rows: list[Measured], process: Process, dbu_nm: float) -> None:
    """Draw the clip with most shapes: the target, the mask's outline and what prints."""
    shown = max(
        rows,
        key=lambda row: len(clip_to_field(row.target, (row.clip.x_min, row.clip.y_min), CLIP_DBU)),
    )
    defects = find_defects(shown.target, shown.clip, dbu_nm, process)
    corner = max(defects, key=lambda defect: defect.severity).corner
    figure = Figure(figsize=(9, 4.8), layout="constrained")
    x, y = shown.clip.x_min, shown.clip.y_min
    for axes, mask, title in zip(
        figure.subplots(1, 2),
        (np.insert(shown.target, 4, 1, axis=1), shown.mask),
        ("as drawn", "corrected"),
        strict=True,
    ):
        prints = simulate_prints(mask, shown.clip, dbu_nm, process).by_corner
        drawn = shapely.union_all(shapely.box(*shown.target.T))
        outline = shapely.union_all(shapely.box(*make_disjoint(mask).T))
        for shape, style in (
            (drawn, {"facecolor": "#dcdcdc", "edgecolor": "none"}),
            (outline, {"facecolor": "none", "edgecolor": "#2e6fb7", "linewidth": 0.8}),
            (shapely.MultiPolygon(prints[corner]),
             {"facecolor": "none", "edgecolor": "#d1495b", "linewidth": 1.4}),
        ):  # fmt: skip
            placed = shapely.transform(shape, lambda points: (points - (x, y)) * dbu_nm / 1000)
            plot_polygon(placed, ax=axes, add_points=False, **style)
        side_um = CLIP_DBU * dbu_nm / 1000
        axes.set(xlim=(0, side_um), ylim=(0, side_um), xlabel="um", aspect="equal")
        axes.set_title(f"{title}: mask, and print at {corner!r}", fontsize=10)
    figure.savefig(IMAGES / "opc.png", dpi=100)


if __name__ == "__main__":
    main()
