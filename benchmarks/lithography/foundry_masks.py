"""A foundry's own mask corrections: which optics make them print best, and how ours compare.

python -m benchmarks.lithography.foundry_masks [LAYOUT] [--layer poly|li1] [--cells N]

The cells of SkyWater's SRAM library hold drawn poly and li1 and layers that add to them and take
away from them, made by hand: the foundry's mask is drawn + add - drop. That these layers are mask
corrections is inferred from their names and shapes; what the mask shop adds by itself (a bias, its
own OPC) is not in the file. A cell is surrounded by its own mirror images, as in an array.

The drawn shapes are taken as what should print. For each wavelength, NA and source, and for shapes
that are clear or dark on the mask, the threshold and the blur of the resist are chosen at which
the foundry's mask prints nearest to them: least mean square of the edge placement errors, on
straight edges every 10 nm away from corners, and in the middle of line ends. Cells are resampled
1,000 times, with replacement, to say how sure the choice is.

Then, under the best of the optics with clear shapes, which are those that our corrector knows:
edge placement and defects of each mask: as drawn, the foundry's, ours.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from klayout import db

from benchmarks.lithography.iccad13 import data_folder
from benchmarks.machine import machine
from stages.contracts import Box, Float32s, Floats, Int64s
from stages.geometry.union import find_edges, swap_xy
from stages.lithography.correction.opc import correct
from stages.lithography.correction.placement import (
    choose_sample_points,
    measure_displacements,
    measure_edge_errors,
)
from stages.lithography.measure.defects import find_defects
from stages.lithography.optics.exposure import count_spline_px, fit_spline
from stages.lithography.optics.imaging import compute_image, compute_spectrum
from stages.lithography.optics.kernels import Field, compute_kernels, make_field
from stages.lithography.optics.resist import diffuse
from stages.lithography.process import Process, Resist, Source, load_process

LAYERS = {"poly": ((66, 20), (33, 43), (33, 42)), "li1": ((67, 20), (115, 43), (115, 42))}
"""Drawn, add, drop."""
OWN = "sky130_fd_bd_sram__sram_"
"""How the foundry's own cells begin; others in the file are OpenRAM's copies of them."""
PITCH_NM, STRAIGHT, LINE_END_NM, REACH_NM = 10, 5, 250, 120
LARGEST_NM = 2500
"""Cells up to this: all of the arrays, not the drivers beside them."""
GUARD_NM = 1000
"""Around a cell; its own mirror images fill it."""
FAR_NM = 14_000
"""Mirror images around a cell in the simulator's own fields."""
MIN_NM = 150.0
LEVELS = np.linspace(0.1, 0.7, 61)
BLURS_NM = (0.0, 20.0, 40.0, 60.0)
LENSES = (
    (365.0, 0.6), (248.0, 0.6), (248.0, 0.7), (248.0, 0.8), (193.0, 0.6), (193.0, 0.68),
    (193.0, 0.75), (193.0, 0.85), (193.0, 0.93),
)  # fmt: skip
SOURCES = (
    Source("circular", 0.4), Source("circular", 0.65), Source("annular", 0.85, 0.55),
)  # fmt: skip
RESAMPLED = 1000


@dataclass(frozen=True, slots=True, eq=False)
class Cell:
    """A cell with its mirror images; nm, the cell's box from (0, 0)."""

    name: str
    size: tuple[int, int]
    target: Int64s
    mask: Int64s

    @property
    def window(self) -> Box:
        """The cell's own box."""
        return Box(0, 0, *self.size)


class Optics(NamedTuple):
    """What was tried."""

    wavelength_nm: float
    na: float
    source: Source
    dark: bool
    """Whether the shapes are dark on a clear mask."""

    def __str__(self) -> str:
        inner = f"{self.source.sigma_in:g} to " if self.source.sigma_in else ""
        shapes = "dark" if self.dark else "clear"
        sigma = f"{self.source.shape} {inner}{self.source.sigma_out:g}"
        return f"{self.wavelength_nm:.0f} nm | {self.na:g} | {sigma} | {shapes}"


