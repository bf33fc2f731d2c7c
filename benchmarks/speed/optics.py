"""How fast masks are imaged and checked, and how exact the kernels that are kept are.

python -m benchmarks.speed.optics [LAYOUT] [--layer L/D] [--at X Y] [--side UM] [--clips N]
python -m benchmarks.speed.optics --light [--fields N]

The plain evaluation beside ours takes one transform of 2,048 x 2,048 per kernel and finds no
defects. Pixels of 1 nm are the custom, but then a field is 2 um, less than the optics of krf130 see
past its core on both sides; so the plain evaluation gets pixels of 4 nm there, and the same guard.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.lithography.iccad13 import (
    SIDE_NM,
    THREADS,
    Waves,
    as_rects,
    contest_kernels,
    contest_process,
    data_folder,
    drawn,
    on_pixels,
    plain_image,
    read_clip,
)
from benchmarks.machine import machine
from benchmarks.open_benchmark.layouts import DBU_NM, shrink_metal
from benchmarks.open_benchmark.regions import CHIP, CHIP_ADDRESS, Metal
from pipeline.layout.ingest import open_packed, pack_into
from pipeline.simulate.tiles import read_target
from stages.contracts import Box, Floats, Int64s, Layer, PackedLayout
from stages.geometry.union import merge
from stages.lithography.correction.opc import correct
from stages.lithography.correction.placement import measure_edge_errors
from stages.lithography.measure.defects import find_defects
from stages.lithography.optics.fields import clip_to_field, compute_halo_nm, make_lattice
from stages.lithography.optics.imaging import compute_image, compute_spectrum
from stages.lithography.optics.kernels import Field, Kernels, compute_kernels, make_field
from stages.lithography.optics.resist import compute_threshold
from stages.lithography.process import Process, load_process
from tests.support.optical import (
    ARFI,
    DIPOLE,
    KRF,
    MAP,
    QUASAR,
    abbe,
    images,
    real_clips,
    runs_of,
    square_of,
    tracks,
)

PLAIN_PX = 2048
PLAIN_NM = 4
BATCH = 32


def best_s(work: Callable[[], object], times: int) -> float:
    """Return the shortest time that `work` takes."""
    took = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        took.append(time.perf_counter() - started)
    return min(took)


def small_clips(count: int, rounds: int) -> None:
    """Time contest clips on the 128 x 128 grid, and plain."""
    kernel_file = (data_folder() / "iccad13_socs_kernels.npz").resolve()
    process = contest_process(kernel_file)
    small = make_field(process)
    field = Field(small.side_nm, 128, small.band)
    optics = compute_kernels(process, 0.0, small)
    paths = [data_folder() / "iccad13_clips" / f"M1_test{n % 10 + 1}.glp" for n in range(BATCH)]
    polygons = [read_clip(path) for path in paths]
    rects = stacked([as_rects(each) for each in polygons])
    ours_s = (
        best_s(lambda: compute_image(compute_spectrum(rects, field), optics, field), rounds) / BATCH
    )
    waves, masks = contest_kernels(kernel_file)[0], [drawn(each) for each in polygons[:count]]
    plain_s = np.mean([best_s(partial(plain_image, mask, waves), 1) for mask in masks])
    print("One clip of 2.048 um, one corner, 24 kernels\n")
    print("| | grid | ms a clip |\n|---|---|--:|")
    print(f"| ours, {BATCH} together | {field.pixels} x {field.pixels} | {1000 * ours_s:.2f} |")
    print(f"| plain | {SIDE_NM} x {SIDE_NM} | {1000 * plain_s:,.0f} |")
    print(f"\nratio {plain_s / ours_s:,.0f}; ours with 1 thread, plain with {THREADS}\n")


def stacked(masks: Sequence[Int64s | Floats]) -> torch.Tensor:
    """Stack disjoint rectangles in nm, (b, r, 5), with empty ones at the end."""
    rects = np.zeros((len(masks), max(map(len, masks)), 5))
    for row, mask in zip(rects, masks, strict=True):
        row[: len(mask), :4], row[: len(mask), 4] = mask, 1
    return torch.from_numpy(rects)


@lru_cache(maxsize=1)
def opened(folder: Path) -> PackedLayout:
    """Return the layout that a worker simulates, mapped."""
    torch.set_num_threads(1)
    return open_packed(folder)


def check(folder: Path, process: Process, box: Box) -> int:
    """Return how many defects a part of the region has."""
    layout = opened(folder)
    around = box.grow(int(compute_halo_nm(process) / layout.dbu_nm) + 1)
    target = read_target(layout.packed[0], around, layout.dbu_nm, process)
    return len(find_defects(target, box, layout.dbu_nm, process))


def strips(region: Box, process: Process, dbu_nm: float) -> list[Box]:
    """Cut a region into rows of fields."""
    core = make_lattice(process, dbu_nm).core_dbu
    cuts = [region.y_min, *range((region.y_min // core + 1) * core, region.y_max, core)]
    ends = [*cuts[1:], region.y_max]
    return [
        Box(region.x_min, low, region.x_max, high) for low, high in zip(cuts, ends, strict=True)
    ]


def region_um2_s(folder: Path, process: Process, region: Box, workers: int) -> tuple[float, int]:
    """Return the area a second that `workers` processes simulate, and the defects."""
    dbu_um = open_packed(folder).dbu_nm / 1000
    parts = strips(region, process, open_packed(folder).dbu_nm)
    work = partial(check, folder, process)
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        list(pool.map(work, parts[:1] * workers))  # starts the workers and loads what they need
        started = time.perf_counter()
        found = sum(pool.map(work, parts))
        took = time.perf_counter() - started
    return region.width * region.height * dbu_um**2 / took, found


def covered(rects: Floats, pixel_nm: float) -> Floats:
    """Draw disjoint rectangles in nm as the covered shares of pixels."""
    mask = np.zeros((PLAIN_PX, PLAIN_PX))
    for low_x, low_y, high_x, high_y in (rects / pixel_nm).tolist():
        parts = []
        for low, high in ((low_y, high_y), (low_x, high_x)):
            first, end = int(low), min(int(np.ceil(high)), PLAIN_PX)
            at = np.arange(first, end)
            parts.append((slice(first, end), np.minimum(at + 1, high) - np.maximum(at, low)))
        (rows, up), (columns, across) = parts
        mask[rows, columns] += np.outer(up, across)
    return mask


def for_pixels(optics: Kernels, field: Field) -> Waves:
    """Return kernels for masks of covered shares, whose spectrum a pixel makes smaller."""
    order = np.arange(-field.band, field.band + 1)
    shape = np.sinc(order / PLAIN_PX).astype(np.float32)
    waves: Waves = optics.waves.numpy() / (shape[:, None] * shape)
    return waves


def plain_um2_s(
    layout: PackedLayout, process: Process, region: Box, clips: int
) -> tuple[float, float, int]:
    """Return the area a second, the difference to ours and the kernels of the plain evaluation."""
    field = make_field(process, float(PLAIN_PX * PLAIN_NM))
    foci = sorted({abs(corner.defocus_nm) for corner in process.corners})
    optics = [compute_kernels(process, z, field) for z in foci]
    side_dbu = round(field.side_nm / layout.dbu_nm)
    rng, took, worst = np.random.default_rng(0), [], 0.0
    for _ in range(clips):
        x = int(rng.integers(region.x_min, region.x_max - side_dbu + 1))
        y = int(rng.integers(region.y_min, region.y_max - side_dbu + 1))
        box = Box(x, y, x + side_dbu, y + side_dbu)
        target = read_target(layout.packed[0], box, layout.dbu_nm, process)
        rects = clip_to_field(target, (x, y), side_dbu) * np.float64(layout.dbu_nm)
        mask, waves = covered(rects, PLAIN_NM), [for_pixels(each, field) for each in optics]
        started = time.perf_counter()
        plain = [plain_image(mask, each) for each in waves]
        took.append(time.perf_counter() - started)
        spectrum = compute_spectrum(stacked([rects]), field)
        for picture, each in zip(plain, optics, strict=True):
            rest = float((spectrum.abs().square() * each.rest).sum())
            ours = on_pixels(compute_image(spectrum, each, field)[0]) - rest
            worst = max(worst, float(np.abs(ours - picture).max()))
    lattice = make_lattice(process, layout.dbu_nm)
    core_um = (field.side_nm - 2 * lattice.guard_dbu * layout.dbu_nm) / 1000
    return core_um**2 / float(np.mean(took)), worst, sum(len(each.waves) for each in optics)


def region(asked: argparse.Namespace) -> None:
    """Time a region of a real layout with all corners and defects, and plain."""
    process = load_process("krf130")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "layout")
        layout = pack_into(asked.layout, folder, [Layer.parse(asked.layer)])
        x, y, side = (round(um * 1000 / layout.dbu_nm) for um in (*asked.at, asked.side))
        box = Box(x, y, x + side, y + side)
        check(folder, process, strips(box, process, layout.dbu_nm)[0])  # compiles, makes kernels
        ours = {n: region_um2_s(folder, process, box, n) for n in (1, 2)}
        plain, worst, used = plain_um2_s(layout, process, box, asked.clips)
    print(f"{asked.side:g} x {asked.side:g} um of {asked.layout.name}, krf130, three corners\n")
    print("| | um²/s | of plain |\n|---|--:|--:|")
    for workers, (rate, _) in ours.items():
        print(f"| ours with defects, processes: {workers} | {rate:,.0f} | {rate / plain:,.0f} x |")
    print(f"| plain, {THREADS} threads, {used} transforms, no defects | {plain:.2f} | 1 x |")
    print(f"\n{ours[1][1]:,} defects; the plain images differ from ours by {worst:.1e} at most\n")


def accuracy(clips: int) -> None:
    """Print how far the images of the kernels that are kept lie from Abbe's."""
    print(f"SOCS against Abbe, {clips} clips of real met1, of 64 samples a side\n")
    print("| process | source | defocus, nm | energy | transforms | largest difference |")
    print("|---|---|--:|--:|--:|--:|")
    for process in (KRF, ARFI, QUASAR, DIPOLE, MAP):
        field, shrunk = square_of(process, 64), process.min_width_nm / KRF.min_width_nm
        masks = real_clips(
            lambda name: data_folder().parent / name, int(field.side_nm), clips, shrunk
        )
        for z in (0.0, process.corners[1].defocus_nm):
            apart = images(process, z, masks, field) - abbe(process, z, masks, field)
            print(
                f"| {process.name} | {process.source.shape} | {z:g} | {process.energy} "
                f"| {len(compute_kernels(process, z, field).waves)} | {np.abs(apart).max():.1e} |"
            )
    print()


