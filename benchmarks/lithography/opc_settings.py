"""Whether OPC ever makes a mask worse, at any setting: random clips of five layouts.

python -m benchmarks.lithography.opc_settings [--clips N] [--keep FOLDER]

Takes random clips that show anything (seed 0) of five layouts, each in a window of its own as clips
are confirmed in, corrects each at ten settings of damping and rounds, and measures the edge
placement errors of drawn and corrected masks at every corner with all kernels, at places of their
own: along all edges, up to an eighth of wavelength / NA from the corners of shapes. A mask is worse
when the mean square of its errors, over corners, is over that of the drawn one. Prints for each
setting how many masks are worse, mean and 99th percentile of the worst corner's error and of that
at nominal, and seconds of one core a clip. With ``--keep`` each clip's errors are kept, and a run
that was stopped resumes.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from benchmarks.machine import machine
from pipeline.layout.ingest import open_packed, pack_into
from stages.contracts import Box, Floats, Int64s, Layer
from stages.geometry.window_query import query
from stages.lithography.clip_window import make_window, read_window
from stages.lithography.correction.opc import correct_field
from stages.lithography.correction.placement import choose_nominal, measure_edge_errors
from stages.lithography.optics.fields import Lattice
from stages.lithography.process import Process, load_process

LAYOUTS = (
    ("tt02_user_project_wrapper.gds.gz", "68/20", "krf130"),
    ("mpw1_sram_32x256.gds.gz", "68/20", "krf130"),
    ("tt05_tiles_shelfpacked.oas", "68/20", "krf130"),
    ("ihp_sram_2048x64.gds", "8/0", "krf130"),
    ("nangate45_gcd_metal1.gds", "11/0", "arfi45"),
)
SETTINGS = (
    (0.6, 8), (0.3, 4), (1.0, 1), (1.0, 8), (1.0, 50), (0.01, 1), (0.05, 100), (0.9, 3), (0.5, 24),
    (0.1, 160),
)  # fmt: skip
"""Damping and rounds."""
CORE_NM = {"krf130": 1280, "arfi45": 500}
CORNERS = 1 / 8
"""How near to corners of shapes edges are measured, in wavelength / NA."""


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """A piece of a layout."""

    target: Int64s
    """From the corner of its window."""
    window: Lattice
    dbu_nm: float
    process: Process


class Measured(NamedTuple):
    """One clip: as drawn, then at each setting."""

    errors: Floats
    """(1 + settings, corners, places) in nm."""
    nominal: int
    """Which of the corners is."""
    seconds: Floats
    """(settings,) of one core."""


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=1000)
    parser.add_argument("--keep", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        rows = list(measure_all(asked.clips, asked.keep or Path(scratch)))
    print(machine() + "\n")
    print("| damping | rounds | masks | worse | worst corner, mean nm | 99 % under ", end="")
    print("| nominal, mean nm | 99 % under | s a clip |\n|" + "--:|" * 9)
    report("as drawn", "", rows, 0)
    for index, (damping, rounds) in enumerate(SETTINGS, 1):
        report(f"{damping:g}", f"{rounds}", rows, index)


def measure_all(count: int, kept: Path) -> Iterator[Measured]:
    """Yield what is measured of each clip, from a folder where it is there."""
    kept.mkdir(parents=True, exist_ok=True)
    folder = Path(os.environ.get("HOTSCAN_DATA", "../shared/data"), "layouts")
    share = -(-count // len(LAYOUTS))
    names = [f"{layout}-{clip}.npz" for layout in range(len(LAYOUTS)) for clip in range(share)]
    names = names[:count]
    for layout, (file, layer, process) in enumerate(LAYOUTS):
        mine = [name for name in names if name.startswith(f"{layout}-")]
        if not all((kept / name).exists() for name in mine):
            for name, clip in zip(mine, choose(folder / file, layer, process), strict=False):
                if not (kept / name).exists():
                    np.savez(kept / name, *measure(clip))
    for name in names:
        with np.load(kept / name) as arrays:
            yield Measured(arrays["arr_0"], int(arrays["arr_1"]), arrays["arr_2"])


def choose(path: Path, layer: str, name: str) -> Iterator[Clip]:
    """Yield random clips that show anything."""
    process, rng = load_process(name), np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        pack_into(path, Path(folder, "l"), [Layer.parse(layer)])
        layout = open_packed(Path(folder, "l"))
        core = round(CORE_NM[name] / layout.dbu_nm)
        window = make_window(process, layout.dbu_nm, core, "model")
        extent = layout.extent
        while True:
            x = int(rng.integers(extent.x_min, extent.x_max))
            y = int(rng.integers(extent.y_min, extent.y_max))
            if not len(query(layout.packed[0], Box(x, y, x + core, y + core)).rects):
                continue
            place = (x - window.guard_dbu, y - window.guard_dbu)
            box = Box(*place, place[0] + window.side_dbu, place[1] + window.side_dbu)
            shapes = query(layout.packed[0], box)
            target, _ = read_window(shapes, place, window, 0, process, layout.dbu_nm)
            yield Clip(target, window, layout.dbu_nm, process)


def measure(clip: Clip) -> Measured:
    """Correct a clip at every setting, and measure the masks."""
    process, seconds = clip.process, []
    assert process.opc is not None
    errors = [measure_errors(clip, clip.target)]
    for damping, rounds in SETTINGS:
        opc = replace(process.opc, damping=damping, iterations=rounds)
        started = time.process_time()
        mask = correct_field(clip.target, clip.window, clip.dbu_nm, replace(process, opc=opc))
        seconds.append(time.process_time() - started)
        errors.append(measure_errors(clip, mask))
    nominal = process.corners.index(choose_nominal(process))
    return Measured(np.stack(errors), nominal, np.array(seconds))


def measure_errors(clip: Clip, mask: Int64s) -> Floats:
    """Return the edge placement errors in a clip's core, (corners, places) in nm."""
    guard, core = clip.window.guard_dbu, clip.window.core_dbu
    # Cores tile the plane from the origin: that of the clip is moved there.
    target = clip.target - guard
    moved = mask.copy()
    moved[:, :4] -= guard
    process = clip.process
    apart_nm = CORNERS * process.wavelength_nm / process.na
    process = replace(process, limits=replace(process.limits, corner_nm=apart_nm))
    return np.stack(
        [
            measure_edge_errors(
                target, Box(0, 0, core, core), clip.dbu_nm,
                replace(process, corners=(corner,)), moved, clip.window,
            )[1]
            for corner in process.corners
        ]
    )  # fmt: skip


def report(damping: str, rounds: str, rows: list[Measured], index: int) -> None:
    """Print a line of the table."""
    worse = sum(np.square(row.errors[index]).sum() > np.square(row.errors[0]).sum() for row in rows)
    worst = np.concatenate([np.abs(row.errors[index]).max(axis=0) for row in rows])
    nominal = np.concatenate([np.abs(row.errors[index, row.nominal]) for row in rows])
    seconds = f"{np.mean([row.seconds[index - 1] for row in rows]):.3f}" if index else ""
    print(
        f"| {damping} | {rounds} | {len(rows)} | {worse} | {worst.mean():.2f} "
        f"| {np.percentile(worst, 99):.1f} | {nominal.mean():.2f} "
        f"| {np.percentile(nominal, 99):.1f} | {seconds} |"
    )


if __name__ == "__main__":
    main()
