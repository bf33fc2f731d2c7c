"""The ICCAD-2013 kernels on the ten contest clips: our images beside the plain evaluation.

python -m benchmarks.lithography.iccad13 [--clips N] [--opc]

The plain evaluation draws a clip in 2,048 x 2,048 pixels of 1 nm, transforms it, multiplies by each
of the 24 kernels, transforms back and sums the squares. Masks are as drawn, without OPC. The dose
of the contest multiplies the amplitude, so the intensity goes with its square. Our areas are those
of polygons, whose chords lie inside round outlines; pixels are counted by their centres. With
``--opc`` the masks are corrected instead, see `benchmarks.lithography.iccad13_masks`.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import shapely
import torch
from scipy import fft

from benchmarks.lithography.iccad13_masks import (
    Counted,
    as_boxes,
    correct_by_curves,
    correct_edges,
    count,
    count_broken,
    count_shots,
    fill,
    fill_polygons,
    print_table,
)
from benchmarks.machine import machine
from stages.contracts import Box, Float32s, Floats, Int64s
from stages.geometry.decompose import decompose
from stages.geometry.union import merge
from stages.lithography.measure.contours import Images, find_band, trace_contours
from stages.lithography.optics.exposure import Exposure, count_spline_px, expose
from stages.lithography.optics.imaging import compute_image, compute_spectrum
from stages.lithography.optics.kernels import compute_kernels, make_field
from stages.lithography.process import Process, process_of

Waves = npt.NDArray[np.complex64]
SIDE_NM = 2048
DEFOCUS_NM = 25.0
"""Of the contest's second set; only a name here."""
WINDOW = (("nominal", 1.0, 0.0), ("over", 1.02**2, 0.0), ("under", 0.98**2, DEFOCUS_NM))
FOCI = (("focus", 0.0), ("defocus", DEFOCUS_NM))
THREADS = os.cpu_count() or 1
"""Of the plain evaluation; ours takes one."""
DBU_NM = 0.1
"""Contours are put on whole dbu: a tenth of a nm leaves the areas alone."""


class Measured(NamedTuple):
    """One clip, ours and plain."""

    difference: tuple[float, ...]
    """Largest difference of intensity, by focus."""
    printed_nm2: tuple[float, float]
    """Printed area at nominal."""
    band_nm2: tuple[float, float]
    """Area of the process variation band."""
    images_s: tuple[float, float]
    """Time of the images of all corners."""
    contours_s: float
    """Time that our contours take besides."""


def data_folder() -> Path:
    """Return where the contest's files are."""
    return Path(os.environ.get("HOTSCAN_DATA", "../shared/data"), "litho")


def contest_process(kernel_file: Path) -> Process:
    """Return the process of the contest: its kernels, threshold and corners."""
    corners = [dict(zip(("name", "dose", "defocus_nm"), each, strict=True)) for each in WINDOW]
    sets = [
        {"defocus_nm": z, "kernels": name, "weights": f"scale_{name}"} for name, z in FOCI
    ]  # fmt: skip
    limits = {
        "pinch_share": 0.7, "space_share": 0.7, "epe_nm": 15, "line_end_epe_nm": 15,
        "corner_nm": 40,
    }  # fmt: skip
    names = ("space_nm", "width_nm", "tip_to_tip_nm", "line_end_to_side_nm", "line_end_nm")
    return process_of(
        {
            "name": "iccad13", "wavelength_nm": 193, "na": 1.35, "refractive_index": 1.44,
            "min_width_nm": 60, "min_space_nm": 60, "corners": corners, "limits": limits,
            "source": {"shape": "annular", "sigma_in": 0.6, "sigma_out": 0.9},
            "sampling": dict.fromkeys(names, 60), "resist": {"threshold": 0.225},
            "kernels": {
                "file": str(kernel_file), "period_nm": SIDE_NM, "pixel_nm": 1, "sets": sets,
                "sha256": hashlib.sha256(kernel_file.read_bytes()).hexdigest(),
            },
        }
    )  # fmt: skip


