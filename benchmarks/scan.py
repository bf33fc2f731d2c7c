"""Cutting, drawing and scoring clips, beside what an engineer would script with KLayout and torch.

python -m benchmarks.scan [LAYOUT] [--layer L/D] [--clips N]

Both sides draw the same clips of the same region, in one run, and the pictures are compared: the
script merges and rasterises each window with KLayout (as ``Region.rasterize`` needs it merged) and
scores batches of 256; hotscan is timed end to end, from the packed layout to scores on disk.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import random
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import klayout.db as kdb
import numpy as np
import torch

from pipeline import ingest
from pipeline.config import Resources, load_config
from pipeline.scan import scan
from pipeline.steps import draw_places
from pipeline.store import Run, read_clips, read_patterns
from stages.contracts import Layer
from stages.detector import checkpoint
from stages.detector.training import to_pictures
from stages.geometry.coverage import FULL
from stages.patterns import distinct

SAMPLE = Path(__file__).parents[1] / "sample_layouts" / "block.gds.gz"


def peer_seconds(
    path: Path,
    layer: Layer,
    top: str,
    centres: np.ndarray,
    spec_px: int,
    pixel_dbu: int,
    detector: torch.nn.Module,
) -> tuple[float, np.ndarray]:
    """Return how long KLayout and torch take for the clips, and their pictures."""
    layout = kdb.Layout()
    layout.read(str(path))
    cell, index = layout.cell(top), layout.layer(layer.layer, layer.datatype)
    half, side = spec_px * pixel_dbu // 2, spec_px * pixel_dbu
    pictures = np.empty((len(centres), spec_px, spec_px), np.float32)
    started = time.perf_counter()
    for n, (x, y) in enumerate(centres.tolist()):
        window = kdb.Box(x - half, y - half, x + half, y + half)
        region = kdb.Region(cell.begin_shapes_rec_overlapping(index, window)).merged()
        area = region.rasterize(
            kdb.Point(x - half, y - half), kdb.Vector(pixel_dbu, pixel_dbu), spec_px, spec_px
        )
        pictures[n] = area
    pictures /= pixel_dbu**2
    with torch.inference_mode():
        for first in range(0, len(pictures), 256):
            detector(torch.from_numpy(pictures[first : first + 256, None]))
    assert side == 2 * half
    return time.perf_counter() - started, pictures


def main() -> None:
    """Measure both, in random order, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("layout", type=Path, nargs="?", default=SAMPLE)
    parser.add_argument("--layer", default="68/20")
    parser.add_argument("--roi", type=float, nargs=4, default=(0, 0, 300, 300))
    parser.add_argument("--clips", type=int, default=4000, help="clips that the peer draws")
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    torch.set_num_threads(os.cpu_count() or 1)
    layer = Layer.parse(asked.layer)
    config = load_config(None, {"layout": {"layers": [asked.layer], "roi_um": list(asked.roi)}})
    model = checkpoint.load(checkpoint.find(config.scores.model))
    with tempfile.TemporaryDirectory() as folder:
        warm = Path(folder) / "warm"
        scan(asked.layout, warm, config, Resources(workers=asked.workers), lambda event: None)
        result = scan(
            asked.layout, Path(folder) / "run", config, Resources(workers=asked.workers),
            lambda event: None,
        )  # fmt: skip
        run, metrics = Run(Path(folder) / "run"), result.metrics
        clips, keys = read_clips(run, sorted(path.stem for path in (run.path / "clips").iterdir()))
        sample = np.random.default_rng(0).choice(
            len(clips), min(asked.clips, len(clips)), replace=False
        )
        centres = np.stack([clips.x_dbu, clips.y_dbu], axis=1)[sample]
        packed = ingest.open_packed(run.layout)
        pixel = model.raster.pixel_dbu(packed.dbu_nm)
        peer_s, pictures = peer_seconds(
            _plain(asked.layout, Path(folder)), layer, packed.top, centres,
            model.raster.clip_px, pixel, model.detector().for_inference(),
        )  # fmt: skip
        (scores,) = read_patterns(run, "score")
        assert not np.isnan(scores[distinct(keys, clips.x_dbu, clips.y_dbu).pattern]).any()
        check = random.Random(0).sample(range(len(centres)), 200)
        _compare(pictures[check], centres[check], run, config, model)
    ours_s = sum(metrics[f"seconds_{stage}"] for stage in ("clips", "patterns", "scores"))
    ours, peer = metrics["clips"] / ours_s, len(centres) / peer_s
    print(f"| | clips | s | clips/s |\n|---|--:|--:|--:|\n"
          f"| hotscan, {asked.workers} workers | {metrics['clips']:,} | {ours_s:.1f} | {ours:,.0f} |\n"
          f"| KLayout + torch script | {len(centres):,} | {peer_s:.1f} | {peer:,.0f} |\n"
          f"\nratio {ours / peer:.1f}; {metrics['patterns']:,} patterns scored by hotscan")  # fmt: skip
    versions = ", ".join(
        f"{name} {importlib.metadata.version(name)}" for name in ("hotscan", "klayout", "torch")
    )
    print(f"{asked.layout.name}, {platform.processor() or platform.machine()}, "
          f"{os.cpu_count()} cores, {versions}, {datetime.now(UTC):%Y-%m-%d}")  # fmt: skip


def _plain(path: Path, folder: Path) -> Path:
    return path  # KLayout reads gzip itself


def _compare(pictures, centres, run, config, model) -> None:  # type: ignore[no-untyped-def]
    from pipeline.inspect import open_view

    view = open_view(run)
    drawn = draw_places(centres[:, 0].copy(), centres[:, 1].copy(), view.job)[:, 0] / FULL
    worst = float(np.abs(drawn - pictures).max())
    assert worst <= 0.51 / FULL, f"pictures differ by {worst}"
    assert to_pictures(drawn[:1]).shape == drawn[:1].shape
    assert config.scores.model and model.threshold >= 0


if __name__ == "__main__":
    main()