def light(count: int) -> None:
    """Print what vector light changes for arfi45."""
    vector = load_process("arfi45")
    scalar = replace(vector, resist=replace(vector.resist, refractive_index=0.0))
    print(
        "| light | transforms, focus and defocus | threshold | contrast, lines of 45, 60, 90 nm |"
    )
    print("|---|--:|--:|--:|")
    for name, process in (("scalar", scalar), ("vector", vector)):
        field = make_field(process)
        kernels = [len(compute_kernels(process, z, field).waves) for z in (0.0, 30.0)]
        seen = ", ".join(f"{contrast(process, width):.2f}" for width in (45, 60, 90))
        print(f"| {name} | {kernels} | {compute_threshold(process):.3f} | {seen} |")
    print(
        "\n| layout | mask corrected for | printed in | nominal, nm: mean, 99 % | worst corner "
        "| defects | s of one core a field: correct, simulate |\n|---|---|---|--:|--:|--:|--:|"
    )
    for name, targets in (("wires", wires(count, vector)), ("chip", shrunk(count, vector))):
        for corrected, printed in ((scalar, scalar), (scalar, vector), (vector, vector)):
            errors, defects, took = zip(
                *(correct_and_measure(each, corrected, printed) for each in targets), strict=True
            )
            off = np.abs(np.concatenate(errors, axis=1))
            worst = off.max(axis=0)
            spent = np.mean(took, axis=0)
            print(
                f"| {name} | {'vector' if corrected.is_vector else 'scalar'} "
                f"| {'vector' if printed.is_vector else 'scalar'} "
                f"| {off[0].mean():.2f}, {np.percentile(off[0], 99):.1f} "
                f"| {worst.mean():.2f}, {np.percentile(worst, 99):.1f} | {sum(defects)} "
                f"| {spent[0]:.2f}, {spent[1]:.2f} |", flush=True
            )  # fmt: skip
    side_um = make_lattice(vector, 1.0).core_dbu / 1000
    print(f"\n{count} fields each, of {side_um**2:.1f} um2\n")


