"""How far full simulation after OPC lies from one large window for each clip, and why.

python -m benchmarks.lithography.field_noise DATASET ... [--guards G ...] [--finer N] [--near SHARE]

Each dataset is one that `hotscan label` made after OPC, with its layout beside it as DATASET.gds.
Its layout is simulated in full with fields that see as far as each guard, in wavelength / NA, with
moves of edges in whole database units and in an N-th of them. Prints how far the margins of clips
near the limit lie from those in windows of `LARGE` samples with the finer moves, which lie within
1 % of still larger ones, beside those of the windows that confirming uses. Clips at the border of
the layout are left out: shapes that were cut there print as chance has it.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import gdstk
import numpy as np
import zarr

from benchmarks.lithography.window_noise import simulate
from benchmarks.machine import machine
from pipeline.datasets.store import load_dataset
from pipeline.layout.ingest import open_packed, pack_into
from pipeline.simulate.tiles import read_target
from stages.contracts import Floats, Int64s, Layer, PackedLayout
from stages.lithography.clip_window import make_window
from stages.lithography.correction.opc import correct
from stages.lithography.measure.defects import check_window
from stages.lithography.measure.margins import find_worst_margin, take_clip_margins
from stages.lithography.optics.fields import Lattice, compute_halo_nm
from stages.lithography.process import Process, load_process

LARGE = 96
"""Samples along a window that the others are compared with."""


def main() -> None:
    """Measure the datasets and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("datasets", type=Path, nargs="+")
    parser.add_argument("--guards", type=float, nargs="*", default=[4.4, 7.0])
    parser.add_argument("--finer", type=int, default=8)
    parser.add_argument("--near", type=float, default=0.08)
    asked = parser.parse_args()
    found: dict[str, list[Floats]] = {}
    seconds: dict[str, float] = {}
    for path in asked.datasets:
        against, *rows = measure(path, asked.guards, asked.finer, asked.near)
        for name, margin, spent in rows:
            found.setdefault(name, []).append(np.abs(margin - against[1]))
            seconds[name] = seconds.get(name, 0.0) + spent
    print(machine() + "\n")
    print(f"{sum(map(len, next(iter(found.values())))):,} clips\n")
    print("| simulated in | s | median, 90 %, 95 %, 99 % |\n|---|--:|---|")
    for name, parts in found.items():
        apart = np.quantile(np.concatenate(parts), (0.5, 0.9, 0.95, 0.99))
        print(f"| {name} | {seconds[name]:.0f} | {', '.join(f'{100 * q:.1f} %' for q in apart)} |")


def measure(
    path: Path, guards: list[float], finer: int, near: float
) -> Iterator[tuple[str, Floats, float]]:
    """Yield how clips were simulated, their margins (n,), and seconds; first what is compared with.

    The seconds are of a processor, for the whole layout, or for the windows of these clips.
    """
    dataset, group = load_dataset(path), zarr.open_group(path, mode="r")
    process = load_process(dataset.process)
    margin = dataset.worst_margin()
    x, y = (np.asarray(group[name]) for name in ("x_dbu", "y_dbu"))
    with tempfile.TemporaryDirectory() as folder:
        layouts = {
            count: pack_finer(path.with_suffix(".gds"), dataset.layers[0], count, Path(folder))
            for count in (1, finer)
        }
        core = round(dataset.spec.core_nm / layouts[1].dbu_nm)
        inside = layouts[1].extent.grow(-core)
        chosen = np.abs(margin) < near
        chosen &= (x > inside.x_min) & (x < inside.x_max) & (y > inside.y_min) & (y < inside.y_max)
        clips = x[chosen], y[chosen]
        for samples, count in ((LARGE, finer), (None, 1), (None, finer)):
            yield simulate_windows(layouts[count], clips, core, count, samples, process)
        for count, layout in layouts.items():
            for guard in guards:
                seen = replace(process, guard=guard)
                yield simulate_fields(layout, clips, core, count, seen)


def pack_finer(source: Path, layer: str, finer: int, folder: Path) -> PackedLayout:
    """Return a layout with the shapes of another, its database unit an n-th of that."""
    library = gdstk.read_gds(source)
    library.precision /= finer
    library.write_gds(folder / f"{finer}.gds")
    pack_into(folder / f"{finer}.gds", folder / f"packed-{finer}", [Layer.parse(layer)])
    return open_packed(folder / f"packed-{finer}")


def simulate_windows(
    layout: PackedLayout, clips: tuple[Int64s, Int64s], core: int, finer: int,
    samples: int | None, process: Process,
) -> tuple[str, Floats, float]:  # fmt: skip
    """Simulate clips, each in a window of so many samples, or as confirming does."""
    side, core = 0, core * finer
    window, started = make_window(process, layout.dbu_nm, core, "model"), time.process_time()
    if samples:
        side = int(samples * process.wavelength_nm / process.na / 4 / layout.dbu_nm)
        guard = (side - core) // 2
        window = Lattice(window.pitch_dbu, core, guard, core + 2 * guard)
    margin = simulate(layout, clips[0] * finer, clips[1] * finer, window, process, "model")
    title = f"windows{f' of {samples} samples' if samples else ''}, moves of {layout.dbu_nm:g} nm"
    return title, margin, time.process_time() - started


def simulate_fields(
    layout: PackedLayout, clips: tuple[Int64s, Int64s], core: int, finer: int, process: Process
) -> tuple[str, Floats, float]:
    """Simulate a whole layout in fields; return the margins of clips."""
    started, dbu_nm, area = time.process_time(), layout.dbu_nm, layout.extent
    halo = round(compute_halo_nm(process) / dbu_nm) + 1
    target = read_target(layout.packed[0], area.grow(2 * halo), dbu_nm, process)
    mask = correct(target, area.grow(halo), dbu_nm, process)
    x, y = clips[0] * finer, clips[1] * finer
    cell = int(np.gcd.reduce(np.concatenate([[core * finer], x - core * finer // 2,
                                             y - core * finer // 2])))  # fmt: skip
    cells = check_window(target, area, dbu_nm, process, cell, mask).margins
    margin = find_worst_margin(take_clip_margins(cells, cell, x, y, core * finer)).astype(float)
    title = f"fields that see {process.guard:g}, moves of {dbu_nm:g} nm"
    return title, margin, time.process_time() - started


if __name__ == "__main__":
    main()