def read_cells(path: Path, layer: str) -> list[Cell]:
    """Return the cells whose drawn shapes have corrections, each different geometry once."""
    layout = db.Layout()
    layout.read(str(path))
    found: dict[bytes, Cell] = {}
    for cell in sorted(layout.top_cells(), key=lambda each: each.name):
        drawn, add, drop = (
            db.Region(cell.begin_shapes_rec(layout.layer(*at))).merged() for at in LAYERS[layer]
        )
        mask = (drawn + add).merged() - drop
        if not cell.name.startswith(OWN) or (mask ^ drawn).is_empty() or drawn.is_empty():
            continue
        box = cell.bbox()
        size = box.width(), box.height()
        if max(size) > LARGEST_NM:
            continue
        target, changed = (cut(each.moved(-box.left, -box.bottom)) for each in (drawn, mask))
        key = np.array(size).tobytes() + target.tobytes() + changed.tobytes()
        found.setdefault(key, Cell(cell.name, size, target, changed))
    return list(found.values())


def cut(region: db.Region) -> Int64s:
    """Return a region of upright and slanted edges as rectangles, slants in steps of 5 nm."""
    rects = []
    for trapezoid in region.decompose_trapezoids_to_region().each():
        box = trapezoid.bbox()
        if trapezoid.is_box():
            rects.append((box.left, box.bottom, box.right, box.top))
            continue
        for y in range(box.bottom, box.top, 5):
            slab = db.Region(db.Box(box.left, y, box.right, min(y + 5, box.top)))
            part = (slab & db.Region(trapezoid)).bbox()
            rects.append((part.left, y, part.right, min(y + 5, box.top)))
    return np.array(sorted(rects), np.int64).reshape(-1, 4)


