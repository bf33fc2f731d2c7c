"""Scanning beside what an engineer would script with KLayout and torch.

python -m benchmarks.speed.peer_klayout_torch [LAYOUT] [--layer L/D] [--roi X0 Y0 X1 Y1] [--clips N]
                                        [--workers N] [--model NAME]

The script reads the file, queries, merges and rasterises each window with KLayout
(``Region.rasterize`` counts overlaps twice, so it must be merged), and judges batches of 256 with
the same network on all cores. It does so for a random sample of the scan's clips; its time
for all is that of reading, and of these clips times their share. hotscan runs from the file to the
report, on the same clips, in the same run. What either process imports is not counted. The pictures
of the sample must agree within half a grey level, and their scores within 1e-3, else nothing is
printed. (A scan judges a picture turned to the first of its twins: scores are compared for that.)
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import klayout.db as kdb
import numpy as np
import numpy.typing as npt
import torch

from benchmarks.machine import machine
from pipeline.config import Resources, ScanConfig, as_dict, load_config
from pipeline.engine import memory
from pipeline.engine.storage.run_directory import Run
from pipeline.passes.arrays import read_pattern_clips, read_patterns
from pipeline.passes.job import Job
from pipeline.passes.units import draw_places
from pipeline.report.run_view import RunView, open_view
from pipeline.scan.request import ScanRequest
from pipeline.scan.scan import scan
from stages.contracts import Bytes, Float32s, Int64s, Layer
from stages.detector.models import checkpoint
from stages.geometry.coverage import FULL
from stages.patterns import canonicalize
from stages.scores import ModelScorer, build_scorer, score_rasters

SAMPLE = Path(__file__).parents[2] / "sample_layouts" / "dense.gds.gz"
STAGES = ("layout", "clips", "patterns", "scores", "hotspots", "classes", "report")
PART_CLIPS = 1024
WARM_UM = (0, 0, 60, 60)
"""Scanned first, to build the compiled kernels."""


def main() -> None:
    """Measure both and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("layout", type=Path, nargs="?", default=SAMPLE)
    parser.add_argument("--layer", default="68/20")
    parser.add_argument("--roi", type=float, nargs=4, default=(0, 0, 300, 300))
    parser.add_argument("--clips", type=int, default=8000, help="clips that the script draws")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--model", default="krf130-met1")
    asked = parser.parse_args()
    config = load_config(
        None,
        {
            "layout": {"layers": [asked.layer], "roi_um": list(asked.roi)},
            "scores": {"model": asked.model},
        },
    )
    with tempfile.TemporaryDirectory() as folder:
        # Once on a small block, to build the compiled kernels that a first scan pays for.
        warm = load_config(None, {"layout": {"layers": ["68/20"], "roi_um": WARM_UM}})
        timed_scan(SAMPLE, Path(folder, "warm"), warm, asked.workers)
        view, metrics = timed_scan(asked.layout, Path(folder, "run"), config, asked.workers)
        rows = [("hotscan, everything on", *spent(metrics), metrics["clips"])]
        if view.job.prefiltered:
            plain = config.model_copy(
                update={"scores": config.scores.model_copy(update={"prefilter": False})}
            )
            _, slower = timed_scan(asked.layout, Path(folder, "plain"), plain, asked.workers)
            rows.append(("without the prefilter", *spent(slower), slower["clips"]))
        centres, scores = sampled(view, asked.clips)
        layout_s, rest = metrics["seconds_layout"], "drawing and judging each clip"
        for name, prefiltered in (("without sharing", True), ("with neither", False)):
            if prefiltered <= view.job.prefiltered:
                each = one_by_one(centres, view.job, prefiltered, asked.workers) / len(centres)
                took = layout_s + each * metrics["clips"]
                rows.append((name, took, f"{layout_s:.0f} reading, else {rest}", metrics["clips"]))
        peer = Peer.run(asked.layout, Layer.parse(asked.layer), view, centres)
        check(peer, centres, scores, view)
    print_table(rows, peer, len(centres), metrics["clips"])
    print(
        f"{asked.layout.name}, {asked.model}, {metrics['area_um2'] / 1e6:.2f} mm2, "
        f"{metrics['clips']:,} clips, {metrics['patterns']:,} patterns; "
        f"klayout {kdb.__version__}, {machine()}"
    )


def timed_scan(
    layout: Path, out: Path, config: ScanConfig, workers: int
) -> tuple[RunView, dict[str, Any]]:
    """Scan in a process of its own, with the wall time of the whole in the metrics."""
    # What starts the workers is kept by a process: a second scan in it would find it there.
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        metrics = pool.submit(_timed, layout, out, as_dict(config), workers).result()
    return open_view(Run(out)), metrics


def _timed(layout: Path, out: Path, tables: dict[str, Any], workers: int) -> dict[str, Any]:
    config = load_config(None, tables)
    started = time.perf_counter()
    request = ScanRequest(layout=layout, out=out, config=config)
    result = scan(request, Resources(workers=workers), lambda event: None)
    return dict(result.metrics) | {"wall_s": time.perf_counter() - started}


def spent(metrics: dict[str, Any]) -> tuple[float, str]:
    """Return the wall time of a scan, and where it went."""
    parts = {stage: metrics[f"seconds_{stage}"] for stage in STAGES}
    rest = metrics["wall_s"] - sum(parts.values())
    return metrics["wall_s"], ", ".join(
        f"{value:.1f} {name}" for name, value in (parts | {"startup": rest}).items()
    )


