"""What a scan would cost, told from a sample of its tiles before it is run.

in       layout, config, resources
out      counts, seconds and bytes, as one flat object
promise  nothing is kept; the sample is the same for the same layout and config
"""

from __future__ import annotations

import math
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.config import Resources, ScanConfig
from pipeline.engine.memory import own_mb
from pipeline.engine.run_directory import Run
from pipeline.layout import ingest
from pipeline.passes.arrays import read_clips
from pipeline.passes.job import (
    Job,
    layers_of,
    make_job,
    process_behind,
    reader_limits,
    resolve_config,
)
from pipeline.passes.units import DRAWN_TOGETHER, clip_tile, draw_places
from stages.contracts import Clips
from stages.detector import checkpoint
from stages.patterns import canonical, distinct
from stages.scores import score_rasters, scorer_of

SAMPLED_TILES = 24
START_S, REPORT_S, TALLY_S = 5.0, 4.0, 1.5e-6
"""What a scan takes whatever it scans, its report, and finding the pattern of a clip, in seconds:
measured on two cores (docs/scale.md)."""

PACKED_SHARE = 0.06
"""Bytes on disk of a compressed picture, as a share of its pixels: measured on real met1."""


def estimate(layout_path: Path, config: ScanConfig, resources: Resources) -> dict[str, Any]:
    """Return what a scan of `layout_path` would cost.

    The number of patterns grows as a power of the number of clips; the power is read off the
    sample, by how many patterns half of its tiles have.

    Raises
    ------
    UsageError, LayoutError
        As the scan itself would.
    """
    model_path = checkpoint.find(config.scores.model)
    model = checkpoint.load(model_path)
    process = process_behind(model)
    config = resolve_config(config, model, process)
    scanned, excluded = layers_of(config)
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder))
        started = time.perf_counter()
        layout = ingest.pack_into(
            layout_path, run.layout, (*scanned, *excluded), config.layout.cell,
            limits=reader_limits(config), strict=config.layout.strict,
        )  # fmt: skip
        layout_s = time.perf_counter() - started
        job = make_job(run.path, config, layout, model, model_path, process)
        sampled = _sampled_tiles(job)
        clip_tile(sampled[0], job=job)  # compiled kernels are built here, not in the time
        started = time.perf_counter()
        for tile in sampled:
            clip_tile(tile, job=job)
        per_tile_s = (time.perf_counter() - started) / len(sampled)
        clips, keys = read_clips(run, [tile.name for tile in sampled])
        found = distinct(keys, clips.x_dbu, clips.y_dbu)
        half, half_keys = read_clips(run, [tile.name for tile in sampled[::2]])
        half_patterns = len(distinct(half_keys, half.x_dbu, half.y_dbu).first)
        per_pattern_s = _seconds_per_pattern(clips, found.first, job)
        packed_bytes = sum(layer.nbytes for layer in layout.packed)
    tiles = len(job.tiles)
    all_clips = round(len(clips) * tiles / len(sampled))
    patterns = _extrapolated(len(half), half_patterns, len(clips), len(found.first), all_clips)
    workers = max(resources.workers, 1)
    pixels = job.spec.layers * job.spec.clip_px**2
    seconds = {
        "seconds_start": START_S,
        "seconds_layout": layout_s,
        "seconds_clips": per_tile_s * tiles / workers,
        "seconds_patterns": all_clips * TALLY_S,
        "seconds_scores": per_pattern_s * patterns / workers,
        "seconds_report": REPORT_S + all_clips * TALLY_S,
    }
    return {
        "area_um2": job.area.area * (layout.dbu_nm / 1000) ** 2,
        "tiles": tiles,
        "tiles_sampled": len(sampled),
        "clips": all_clips,
        "patterns": patterns,
        "workers": workers,
        **{name: round(value, 1) for name, value in seconds.items()},
        "seconds": round(sum(seconds.values()), 1),
        "worker_mb": round(own_mb()),  # this process did what a worker does
        "disk_mb": round(
            (packed_bytes + all_clips * 20 + patterns * pixels * PACKED_SHARE) / 1e6, 1
        ),
    }


def _sampled_tiles(job: Job) -> list[Any]:
    tiles = list(job.tiles)
    rng = np.random.default_rng(0)
    chosen = rng.choice(len(tiles), min(SAMPLED_TILES, len(tiles)), replace=False)
    return [tiles[i] for i in chosen]


def _seconds_per_pattern(clips: Clips, first: Any, job: Job) -> float:
    if not len(first):
        return 0.0
    some = first[:DRAWN_TOGETHER]
    scorer = scorer_of(checkpoint.load(job.model), job.device, prefiltered=job.prefiltered)
    x, y = clips.x_dbu[some], clips.y_dbu[some]
    pictures = canonical(draw_places(x, y, job), job.symmetries)
    score_rasters(pictures[:1], scorer)  # the first batch sets the network up
    started = time.perf_counter()
    score_rasters(canonical(draw_places(x, y, job), job.symmetries), scorer)
    return (time.perf_counter() - started) / len(some)


def _extrapolated(half: int, half_patterns: int, clips: int, patterns: int, every: int) -> int:
    """Carry the growth of patterns with clips on to `every` clips."""
    if patterns == 0 or half in (0, clips):
        return patterns
    power = math.log(patterns / max(half_patterns, 1)) / math.log(clips / half)
    return int(patterns * (every / clips) ** min(max(power, 0.0), 1.0))
