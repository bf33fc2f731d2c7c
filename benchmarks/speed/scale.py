"""How a scan grows: with area, with repetition, with workers, with layers; and what plan foresees.

python -m benchmarks.speed.scale [PART ...] [--workers N], parts as `PARTS` names them

Each part prints a table. Memory is sampled: what the driver holds for itself without files that it
maps, what the largest worker holds for itself, and what all processes fill together, the mapped
layout and shared libraries counted once (`benchmarks.speed.scan_process`).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import gdstk
import numpy as np
import torch

from benchmarks.machine import machine
from benchmarks.speed.scan_process import scanned
from pipeline.engine.storage.run_directory import Run
from pipeline.layout.ingest import pack_into
from pipeline.passes.job import CutSettings
from pipeline.passes.units import clip_tile
from stages.contracts import Box, Layer, RasterSpec
from stages.detector.models import checkpoint
from stages.detector.networks.detector import Detector
from stages.detector.networks.shapes import DetectorConfig
from stages.detector.training.thresholds import OperatingPoint

DATA = Path(os.environ.get("HOTSCAN_DATA", "../shared/data")) / "layouts"
CHIP = DATA / "tt02_user_project_wrapper.gds.gz"
CHIP_UM = (2.83, 17.04, 2904.37, 3504.34)
"""Extent of its met1."""
STAGES = ("layout", "clips", "patterns", "scores", "hotspots", "report")
AREAS_MM2 = (1.0, 2.0, 5.0, 99.0)
AREA = Box(0, 0, 2_900_000, 3_500_000)
TILE_DBU = 102_400
TILES = slice(300, 800, 30)
"""Tiles of `AREA` that are drawn by themselves."""
WORKERS = (1, 2, 4, 8)
LOADING_S = 3.0
"""For each process that starts beside others, until it has its kernels."""
ARRAYS = ((10, 10), (40, 25), (100, 100), (400, 250))
"""Columns and rows."""
PLANNED = (
    (CHIP, "68/20"), (DATA / "mpw1_sram_32x256.gds.gz", "68/20"),
    (DATA / "tt02_jar_pi.gds", "68/20"),
)  # fmt: skip


def roi(area_mm2: float) -> tuple[str, str]:
    """Return the option for a strip of the chip, of its whole height and so much area."""
    x_0, y_0, x_1, y_1 = CHIP_UM
    width = min(area_mm2 * 1e6 / (y_1 - y_0), x_1 - x_0)
    return "--roi", f"{x_0:g},{y_0:g},{x_0 + width:g},{y_1:g}"


def area(workers: int) -> None:
    """Scan 1, 2, 5 and all 10 mm2 of the chip's met1."""
    rows = [scanned(CHIP, "--layer", "68/20", *roi(mm2), workers=workers) for mm2 in AREAS_MM2]
    mm2, wall = (np.array([row[key] for row in rows]) for key in ("area_um2", "wall_s"))
    slope, start = np.polyfit(mm2 / 1e6, wall, 1)
    print("| mm2 | clips | patterns | s | off the fit | " + " | ".join(STAGES), end=" | ")
    print("worker MB | driver MB | all MB |\n|" + "--:|" * (8 + len(STAGES)))
    for row, off in zip(rows, wall / (start + slope * mm2 / 1e6) - 1, strict=True):
        stages = " | ".join(f"{row[f'seconds_{stage}']:.1f}" for stage in STAGES)
        print(
            f"| {row['area_um2'] / 1e6:.2f} | {row['clips']:,} | {row['patterns']:,} "
            f"| {row['wall_s']:.1f} | {off:+.1%} | {stages} | {row['worker_mb']:.0f} "
            f"| {row['driver_mb']:.0f} | {row['together_mb']:,.0f} |"
        )
    print(f"\nThe line: {start:.1f} s and {slope:.1f} s per mm2.")