def sampled(view: RunView, count: int) -> tuple[Int64s, Float32s]:
    """Return the centres of some of the scan's clips, (n, 2), and their scores."""
    (scores,) = read_patterns(view.run, "score")
    names = [tile.name for tile in view.job.tiles]
    clips, pattern, _ = read_pattern_clips(view.run, names, np.ones(len(scores), bool))
    chosen = np.random.default_rng(0).permutation(len(clips))[:count]
    return np.stack([clips.x_dbu, clips.y_dbu], axis=1)[chosen], scores[pattern[chosen]]


def one_by_one(centres: Int64s, job: Job, prefiltered: bool, workers: int) -> float:
    """Return how long the workers take to draw and judge clips, none of them shared."""
    parts = [centres[first : first + PART_CLIPS] for first in range(0, len(centres), PART_CLIPS)]
    task = partial(judge, job=job, prefiltered=prefiltered)
    with ProcessPoolExecutor(workers, get_context("spawn"), memory.keep_freed_memory) as pool:
        list(pool.map(task, [parts[0][:64]] * (2 * workers)))  # the networks are set up
        started = time.perf_counter()
        list(pool.map(task, parts))
        return time.perf_counter() - started


def judge(centres: Int64s, *, job: Job, prefiltered: bool) -> int:
    """Draw and judge some clips."""
    pictures = draw_places(centres[:, 0].copy(), centres[:, 1].copy(), job)
    pictures = canonicalize(pictures, job.symmetries)
    return len(score_rasters(pictures, _load_scorer(job.model.path, prefiltered, job.arithmetic)))


@cache
def _load_scorer(model: Path, prefiltered: bool, arithmetic: str) -> ModelScorer:
    return build_scorer(checkpoint.load(model), prefiltered=prefiltered, arithmetic=arithmetic)


@dataclass(frozen=True)
class Peer:
    """What the script took, in seconds, and the pictures that it made, 0 to 1."""

    reading_s: float
    drawing_s: float
    judging_s: float
    pictures: npt.NDArray[np.float32]

    @classmethod
    def run(cls, path: Path, layer: Layer, view: RunView, centres: Int64s) -> Peer:
        """Read a layout, draw clips and judge them."""
        size, pixel = view.job.spec.clip_px, view.job.pixel_dbu
        half = size // 2 * pixel
        detector = view.model.detector().for_inference()
        torch.set_num_threads(os.cpu_count() or 1)
        pictures = np.empty((len(centres), size, size), np.float32)
        times = [time.perf_counter()]
        layout = kdb.Layout()
        options = kdb.LoadLayoutOptions()
        options.set_layer_map(kdb.LayerMap.from_string(f"{layer} : {layer}"), False)
        layout.read(str(path), options)
        cell, index = layout.cell(view.layout.top), layout.layer(layer.layer, layer.datatype)
        times.append(time.perf_counter())
        for n, (x, y) in enumerate(centres.tolist()):
            window = kdb.Box(x - half, y - half, x + half, y + half)
            region = kdb.Region(cell.begin_shapes_rec_overlapping(index, window)).merged()
            corner = kdb.Point(x - half, y - half)
            pictures[n] = region.rasterize(corner, kdb.Vector(pixel, pixel), size, size)
        pictures /= pixel**2
        times.append(time.perf_counter())
        with torch.inference_mode():
            for first in range(0, len(pictures), 256):
                detector(torch.from_numpy(pictures[first : first + 256, None]))
        times.append(time.perf_counter())
        reading, drawing, judging = np.diff(times).tolist()
        return cls(reading, drawing, judging, pictures)


def check(peer: Peer, centres: Int64s, scores: Float32s, view: RunView) -> None:
    """Stop unless the script's pictures and scores are those of the scan."""
    drawn: Bytes = draw_places(centres[:, 0].copy(), centres[:, 1].copy(), view.job)
    worst = float(np.abs(drawn[:, 0] / FULL - peer.pictures).max())
    if worst > 0.51 / FULL:
        raise SystemExit(f"the pictures differ by {worst}: the comparison is void")
    rounded = np.rint(peer.pictures * FULL).astype(np.uint8)[:, None]
    scorer = build_scorer(view.model, prefiltered=False, arithmetic=view.job.arithmetic)
    theirs = score_rasters(canonicalize(rounded, view.job.symmetries), scorer).score
    scored = scores > 0  # what the prefilter sent away has no score to compare
    worst = float(np.abs(theirs - scores)[scored].max())
    if worst > 1e-3:
        raise SystemExit(f"the scores differ by {worst}: the comparison is void")
    lost = (theirs >= view.model.threshold) & ~scored
    print(
        f"pictures agree within half a grey level, scores of {scored.sum():,} clips within "
        f"{worst:.1g}; the prefilter rejected {(~scored).sum():,} clips, {lost.sum()} of them over "
        "the threshold"
    )


def print_table(
    rows: Sequence[tuple[str, float, str, int]], peer: Peer, sample: int, clips: int
) -> None:
    """Print clips per second of all, ratios first."""
    times = np.array([peer.drawing_s, peer.judging_s]) / sample * clips
    peer_s = peer.reading_s + times.sum()
    print("\n| | ratio | clips/s | s | where they go, in s |\n|---|--:|--:|--:|---|")
    for name, seconds, where, count in rows:
        rate = count / seconds
        print(f"| {name} | {peer_s / seconds:.1f} | {rate:,.0f} | {seconds:.1f} | {where} |")
    where = f"{peer.reading_s:.1f} reading, {times[0]:,.0f} drawing, {times[1]:,.0f} judging"
    print(f"| KLayout + torch script | 1 | {clips / peer_s:,.0f} | {peer_s:,.0f} | {where} |\n")


if __name__ == "__main__":
    main()
