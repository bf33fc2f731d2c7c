"""How far the margin of a clip's window lies from that of full simulation, by the window's size.

python -m benchmarks.lithography.window_noise DATASET ... [--samples N ...] [--near SHARE]
                                              [--doubt SHARE]

Each dataset is one that `hotscan label` made after OPC, with its layout beside it as DATASET.gds.
Clips near the limit are simulated in the window that confirming uses; those whose margin there is
within `--doubt` are simulated in larger windows, too. Prints how margins differ from the stored
ones, and what surely fails or passes there and is judged otherwise: by each size alone, and by the
mean of the first and each other.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import zarr

from benchmarks.machine import machine
from pipeline.datasets.store import load_dataset
from pipeline.layout.ingest import open_packed, pack_into
from stages.contracts import Box, Floats, Int64s, Layer, PackedLayout
from stages.geometry.window_query import query
from stages.lithography.clip_window import make_window, read_window, simulate_clips
from stages.lithography.measure.margins import find_worst_margin, split_by_margin
from stages.lithography.optics.fields import Lattice
from stages.lithography.process import Process, load_process

TOGETHER = 16
USUAL = "usual"


def main() -> None:
    """Measure the datasets and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("datasets", type=Path, nargs="+")
    parser.add_argument("--samples", type=int, nargs="*", default=[64, 80], help="side of windows")
    parser.add_argument("--near", type=float, default=0.12)
    parser.add_argument("--doubt", type=float, default=0.06)
    asked = parser.parse_args()
    full: list[Floats] = []
    found: dict[str, list[Floats]] = {}
    seconds: dict[str, list[float]] = {}
    for path in asked.datasets:
        full.append(measure(path, asked.samples, asked.near, asked.doubt, found, seconds))
    print(machine() + "\n")
    stored = np.concatenate(full)
    surely = split_by_margin(stored.astype(np.float32))[0]
    print(f"{len(stored):,} clips near the limit, {surely.sum():,} surely fail\n")
    print("| judged by | ms | surely fail, lost | surely pass, false alarms | median, 90 %, 99 % |")
    print("|---|--:|--:|--:|---|")
    usual = np.concatenate(found[USUAL])
    for name, parts in found.items():
        one = np.concatenate(parts)
        cost = f"{1000 * np.mean(seconds[name]):.1f}"
        report(name, cost, one, stored)
        if name != USUAL:
            report(f"mean of {USUAL} and {name}", "", (usual + one) / 2, stored)


def measure(
    path: Path, samples: list[int], near: float, doubt: float,
    found: dict[str, list[Floats]], seconds: dict[str, list[float]],
) -> Floats:  # fmt: skip
    """Add what windows of a dataset's clips near the limit have; return the stored margins."""
    dataset, group = load_dataset(path), zarr.open_group(path, mode="r")
    margin = dataset.worst_margin().astype(float)
    chosen = np.flatnonzero(np.abs(margin) < near)
    x, y = (np.asarray(group[name])[chosen] for name in ("x_dbu", "y_dbu"))
    process = load_process(dataset.process)
    with tempfile.TemporaryDirectory() as folder:
        pack_into(path.with_suffix(".gds"), Path(folder, "l"), [Layer.parse(dataset.layers[0])])
        layout = open_packed(Path(folder, "l"))
        core = round(dataset.spec.core_nm / layout.dbu_nm)
        window = make_window(process, layout.dbu_nm, core, dataset.opc)
        started = time.process_time()
        usual = simulate(layout, x, y, window, process, dataset.opc)
        seconds.setdefault(USUAL, []).append((time.process_time() - started) / len(x))
        found.setdefault(USUAL, []).append(usual)
        again = np.flatnonzero(np.abs(usual) < doubt)
        for count in samples:
            side = count * process.wavelength_nm / process.na / 4 / layout.dbu_nm
            guard = int(side - core) // 2
            larger = Lattice(window.pitch_dbu, core, guard, core + 2 * guard)
            judged, started = usual.copy(), time.process_time()
            judged[again] = simulate(layout, x[again], y[again], larger, process, dataset.opc)
            spent = (time.process_time() - started) / max(len(again), 1)
            seconds.setdefault(f"{count} samples", []).append(spent)
            found.setdefault(f"{count} samples", []).append(judged)
    return margin[chosen]


def simulate(
    layout: PackedLayout, x_dbu: Int64s, y_dbu: Int64s, window: Lattice, process: Process, opc: str
) -> Floats:
    """Return the worst margin of each clip in a window of its own, (n,)."""
    half, margins = window.core_dbu // 2 + window.guard_dbu, []
    places = list(zip((x_dbu - half).tolist(), (y_dbu - half).tolist(), strict=True))
    for first in range(0, len(places), TOGETHER):
        drawn = []
        for x, y in places[first : first + TOGETHER]:
            box = Box(x, y, x + window.side_dbu, y + window.side_dbu)
            shapes = query(layout.packed[0], box)
            drawn.append(read_window(shapes, (x, y), window, 0, process, layout.dbu_nm))
        prints = simulate_clips(drawn, window, layout.dbu_nm, process, opc)
        margins += [found.margin for found in prints]
    return find_worst_margin(np.array(margins)).astype(float)


def report(name: str, cost: str, judged: Floats, stored: Floats) -> None:
    """Print a row."""
    surely, passes = split_by_margin(stored.astype(np.float32))
    apart = np.quantile(np.abs(judged - stored), (0.5, 0.9, 0.99))
    spread = ", ".join(f"{100 * share:.1f} %" for share in apart)
    lost, false = (surely & (judged <= 0)).sum(), (passes & (judged > 0)).sum()
    print(f"| {name} | {cost} | {lost} | {false} | {spread} |", flush=True)


if __name__ == "__main__":
    main()