def repeat(workers: int) -> None:
    """Scan an array of equal cells, and of 10, 100, 1,000 times as many."""
    print("| cells | clips | patterns | s | times |\n|--:|--:|--:|--:|--:|")
    first = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for columns, rows in ARRAYS:
            layout = Path(folder, f"array_{columns}.gds")
            write_array(layout, columns, rows)
            row = scanned(layout, "--layer", "68/20", workers=workers)
            first = first or row["wall_s"]
            print(
                f"| {columns * rows:,} | {row['clips']:,} | {row['patterns']:,} "
                f"| {row['wall_s']:.1f} | {row['wall_s'] / first:.1f} |"
            )


def write_array(path: Path, columns: int, rows: int) -> None:
    """Write an array of cells of 6.9 x 2.72 um with random wires, seed 0."""
    rng = np.random.default_rng(0)
    library = gdstk.Library("ARRAY", unit=1e-6, precision=1e-9)
    cell, top = library.new_cell("CELL"), library.new_cell("TOP")
    for track in range(8):
        x = 0.0
        while x < 6.5:
            length = rng.integers(4, 30) * 0.1
            low = (x, track * 0.34), (min(x + length, 6.7), track * 0.34 + 0.14)
            cell.add(gdstk.rectangle(*low, layer=68, datatype=20))
            x += length + rng.integers(14, 30) * 0.01
    top.add(gdstk.Reference(cell, (0, 0), columns=columns, rows=rows, spacing=(6.9, 2.72)))
    library.write_gds(str(path))


def speedup(workers: int) -> None:
    """Scan with more and more workers: the command, its two passes, and the machine's own limit."""
    del workers  # `WORKERS`
    rows = [scanned(CHIP, "--layer", "68/20", *roi(2), workers=count) for count in WORKERS]
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder))
        pack_into(CHIP, run.layout, [Layer(68, 20)])
        machine_s = [min(side_by_side(n, run.path) for _ in range(2)) / n for n in WORKERS]
    seconds = np.array([
        (row["wall_s"], row["seconds_clips"], row["seconds_scores"], one)
        for row, one in zip(rows, machine_s, strict=True)
    ])  # fmt: skip
    times = seconds[0] / np.maximum(seconds, 1e-9)
    print(
        "| workers | s: command | clips | scores | times as fast: command | clips | scores ", end=""
    )
    print("| the machine | efficiency: clips | scores |\n|" + "--:|" * 10)
    for count, took, faster in zip(WORKERS, seconds, times, strict=True):
        cells = [f"{count}", *(f"{s:.1f}" for s in took[:3]), *(f"{t:.2f}" for t in faster)]
        cells += [f"{t / faster[3]:.0%}" for t in faster[1:3]]
        print(f"| {' | '.join(cells)} |")
    print("\nThe machine: tiles drawn by as many processes that do not know of each other.")
    print("Efficiency: times as fast, of what the machine gives so many processes.")


def side_by_side(processes: int, run: Path) -> float:
    """Return the seconds that processes take, each to draw the same tiles at the same time."""
    begin = time.time() + LOADING_S * processes
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        return max(pool.map(drawn, [run] * processes, [begin] * processes))


def drawn(run: Path, begin: float) -> float:
    """Return the seconds that it takes to draw some tiles twice, kernels loaded before `begin`."""
    job = cut(run, 64, shared=True)
    tiles = job.tiles[TILES]
    clip_tile(tiles[0], job=job)
    time.sleep(max(0.0, begin - time.time()))
    started = time.perf_counter()
    for tile in tiles * 2:
        clip_tile(tile, job=job)
    return time.perf_counter() - started


