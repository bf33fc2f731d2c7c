"""Scanning beside what an engineer would script with KLayout and torch.

python -m benchmarks.scan [LAYOUT] [--layer L/D] [--roi X0 Y0 X1 Y1] [--clips N] [--workers N]

The script queries, merges and rasterises each window with KLayout (``Region.rasterize`` counts
overlaps twice, so it must be merged) and scores batches of 256 on all cores, in memory. hotscan is
timed from the packed layout to scores on disk. Same clips, same network, one run; the pictures of
a sample are compared to within half a grey level.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import klayout.db as kdb
import numpy as np
import numpy.typing as npt
import torch

from benchmarks.machine import machine
from pipeline.config import Resources, ScanConfig, load_config
from pipeline.inspect import open_view
from pipeline.scan import scan
from pipeline.steps import draw_places
from pipeline.store import read_clips
from pipeline.view import RunView
from stages.contracts import Int64s, Layer
from stages.geometry.coverage import FULL

SAMPLE = Path(__file__).parents[1] / "sample_layouts" / "block.gds.gz"


def main() -> None:
    """Measure both and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("layout", type=Path, nargs="?", default=SAMPLE)
    parser.add_argument("--layer", default="68/20")
    parser.add_argument("--roi", type=float, nargs=4, default=(0, 0, 300, 300))
    parser.add_argument("--clips", type=int, default=4000, help="clips that the script draws")
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    config = load_config(None, {"layout": {"layers": [asked.layer], "roi_um": list(asked.roi)}})
    with tempfile.TemporaryDirectory() as folder:
        # Once to build and cache the compiled kernels, which a first scan pays for.
        timed_scan(asked.layout, Path(folder, "warm"), config, asked.workers)
        view, metrics = timed_scan(asked.layout, Path(folder, "run"), config, asked.workers)
        centres = sampled(view, asked.clips)
        peer_s, pictures = peer(asked.layout, Layer.parse(asked.layer), view, centres)
        drawn = draw_places(centres[:, 0].copy(), centres[:, 1].copy(), view.job)[:, 0]
    worst = float(np.abs(drawn / FULL - pictures).max())
    if worst > 0.51 / FULL:
        raise SystemExit(f"the pictures differ by {worst}: the comparison is void")
    ours_s = sum(metrics[f"seconds_{stage}"] for stage in ("clips", "patterns", "scores"))
    print_table(metrics, ours_s, len(centres), peer_s, asked.workers)
    print(f"{asked.layout.name}, klayout {kdb.__version__}, {machine()}")


def timed_scan(
    layout: Path, out: Path, config: ScanConfig, workers: int
) -> tuple[RunView, dict[str, float]]:
    """Scan; the seconds of each stage are in the metrics."""
    result = scan(layout, out, config, Resources(workers=workers), lambda event: None)
    return open_view(result.run), dict(result.metrics)


def sampled(view: RunView, count: int) -> Int64s:
    """Return the centres of some of the scan's clips, (n, 2)."""
    names = sorted(path.stem for path in (view.run.path / "clips").iterdir())
    clips, _ = read_clips(view.run, names)
    chosen = np.random.default_rng(0).permutation(len(clips))[:count]
    return np.stack([clips.x_dbu, clips.y_dbu], axis=1)[chosen]


def peer(
    path: Path, layer: Layer, view: RunView, centres: Int64s
) -> tuple[float, npt.NDArray[np.float32]]:
    """Return how long KLayout and torch take for the clips, and their pictures, 0 to 1."""
    size, pixel = view.job.spec.clip_px, view.job.pixel_dbu
    half = size // 2 * pixel
    layout = kdb.Layout()
    layout.read(str(path))
    cell, index = layout.cell(view.layout.top), layout.layer(layer.layer, layer.datatype)
    detector = view.model.detector().for_inference()
    torch.set_num_threads(os.cpu_count() or 1)
    pictures = np.empty((len(centres), size, size), np.float32)
    started = time.perf_counter()
    for n, (x, y) in enumerate(centres.tolist()):
        window = kdb.Box(x - half, y - half, x + half, y + half)
        region = kdb.Region(cell.begin_shapes_rec_overlapping(index, window)).merged()
        corner = kdb.Point(x - half, y - half)
        pictures[n] = region.rasterize(corner, kdb.Vector(pixel, pixel), size, size)
    pictures /= pixel**2
    with torch.inference_mode():
        for first in range(0, len(pictures), 256):
            detector(torch.from_numpy(pictures[first : first + 256, None]))
    return time.perf_counter() - started, pictures


def print_table(
    metrics: dict[str, float], ours_s: float, peer_clips: int, peer_s: float, workers: int
) -> None:
    """Print clips per second of both, ratio first."""
    ours, script = metrics["clips"] / ours_s, peer_clips / peer_s
    print(f"ratio {ours / script:.1f} (patterns judged once; {metrics['patterns']:,} patterns)\n")
    print("| | clips | s | clips/s |\n|---|--:|--:|--:|")
    print(f"| hotscan, {workers} workers | {metrics['clips']:,} | {ours_s:.1f} | {ours:,.0f} |")
    print(f"| KLayout + torch script | {peer_clips:,} | {peer_s:.1f} | {script:,.0f} |\n")


if __name__ == "__main__":
    main()