def contrast(process: Process, width_nm: float) -> float:
    """Return the contrast of equal lines and spaces in focus."""
    field = make_field(process, 12 * width_nm)
    x = np.arange(6) * 2 * width_nm
    lines = np.stack([x, 0 * x, x + width_nm, 0 * x + field.side_nm], axis=1)
    spectrum = compute_spectrum(stacked([lines]), field)
    row = compute_image(spectrum, compute_kernels(process, 0.0, field), field)[0, 0]
    harmonics = np.fft.rfft(row.numpy(), norm="forward")[::6]
    harmonics[1:] *= 2
    order = np.arange(len(harmonics))
    bright, dark = (
        float((harmonics * np.exp(2j * np.pi * order * share)).real.sum()) for share in (0.25, 0.75)
    )
    return (bright - dark) / (bright + dark)


def wires(count: int, process: Process) -> list[Int64s]:
    """Return random wires of least width and space around the core of a field at the origin."""
    lattice, width = make_lattice(process, 1.0), round(process.min_width_nm)
    reach = lattice.guard_dbu + round(compute_halo_nm(process)) + lattice.core_dbu
    cells = -(-(lattice.core_dbu + 2 * reach) // width)
    return [
        runs_of(tracks(seed, cells, cells, longest=30, gap=2, ties=0.7)) * width - reach
        for seed in range(count)
    ]


def shrunk(count: int, process: Process) -> list[Int64s]:
    """Return metal of a chip shrunk to lines of 45 nm, each with a field at the origin."""
    lattice = make_lattice(process, 1.0)
    reach = lattice.guard_dbu + round(compute_halo_nm(process)) + lattice.core_dbu
    source = Metal(CHIP, CHIP_ADDRESS, box_um=(300.0, 300.0, 600.0, 600.0), least_nm=45.0)
    metal = np.rint(shrink_metal(source, Path()) * DBU_NM).astype(np.int64)
    rng = np.random.default_rng(0)
    found: list[Int64s] = []
    while len(found) < count:
        x, y = (int(rng.integers(500 + reach, 95_500 - reach)) for _ in range(2))
        low, high = (np.array((x, y)) + side * (lattice.core_dbu + reach) for side in (-1, 1))
        near = metal[(metal[:, 2:] > low).all(axis=1) & (metal[:, :2] < high).all(axis=1)]
        if len(clip_to_field(near, (x, y), lattice.core_dbu)) >= 20:
            found.append(merge(near - np.array((x, y) * 2)))
    return found


def correct_and_measure(
    target: Int64s, corrected: Process, printed: Process
) -> tuple[Floats, int, tuple[float, float]]:
    """Return the errors at each corner, (c, n), the defects, and the seconds of both steps."""
    lattice = make_lattice(printed, 1.0)
    core = Box(0, 0, lattice.core_dbu, lattice.core_dbu)
    correct(target, core, 1.0, corrected)  # compiles, makes kernels
    started = time.process_time()
    correct(target, core, 1.0, corrected)
    corrected_s = time.process_time() - started
    mask = correct(target, core.grow(lattice.guard_dbu), 1.0, corrected)
    started = time.process_time()
    defects = len(find_defects(target, core, 1.0, printed, mask))
    simulated_s = time.process_time() - started
    errors = [
        measure_edge_errors(target, core, 1.0, replace(printed, corners=(corner,)), mask)[1]
        for corner in printed.corners
    ]
    return np.stack(errors), defects, (corrected_s, simulated_s)


def main() -> None:
    """Print the tables."""
    data = data_folder().parent
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    chip = data / "layouts" / "tt02_user_project_wrapper.gds.gz"
    parser.add_argument("layout", type=Path, nargs="?", default=chip)
    parser.add_argument("--layer", default="68/20")
    parser.add_argument("--at", type=float, nargs=2, default=(1500, 1600), help="corner, um")
    parser.add_argument("--side", type=float, default=400, help="of the region, um")
    parser.add_argument("--clips", type=int, default=20, help="clips that are compared")
    parser.add_argument("--light", action="store_true", help="scalar and vector light only")
    parser.add_argument("--fields", type=int, default=12, help="for --light")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    if asked.light:
        light(asked.fields)
        print(machine())
        return
    with torch.inference_mode():
        small_clips(max(1, asked.clips // 5), 5)
        region(asked)
        accuracy(asked.clips)
    print(machine())


if __name__ == "__main__":
    main()
