"""Full simulation against scan and confirm, on the same area, in one run.

python -m benchmarks.ground_truth [--work DIR] [--roi X0,Y0,X1,Y1] [--workers N] [--skip-opc]

Simulates a strip of the real chip's met1 that the default model never saw, in full, without and
with OPC, and keeps the defects (``defects.parquet`` in each folder); then scans the same area and
confirms what the scan flags. Prints recall, false alarms, the share of clips that are simulated
and the times as a table. A stopped run goes on, and then its times are those of the last part.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from benchmarks.machine import machine
from pipeline.cli.options import parse_region
from pipeline.cli.progress import Progress
from pipeline.config import Resources, load_config
from pipeline.engine.run_directory import Run
from pipeline.engine.run_record import read_record
from pipeline.passes.arrays import read_pattern_clips, read_patterns
from pipeline.passes.scan_settings import ScanSettings
from pipeline.scan.scan import ScanRequest, scan
from pipeline.simulate.region import SimulateRequest, simulate_region
from stages.contracts import Defect
from stages.lithography.measure.defects import label_clips
from stages.lithography.optics.fields import make_lattice
from stages.lithography.process import load_process

CHIP = "layouts/tt02_user_project_wrapper.gds.gz"
LAYER, PROCESS, MODEL = "68/20", "krf130", "krf130-met1"
ROI = "1500,0,1800,3510"
FIELD_UM2 = (make_lattice(load_process(PROCESS), 1.0).core_dbu / 1000) ** 2


def main() -> None:
    """Simulate, scan, confirm, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("build/ground_truth"))
    parser.add_argument("--roi", default=ROI, help="um")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--skip-opc", action="store_true")
    asked = parser.parse_args()
    chip = Path(os.environ.get("HOTSCAN_DATA", "../shared/data")) / CHIP
    asked.work.mkdir(parents=True, exist_ok=True)
    resources = Resources(workers=asked.workers)
    roi = parse_region(asked.roi)
    rows: dict[str, Any] = {}
    with Progress() as progress:
        for opc in ("none",) if asked.skip_opc else ("none", "model"):
            started = time.monotonic()
            request = SimulateRequest(
                chip, asked.work / f"truth-{opc}", LAYER, PROCESS, opc=opc, roi_um=roi,
                contours=False,
            )  # fmt: skip
            rows[f"simulated, opc {opc}"] = simulate_region(request, resources, progress) | {
                "wall_s": time.monotonic() - started
            }
        config = load_config(None, {
            "layout": {"layers": [LAYER], "roi_um": roi}, "scores": {"model": MODEL},
            "confirm": {"enabled": True, "opc": "none"},
        })  # fmt: skip
        started = time.monotonic()
        metrics = scan(
            ScanRequest(layout=chip, out=asked.work / "scan", config=config), resources, progress
        ).metrics
        scan_s = time.monotonic() - started
    print(machine())
    _print(rows, asked.work, dict(metrics), scan_s)


def _print(rows: dict[str, Any], work: Path, metrics: dict[str, Any], scan_s: float) -> None:
    truth = rows["simulated, opc none"]
    area = truth["area_um2"]
    print(f"\n| full simulation of {area / 1e6:.2f} mm2 | defects | by kind | s | um2/s |")
    print("|---|--:|---|--:|--:|")
    for name, row in rows.items():
        kinds = ", ".join(
            f"{key.removeprefix('defects_')} {count:,}"
            for key, count in row.items()
            if key.startswith("defects_")
        )
        wall = row["wall_s"]
        print(f"| {name} | {row['defects']:,} | {kinds} | {wall:.0f} | {area / wall:,.0f} |")
    x, y, flagged, confirmed, core = _clips(work / "scan")
    print("\n| scan and confirm of the same area | |\n|---|--:|")
    truth_hot = _labels(work / "truth-none" / "defects.parquet", x, y, core)
    found = truth_hot & flagged
    lines: list[tuple[str, str]] = [
        ("clips", f"{len(x):,}"),
        ("hotspots by full simulation", f"{truth_hot.sum():,} ({truth_hot.mean():.2%})"),
        ("recall of the scan", f"{found.sum() / max(truth_hot.sum(), 1):.2%}"),
        ("false alarms of the scan", f"{(flagged & ~truth_hot).sum():,}"),
        ("clips simulated", f"{flagged.sum():,} ({flagged.mean():.2%})"),
        ("area simulated for them", f"{metrics['fields_simulated'] * FIELD_UM2 / area:.1%}"),
        ("recall after confirming",
         f"{(truth_hot & confirmed).sum() / max(truth_hot.sum(), 1):.2%}"),
        ("false alarms after confirming", f"{(confirmed & ~truth_hot).sum():,}"),
        ("confirmed as full simulation says, of the flagged",
         f"{(confirmed == truth_hot)[flagged].mean():.2%}"),
        ("seconds: scan and confirm", f"{scan_s:.0f}"),
        *((f"seconds: {key.removeprefix('seconds_')}", f"{value:.0f}")
          for key, value in metrics.items() if key.startswith("seconds_")),
        ("full simulation takes, times as long", f"{truth['wall_s'] / scan_s:.2f}"),
    ]  # fmt: skip
    if (work / "truth-model").exists():
        after = _labels(work / "truth-model" / "defects.parquet", x, y, core)
        lines += [
            ("hotspots by full simulation after OPC", f"{after.sum():,} ({after.mean():.2%})"),
            ("of them flagged by the scan (its model knows no OPC)",
             f"{(after & flagged).sum():,}"),
        ]  # fmt: skip
    for name, value in lines:
        print(f"| {name} | {value} |")


def _clips(path: Path) -> tuple[Any, ...]:
    """Return centre, whether flagged, and whether confirmed of each clip; and the core in dbu."""
    run = Run(path)
    config = ScanSettings.of(read_record(run)).config
    names = sorted(file.stem for file in (path / "clips").glob("*.parquet"))
    (scores,) = read_patterns(run, "score")
    clips, pattern, _ = read_pattern_clips(run, names, np.ones(len(scores), bool))
    flagged = scores[pattern] >= config.scores.threshold
    core = round(config.raster.core_nm or 0)  # the chip's database unit is 1 nm
    confirmed = flagged & _labels(path / "confirm", clips.x_dbu, clips.y_dbu, core)
    return clips.x_dbu, clips.y_dbu, flagged, confirmed, core


def _labels(path: Path, x: Any, y: Any, core_dbu: int) -> Any:
    rows = pq.read_table(path).to_pylist()
    return label_clips(x, y, core_dbu, tuple(Defect(**row) for row in rows))


if __name__ == "__main__":
    main()