def read_clip(path: Path) -> list[Int64s]:
    """Return the polygons of a clip, each (corners, 2) in nm."""
    polygons = []
    for line in path.read_text().splitlines():
        kind, *words = line.split() or [""]
        if kind not in ("RECT", "PGON"):
            continue
        numbers = np.array(words[2:], np.int64)
        if kind == "RECT":
            x, y, width, height = numbers
            numbers = np.array([x, y, x + width, y, x + width, y + height, x, y + height])
        polygons.append(numbers.reshape(-1, 2))
    return polygons


def drawn(polygons: list[Int64s]) -> npt.NDArray[np.bool_]:
    """Draw polygons in pixels of 1 nm: right of an upright edge inside and outside change."""
    mask = np.zeros((SIDE_NM, SIDE_NM), bool)
    for polygon in polygons:
        inside = np.zeros_like(mask)
        for (x, y), (other_x, other_y) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
            if x == other_x:
                inside[min(y, other_y) : max(y, other_y), x:] ^= True
        mask |= inside
    return mask


def as_rects(polygons: list[Int64s]) -> Int64s:
    """Return disjoint rectangles of polygons, (r, 4)."""
    starts = np.cumsum([0, *map(len, polygons)])
    return merge(decompose(np.concatenate(polygons), starts)[0])


def plain_image(mask: Floats | npt.NDArray[np.bool_], waves: Waves) -> Float32s:
    """Return the image of pixels, on the same pixels, by one full transform per kernel.

    Parameters
    ----------
    waves : (k, 2 band + 1, 2 band + 1) complex64
        Kernels in the frequency domain, frequency 0 in the middle, times the root of their weight.
    """
    # scipy's transforms: torch's, of this size and with two threads, were found wrong.
    order = np.arange(waves.shape[-1]) - waves.shape[-1] // 2
    passed = np.ix_(order, order)
    spectrum = fft.fft2(mask.astype(np.float32), workers=THREADS)[passed]
    picture, filled = np.zeros(mask.shape, np.float32), np.zeros(mask.shape, np.complex64)
    for wave in waves:
        filled[passed] = spectrum * wave
        field = fft.ifft2(filled, workers=THREADS)
        picture += field.real**2 + field.imag**2
    return picture


def contest_kernels(kernel_file: Path) -> list[Waves]:
    """Return the kernels at focus and defocus as the contest uses them."""
    with np.load(kernel_file) as file:
        return [np.sqrt(file[f"scale_{name}"])[:, None, None] * file[name] for name, _ in FOCI]