def surround(rects: Int64s, size: tuple[int, int], around: Box) -> Int64s:
    """Return a cell with its mirror images, disjoint, cut to a box."""
    region = db.Region()
    wide, high = size
    for column in range(around.x_min // wide, -(-around.x_max // wide)):
        for row in range(around.y_min // high, -(-around.y_max // high)):
            x, y = rects[:, [0, 2]], rects[:, [1, 3]]
            x = wide - x[:, ::-1] if column % 2 else x
            y = high - y[:, ::-1] if row % 2 else y
            placed = np.stack([x[:, 0], y[:, 0], x[:, 1], y[:, 1]], axis=1)
            placed = placed + np.array([column * wide, row * high] * 2)
            for box in placed.tolist():
                region.insert(db.Box(*box))
    return cut(region.merged() & db.Region(db.Box(*around.as_tuple())))


def place(cell: Cell, rects: Int64s, field: Field) -> Int64s:
    """Return a cell's shapes with its mirror images in a field, the cell in the middle."""
    low = corner_of(cell, field)
    side = round(field.side_nm)
    around = Box(-low[0], -low[1], side - low[0], side - low[1])
    placed: Int64s = surround(rects, cell.size, around) + np.array(low * 2)
    return placed


def corner_of(cell: Cell, field: Field) -> tuple[int, int]:
    """Return where a cell's corner lies in its field."""
    wide, high = cell.size
    return (round(field.side_nm) - wide) // 2, (round(field.side_nm) - high) // 2


def image(cell: Cell, optics: Optics, field: Field) -> Iterator[Float32s]:
    """Yield the splines of the foundry's mask at each blur; of dark shapes, upside down."""
    process = make_process(optics, 0.0, 0.3)
    placed = place(cell, cell.mask, field)
    spectrum = compute_spectrum(torch.from_numpy(np.insert(placed, 4, 1, axis=1)[None]), field)
    if optics.dark:
        spectrum = -spectrum
        spectrum[:, field.band, field.band] += 1
    picture = compute_image(spectrum, compute_kernels(process, 0.0, field), field)
    for blur_nm in BLURS_NM:
        coef = fit_spline(diffuse(picture, field, make_process(optics, blur_nm, 0.3))[0])
        yield -coef if optics.dark else coef


def make_process(optics: Optics, blur_nm: float, threshold: float) -> Process:
    """Return a process of these optics, with the rules of `krf130` at the scale of the cells.

    Its process window is as wide in focus as that of `krf130`, for the depth of focus.
    """
    base = load_process("krf130")
    depth = (optics.wavelength_nm / optics.na**2) / (base.wavelength_nm / base.na**2)
    corners = tuple(
        replace(corner, defocus_nm=round(corner.defocus_nm * depth, 1)) for corner in base.corners
    )
    assert base.opc is not None
    return replace(
        base, wavelength_nm=optics.wavelength_nm, na=optics.na, source=optics.source, anchor=None,
        corners=corners,
        min_width_nm=MIN_NM, min_space_nm=MIN_NM, resist=Resist(blur_nm, threshold),
        limits=replace(base.limits, corner_nm=50.0),
        sampling=replace(base.sampling, line_end_nm=float(LINE_END_NM)),
        opc=replace(
            base.opc, fragment_nm=100.0, corner_nm=50.0, max_move_nm=60.0, min_mask_width_nm=50.0,
            min_mask_space_nm=50.0,
        ),
    )  # fmt: skip


def find_places(cell: Cell, field: Field, *, flip: bool) -> Int64s:
    """Return where a cell is measured across upright edges, (n, 4); swapped where `flip`."""
    target, (x, y), (wide, high) = (
        place(cell, cell.target, field),
        corner_of(cell, field),
        cell.size,
    )
    if flip:
        target, (x, y), (wide, high) = swap_xy(target), (y, x), (high, wide)
    points = choose_sample_points(find_edges(target), PITCH_NM, STRAIGHT, LINE_END_NM)
    inside = (points[:, 0] >= x) & (points[:, 0] < x + wide)
    return points[inside & (points[:, 1] >= y) & (points[:, 1] < y + high)]


def measure_cell(cell: Cell, optics: Optics, field: Field) -> Floats:
    """Return the mean square error of the foundry's mask, (blurs, levels), and of how many places.

    The number is the last row.
    """
    levels = -LEVELS if optics.dark else LEVELS
    scale = count_spline_px(field) / field.side_nm
    sums, images = np.zeros((len(BLURS_NM) + 1, len(levels))), list(image(cell, optics, field))
    for flip in (False, True):
        x, y, side, _ = np.ascontiguousarray(find_places(cell, field, flip=flip).T)
        sums[-1] += len(x)
        for row, coef in zip(sums[:-1], images, strict=True):
            seen = np.ascontiguousarray(coef.T if flip else coef)
            errors = measure_displacements(seen, x, y, side, scale, levels, float(REACH_NM))
            row += (errors**2).sum(axis=1)
    return sums


class Tried(NamedTuple):
    """Optics, and the foundry's squared errors under them."""

    optics: Optics
    sums: Floats
    """(cells, blurs, levels)"""
    counts: Floats
    """(cells,) places."""

    def choose(self, cells: Int64s) -> tuple[float, int, int]:
        """Return the least RMS error over some cells, and at which blur and level."""
        mean = self.sums[cells].sum(axis=0) / self.counts[cells].sum()
        blur, level = np.unravel_index(np.argmin(mean), mean.shape)
        return float(np.sqrt(mean[blur, level])), int(blur), int(level)


def try_optics(cells: Sequence[Cell]) -> Iterator[Tried]:
    """Measure the foundry's masks under every wavelength, NA, source and polarity."""
    largest = max(max(cell.size) for cell in cells)
    for wavelength_nm, na in LENSES:
        for source in SOURCES:
            process = make_process(Optics(wavelength_nm, na, source, False), 0.0, 0.3)
            field = make_field(process, largest + 2 * GUARD_NM)
            for dark in (False, True):
                optics = Optics(wavelength_nm, na, source, dark)
                every = np.stack([measure_cell(cell, optics, field) for cell in cells])
                yield Tried(optics, every[:, :-1], every[:, -1, 0])


def print_optics(tried: Sequence[Tried], cells: int) -> None:
    """Print the best optics, and how often each is the best of resampled cells."""
    rng = np.random.default_rng(0)
    everything = np.arange(cells)
    ranked = sorted(tried, key=lambda each: each.choose(everything)[0])
    wins: dict[str, int] = {}
    lenses: dict[str, int] = {}
    for _ in range(RESAMPLED):
        drawn = rng.integers(0, cells, cells)
        best = min(ranked, key=lambda each: each.choose(drawn)[0]).optics
        wins[str(best)] = wins.get(str(best), 0) + 1
        lens = f"{best.wavelength_nm:.0f} nm, NA {best.na:g}, {'dark' if best.dark else 'clear'}"
        lenses[lens] = lenses.get(lens, 0) + 1
    print(
        "| wavelength | NA | source | shapes | blur, nm | threshold | RMS, nm | best of resampled |"
    )
    print("|---|---|---|---|--:|--:|--:|--:|")
    for each in ranked[:12]:
        error, blur, level = each.choose(everything)
        share = wins.get(str(each.optics), 0) / RESAMPLED
        resist = f"{BLURS_NM[blur]:g} | {LEVELS[level]:.2f}"
        print(f"| {each.optics} | {resist} | {error:.1f} | {share:.0%} |")
    worst = ranked[-1]
    print(f"\nworst of {len(ranked)}: {worst.optics}, {worst.choose(everything)[0]:.1f} nm RMS")
    print(
        "best of the resampled:", "; ".join(f"{k} {v / RESAMPLED:.0%}" for k, v in lenses.items())
    )


def compare_masks(cells: Sequence[Cell], process: Process) -> None:
    """Print edge placement and defects of each mask under one process."""
    rows: dict[str, list[Floats]] = {}
    defects: dict[str, int] = {}
    for cell in cells:
        around = cell.window.grow(FAR_NM)
        target = surround(cell.target, cell.size, around)
        masks = {
            "as drawn": target, "the foundry's": surround(cell.mask, cell.size, around),
            "ours": correct(target, cell.window.grow(2000), 1.0, process),
        }  # fmt: skip
        for name, mask in masks.items():
            places, errors = measure_edge_errors(target, cell.window, 1.0, process, mask)
            rows.setdefault(name, []).append(np.column_stack([places[:, 2], errors]))
            found = find_defects(target, cell.window, 1.0, process, mask)
            defects[name] = defects.get(name, 0) + len(found)
    print("| mask | edges, mean abs, nm | RMS | line ends, mean | mean abs | defects |")
    print("|---|--:|--:|--:|--:|--:|")
    for name, parts in rows.items():
        is_end, error = np.concatenate(parts).T
        edges, ends = error[is_end == 0], error[is_end == 1]
        shown = (np.abs(edges).mean(), np.sqrt((edges**2).mean()), ends.mean(), np.abs(ends).mean())
        print(f"| {name} |", " | ".join(f"{v:.1f}" for v in shown), f"| {defects[name]} |")


def best_clear(tried: Sequence[Tried], cells: int) -> Process:
    """Return the process of the best optics with clear shapes."""
    clear = [each for each in tried if not each.optics.dark]
    best = min(clear, key=lambda each: each.choose(np.arange(cells))[0])
    _, blur, level = best.choose(np.arange(cells))
    return make_process(best.optics, BLURS_NM[blur], float(LEVELS[level]))


def main() -> None:
    """Print the tables of each layer."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    chip = data_folder().parent / "layouts/sky130_bd_sram_cells.gds"
    parser.add_argument("layout", type=Path, nargs="?", default=chip)
    parser.add_argument("--layer", choices=list(LAYERS), action="append")
    parser.add_argument("--cells", type=int, help="the first of them only")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    for layer in asked.layer or LAYERS:
        cells = read_cells(asked.layout, layer)[: asked.cells]
        print(f"\n**{layer}**: {len(cells)} cells of different geometry\n", flush=True)
        tried = list(try_optics(cells))
        print_optics(tried, len(cells))
        process = best_clear(tried, len(cells))
        print(
            f"\nUnder {process.wavelength_nm:.0f} nm, NA {process.na:g}, {process.source.shape} "
            f"{process.source.sigma_in:g} to {process.source.sigma_out:g}, clear shapes:\n"
        )
        compare_masks(cells, process)
    print(f"\n{machine()}")


if __name__ == "__main__":
    main()
