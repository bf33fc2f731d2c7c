"""How far images are from those of a very fine source, by how its points see the pupil.

python -m benchmarks.lithography.source [--process NAME ...] [--rings N]

Wires of the process's least width in two small fields, whose frequencies lie differently to the
points of the source. The reference has `--rings` points along the source's radius and a sharp
pupil. Prints the root mean square, the largest and the mean error near the threshold, as shares of
it: of points that see the pupil's edge sharp, and of cells that see it as wide as they are.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch

from benchmarks.machine import machine
from stages.contracts import Floats
from stages.lithography.optics.imaging import compute_spectrum, transmit
from stages.lithography.optics.kernels import (
    Field,
    make_field,
    sample_source,
    shift_pupils,
    sum_light,
)
from stages.lithography.optics.resist import compute_threshold
from stages.lithography.process import Process, load_process

SIDES = (12.0, 13.3)
"""Of the fields, in wavelength / NA."""
WAYS = (("24, sharp", 24, False), ("48, sharp", 48, False), ("24 cells", 24, True))
NEAR = 0.3
"""Errors count where the intensity is within this share of the threshold."""
TOGETHER = 200


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--process", nargs="+", default=["krf130", "arfi45", "arfi45-via"])
    parser.add_argument("--rings", type=int, default=72)
    asked = parser.parse_args()
    print(machine() + "\n")
    print("| process | field | source | rms | largest | mean |\n|---|--:|---|--:|--:|--:|")
    for name in asked.process:
        process = load_process(name)
        for side in SIDES:
            field = make_field(process, side * process.wavelength_nm / process.na)
            spectrum = draw_wires(process, field)
            fine = image(spectrum, process, field, asked.rings, cells=False)
            level = compute_threshold(process)
            near = np.abs(fine / level - 1) < NEAR
            for way, rings, cells in WAYS:
                found = image(spectrum, process, field, rings, cells=cells)
                off = 100 * ((found - fine) / level)[near]
                spread = np.sqrt(np.square(off).mean())
                print(f"| {name} | {side:g} | {way} | {spread:.2f} % | {np.abs(off).max():.2f} % "
                      f"| {off.mean():+.2f} % |", flush=True)  # fmt: skip


def draw_wires(process: Process, field: Field) -> torch.Tensor:
    """Return the spectrum of wires of random lengths and gaps (seed 0)."""
    rng, width = np.random.default_rng(0), process.min_width_nm
    rects = []
    for y in np.arange(0, field.side_nm - width, 2.2 * width):
        x = rng.uniform(0, 6 * width)
        while x < field.side_nm - 2 * width:
            end = min(x + rng.uniform(2, 25) * width, field.side_nm - width)
            rects.append((x, y, end, y + width, 1.0))
            x = end + rng.uniform(1.2, 4) * width
    return transmit(compute_spectrum(torch.tensor([rects], dtype=torch.float64), field)[0], process)


def image(
    spectrum: torch.Tensor, process: Process, field: Field, rings: int, *, cells: bool
) -> Floats:
    """Return the image in focus, (pixels, pixels), source point by source point."""
    points, weights = sample_source(process.source, rings)
    cell = process.source.sigma_out / rings if cells else 0.0
    light = sum_light(points, weights, process, field, cell)
    n, total, seen = field.pixels, torch.zeros(field.pixels, field.pixels), np.zeros(light.shape)
    for first in range(0, len(points), TOGETHER):
        part = slice(first, first + TOGETHER)
        rows = shift_pupils(points[part], weights[part], process, 0.0, field, cell)
        seen += (np.abs(rows) ** 2).sum(axis=0)
        waves = torch.fft.ifft2(torch.from_numpy(rows) * spectrum, s=(n, n), norm="forward")
        total += waves.abs().square().sum(dim=0)
    rest = (torch.from_numpy(light - seen) * spectrum.abs().square()).sum()
    found: Floats = ((total + rest) / light[field.band, field.band]).numpy().astype(float)
    return found


if __name__ == "__main__":
    main()