def on_pixels(intensity: torch.Tensor) -> Floats:
    """Return an image, (n, n), at the centres of the 1 nm pixels, by its Fourier series."""
    n = intensity.shape[-1]
    order = np.arange(1 - n // 2, n // 2)
    harmonics = np.fft.fft2(intensity.numpy().astype(np.float64), norm="forward")
    phase = np.exp(1j * np.pi * order / SIDE_NM)  # half a pixel
    wide = np.zeros((SIDE_NM, SIDE_NM), complex)
    wide[np.ix_(order, order)] = harmonics[np.ix_(order, order)] * np.outer(phase, phase)
    return np.fft.ifft2(wide, norm="forward").real


def measured(path: Path, process: Process, kernel_file: Path) -> Measured:
    """Image a clip both ways."""
    polygons = read_clip(path)
    rects = as_rects(polygons)
    field = make_field(process)

    started = time.perf_counter()
    exposures = expose([rects * round(1 / DBU_NM)], field, DBU_NM, process)
    imaged = time.perf_counter()
    areas = areas_nm2(exposures, count_spline_px(field) / SIDE_NM * DBU_NM)
    contoured = time.perf_counter()
    mask = drawn(polygons)
    plain_started = time.perf_counter()
    plain = [plain_image(mask, waves) for waves in contest_kernels(kernel_file)]
    plain_s = time.perf_counter() - plain_started

    nm = torch.tensor([[[*rect, 1] for rect in rects.tolist()]], dtype=torch.float64)
    spectrum = compute_spectrum(nm, field)
    ours = [
        on_pixels(compute_image(spectrum, compute_kernels(process, z, field), field)[0])
        for _, z in FOCI
    ]
    by_focus = {z: picture for (_, z), picture in zip(FOCI, plain, strict=True)}
    prints = [by_focus[z] * dose > process.resist.threshold for _, dose, z in WINDOW]
    changing = np.logical_or.reduce(prints) & ~np.logical_and.reduce(prints)
    return Measured(
        tuple(float(np.abs(a - b).max()) for a, b in zip(ours, plain, strict=True)),
        (areas[0], float(prints[0].sum())),
        (areas[1], float(changing.sum())),
        (imaged - started, plain_s),
        contoured - imaged,
    )


def areas_nm2(exposures: list[Exposure], scale: float) -> tuple[float, float]:
    """Return the area that prints at nominal, and that of the process variation band."""
    side = round(SIDE_NM / DBU_NM)
    coef = [exposure.coef[0] for exposure in exposures]
    images = Images([Box(0, 0, side, side)], [(0, 0)], [coef], scale)
    at = {
        corner: (focus, float(level))
        for focus, exposure in enumerate(exposures)
        for corner, level in zip(exposure.corners, exposure.levels, strict=True)
    }
    every = list(at.values())
    outer, inner = trace_contours(images, every, "any"), trace_contours(images, every, "all")
    nominal, between = trace_contours(images, [at[0]]), find_band(outer, inner)
    nominal_nm2, band_nm2 = (float(shapely.area(p).sum()) * DBU_NM**2 for p in (nominal, between))
    return nominal_nm2, band_nm2


def corrected(
    paths: list[Path], process: Process, kernels: list[Waves]
) -> Iterator[tuple[str, tuple[Counted, Counted, Counted]]]:
    """Count the errors of each clip's mask as drawn, with moved edges, and with curves."""
    small = np.array([[0, 0, 100, 100]])
    correct_edges(small, process), correct_by_curves(small, process)  # compiles
    for path in paths:
        target = as_rects(read_clip(path))
        edges, edges_s = correct_edges(target, process)
        curves, curves_s = correct_by_curves(target, process)
        drawn, moved, curved = (
            count(
                target, [plain_image(pixels, waves) for waves in kernels],
                process.resist.threshold, shots, seconds, count_broken(polygons, SIDE_NM),
            )
            for pixels, shots, seconds, polygons in (
                (fill(target, SIDE_NM), count_shots(target), 0.0, as_boxes(target)),
                (fill(edges, SIDE_NM), count_shots(edges), edges_s, as_boxes(edges)),
                (fill_polygons(curves, SIDE_NM), None, curves_s, curves),
            )
        )  # fmt: skip
        yield path.stem, (drawn, moved, curved)


def main() -> None:
    """Print a table of the clips."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=10)
    parser.add_argument("--opc", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    kernel_file = (data_folder() / "iccad13_socs_kernels.npz").resolve()
    process = contest_process(kernel_file)
    paths = [data_folder() / "iccad13_clips" / f"M1_test{n}.glp" for n in range(1, asked.clips + 1)]
    if asked.opc:
        print_table(dict(corrected(paths, process, contest_kernels(kernel_file))))
        print(f"\nSeconds of one core. {machine()}")
        return
    measured(paths[0], process, kernel_file)  # compiles, and reads the kernels
    print("| clip | difference, focus | defocus | printed, nm² | by pixels | PV band, nm² ", end="")
    print("| by pixels | images, ms | contours, ms | plain, ms |\n|---|" + "--:|" * 9)
    for path in paths:
        found = measured(path, process, kernel_file)
        focus, defocus = found.difference
        ours_s, plain_s = found.images_s
        print(
            f"| {path.stem} | {focus:.1e} | {defocus:.1e} "
            + "".join(f"| {area:,.0f} " for area in (*found.printed_nm2, *found.band_nm2))
            + "".join(f"| {1000 * s:,.1f} " for s in (ours_s, found.contours_s, plain_s))
            + "|"
        )
    print(f"\nOurs with 1 thread, plain with {THREADS}. {machine()}")


if __name__ == "__main__":
    main()