def layers(workers: int) -> None:
    """Scan three layers of the whole chip at once, scored by a network of three channels.

    It is not trained (seed 0), so it has no prefilter, and its verdicts mean nothing: it costs what
    one that is trained costs.
    """
    torch.manual_seed(0)
    config = DetectorConfig(layers=3)
    detector = Detector(config).eval()
    point = OperatingPoint(1.0, 0.0, 0, 0.0, 0, 0)
    model = checkpoint.Checkpoint(
        detector.get_arrays(), config, RasterSpec(40.0, 64, 32, 3), ("li1", "met1", "met2"),
        "krf130", point, {},
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        checkpoint.save(Path(folder, "three.pt"), model)
        chosen = ("--layer", "67/20+68/20+69/20")
        row = scanned(CHIP, *chosen, "--model", f"{folder}/three.pt", workers=workers)
    print_one("li1, met1, met2 of the whole chip", row)


def sram(workers: int) -> None:
    """Scan 3.3 million shapes of a memory."""
    layout = DATA / "ihp_sram_2048x64.gds"
    print_one(layout.name, scanned(layout, "--layer", "8/0", workers=workers))


def print_one(name: str, row: dict[str, Any]) -> None:
    """Print one scan as a table."""
    stages = " | ".join(f"{row[f'seconds_{stage}']:.1f}" for stage in STAGES)
    print(f"| | mm2 | clips | patterns | s | {' | '.join(STAGES)} | worker MB | all MB |")
    print("|---|" + "--:|" * (6 + len(STAGES)))
    print(
        f"| {name} | {row['area_um2'] / 1e6:.2f} | {row['clips']:,} | {row['patterns']:,} "
        f"| {row['wall_s']:.1f} | {stages} | {row['worker_mb']:.0f} | {row['together_mb']:,.0f} |"
    )


def plan(workers: int) -> None:
    """Print what plan foresees beside what the scan then takes, for three files."""
    print("| file | | estimated | measured | factor |\n|---|---|--:|--:|--:|")
    for layout, layer in PLANNED:
        # As a user runs it: this process holds what no worker does.
        asked = ["plan", layout, "--layer", layer, "--workers", workers, "--json"]
        command = [sys.executable, "-m", "hotscan", *map(str, asked)]
        foreseen = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
        row = scanned(layout, "--layer", layer, workers=workers)
        for what, guess, true in (
            ("clips", foreseen["clips"], row["clips"]),
            ("patterns", foreseen["patterns"], row["patterns"]),
            ("seconds", foreseen["seconds"], row["wall_s"]),
            ("worker MB", foreseen["worker_mb"], row["worker_mb"]),
            ("disk MB", foreseen["disk_mb"], row["disk_mb"]),
        ):
            factor = max(guess / true, true / guess)
            print(f"| {layout.name} | {what} | {guess:,.0f} | {true:,.0f} | {factor:.2f} |")


def drawing(workers: int) -> None:
    """Draw and hash the clips of nine tiles of 100 x 100 um on one core, of 64 and 128 pixels.

    A picture of 128 pixels is as wide again, and its core too.
    """
    del workers  # one core
    print("| pixels | clips with metal | each drawn, clips/s | regions drawn once, clips/s |")
    print("|---|--:|--:|--:|")
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder))
        pack_into(CHIP, run.layout, [Layer(68, 20)])
        for side in (64, 128):
            rates = []
            for shared in (False, True):
                job = cut(run.path, side, shared=shared)
                tiles = job.tiles[TILES][::2]
                clip_tile(tiles[0], job=job)  # builds the kernels
                started, clips = time.process_time(), 0
                for tile in tiles:
                    clips += int(clip_tile(tile, job=job).counts["clips"])
                rates.append(clips / (time.process_time() - started))
            print(f"| {side} x {side} | {clips:,} | {rates[0]:,.0f} | {rates[1]:,.0f} |")


def cut(run: Path, side_px: int, *, shared: bool) -> CutSettings:
    """Return how the chip is cut into clips of so many pixels of 40 nm."""
    return CutSettings(
        run=run, spec=RasterSpec(40.0, side_px, side_px // 2), pixel_dbu=40,
        core_dbu=side_px * 20, symmetries=8, tile_dbu=TILE_DBU, stride_dbu=side_px * 20,
        limits=None, area=AREA, excluded=0, shared=shared,
    )  # fmt: skip


PARTS: dict[str, Callable[[int], None]] = {
    "area": area, "repeat": repeat, "workers": speedup,
    "layers": layers, "sram": sram, "plan": plan, "drawing": drawing,
}  # fmt: skip


def main() -> None:
    """Measure the parts that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], default=[])
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    for name in asked.parts or PARTS:
        print(f"\n## {name}\n", flush=True)
        PARTS[name](asked.workers)
    print(f"\n{asked.workers} workers; {machine()}")


if __name__ == "__main__":
    main()
