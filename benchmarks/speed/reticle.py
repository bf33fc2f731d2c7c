"""A layout of many chips: what driver and workers hold stage by stage, and what plan foresaw.

python -m benchmarks.speed.reticle [--copies 1 3 10] [--kill-in scores] [--work DIR] [--workers 2]

The real chip is placed so many times, each copy at another offset within a step of the grid of
clips, so that its pictures differ: ten copies are 100 mm2 and some 40 million clips. First met1 is
scanned. With ``--kill-in`` the driver is killed in the middle of that stage and the scan resumed:
the digest of ``hotspots.parquet`` is that of a scan that nothing disturbed.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import klayout.db as kdb

from benchmarks.machine import machine
from benchmarks.speed.scale import CHIP
from benchmarks.speed.scan_process import NAMES, Sample, scanned
from pipeline.engine.storage.run_directory import Run
from pipeline.layout.ingest import compute_sha256

LAYER = "68/20"
STEP_DBU, OFFSET_DBU = 1280, 127
"""Step of the grid of clips, and how much further into it each copy lies than the one before."""
COLUMNS = 5


def write_copies(path: Path, count: int) -> None:
    """Write a layout that places the chip, each copy at another offset within a step of the grid.

    So the copies have other pictures, but at the rare places where a part of one lies as another.
    """
    layout = kdb.Layout()
    layout.read(str(CHIP))
    chip, top = layout.top_cell(), layout.create_cell("COPIES")
    box = chip.bbox()
    for number in range(count):
        row, column = divmod(number, COLUMNS)
        x, y = (
            at * (side // STEP_DBU + 2) * STEP_DBU + number * OFFSET_DBU
            for at, side in ((column, box.width()), (row, box.height()))
        )
        top.insert(kdb.CellInstArray(chip.cell_index(), kdb.Trans(x, y)))
    layout.write(str(path))


def foresee(layout: Path, workers: int) -> dict[str, Any]:
    """Return what ``hotscan plan`` says."""
    command = ("plan", str(layout), "--layer", LAYER, "--workers", str(workers), "--json")
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.cli.app", *command], check=True, capture_output=True
    )
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def measure(layout: Path, out: Path, workers: int, kill_in: str) -> None:
    """Scan a layout, and print the tables of one scan."""
    foreseen = foresee(layout, workers)
    shutil.rmtree(out, ignore_errors=True)
    row = scanned(layout, "--layer", LAYER, workers=workers, out=out, kill_in=kill_in)
    print(
        f"\n{row['area_um2'] / 1e6:.2f} mm2, {row['clips']:,} clips, {row['patterns']:,} patterns, "
        f"{row['hotspots']:,} hotspots, coverage {row['coverage_fraction']:g}, "
        f"{row['wall_s']:.0f} s, of all processors {row['processor_s']:.0f} s"
        + (f", killed in the middle of {kill_in} and resumed" if kill_in else "")
        + f"\nhotspots.parquet {compute_sha256(Run(out).hotspots)}"
    )
    print_memory(row)
    print("\n| | estimated | measured | factor |\n|---|--:|--:|--:|")
    measured = {
        "clips": row["clips"], "patterns": row["patterns"], "seconds": row["wall_s"],
        "worker_mb": row["worker_mb"], "disk_mb": row["disk_mb"],
    }  # fmt: skip
    measured |= {name: row[name] for name in foreseen if name in row and name.startswith("seconds")}
    for name, true in measured.items():
        guess = foreseen[name]
        factor = max(guess / true, true / guess) if guess and true else float("inf")
        print(f"| {name} | {guess:,.0f} | {true:,.0f} | {factor:.2f} |")


def print_memory(row: dict[str, Any]) -> None:
    """Print the most that processes held in each stage."""
    stages: dict[str, Sample] = row["by_stage"] | {"any": row["memory"]}
    print("\n| stage | s | " + " | ".join(f"{name} MB" for name in NAMES).replace("_", " "), "|")
    print("|---|" + "--:|" * (1 + len(NAMES)))
    for stage, most in stages.items():
        seconds = row.get(f"seconds_{stage}", row["wall_s"] if stage == "any" else 0.0)
        held = " | ".join(f"{getattr(most, name):,.0f}" for name in NAMES)
        print(f"| {stage} | {seconds:.1f} | {held} |", flush=True)


def main() -> None:
    """Measure layouts of the counts that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--copies", type=int, nargs="+", default=[1, 3])
    parser.add_argument("--kill-in", default="", metavar="STAGE", help="clips or scores")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--work", type=Path, help="keep layouts and runs here")
    asked = parser.parse_args()
    with TemporaryDirectory() as folder:
        work = asked.work or Path(folder)
        work.mkdir(parents=True, exist_ok=True)
        for count in asked.copies:
            layout = work / f"copies{count}.gds"
            if not layout.exists():
                write_copies(layout, count)
            print(f"\n## {count} copies", flush=True)
            measure(layout, work / f"run{count}", asked.workers, asked.kill_in)
    print(f"\n{asked.workers} workers; {machine()}")


if __name__ == "__main__":
    main()
