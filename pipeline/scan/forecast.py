"""What a scan would cost, estimated from a sample of its tiles.

in       layout, config, resources
out      counts, seconds and bytes, as one flat object
promise  leaves no files; the same layout and config give the same sample
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from pipeline.audit.draw import count_clips
from pipeline.audit.simulate import TIMED_CLIPS, AuditJob, time_clip
from pipeline.config import Resources, ScanConfig
from pipeline.engine.memory import own_mb
from pipeline.engine.storage.run_directory import Run
from pipeline.passes.arrays import read_clips
from pipeline.passes.job import (
    Job,
    load_model_process,
    make_job,
    pack_layout,
    resolve_config,
)
from pipeline.passes.model_file import find_model, store_model
from pipeline.passes.units import CLIPS_PER_DRAW, clip_tile, draw_places
from pipeline.simulate import confirm, hot_clips
from stages.audit.looks import Aim, estimate_price
from stages.contracts import Bytes, Clips, Int64s
from stages.lithography.process import Process
from stages.patterns import canonicalize, find_distinct
from stages.scores import ModelScorer, build_scorer, score_rasters
from stages.tiles import Tile

T = TypeVar("T")

SAMPLED_TILES = 24
START_S, REPORT_S, TALLY_S = 3.0, 0.6, 0.6e-6
"""Fixed cost of a scan, of its report, and of finding the pattern of a clip, in seconds: measured
on two cores (docs/explanation/scale.md)."""

MERGE_S, GROUP_S, SHOW_S = 30e-6, 50e-6, 50e-6
"""Cost of a hotspot in the stages of hotspots and classes, and in the report: measured likewise."""

HOTSPOTS_PER_PATTERN = 0.72
"""Hotspots for each pattern over the threshold, nearly all of one clip: 125,901 for 175,837 on real
met1."""

CLIP_BYTES, PATTERN_BYTES, PACKED_SHARE = 4, 60, 0.02
"""Bytes on disk of a clip, and of a pattern but for its picture; those of a picture, as a share of
its pixels. Measured on real met1."""

RUNS = 8
"""Runs of patterns that are scored."""

BLOCK_CLIPS = 24
"""Side, in cores, of the block of each sampled tile whose clips are scored for ``--confirm``."""

TIMED_WINDOWS = 24
"""Windows that are simulated to time one."""


@dataclass(frozen=True, slots=True)
class _Sample:
    """Measurements on the sampled tiles."""

    job: Job
    tiles: tuple[Tile, ...]
    clips: Clips
    first: Int64s
    """A clip of each distinct pattern."""
    all_clips: int
    """Estimates for the whole scan."""
    all_patterns: int
    tile_s: float

    @property
    def scale(self) -> float:
        """By how much the scan is larger than the sample."""
        return len(self.job.tiles) / len(self.tiles)


def estimate(layout_path: Path, config: ScanConfig, resources: Resources) -> dict[str, Any]:
    """Return what a scan of `layout_path` would cost.

    The number of patterns grows as a power of the number of clips; the power is read off the
    sample, by how many patterns half of its tiles have.

    Raises
    ------
    UsageError, LayoutError
        As the scan itself would.
    """
    model = find_model(config.scores.model)
    process = load_model_process(model)
    config = resolve_config(config, model, process)
    workers = max(resources.workers, 1)
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder))
        layout_s, layout = _timed(partial(pack_layout, layout_path, run.layout, config))
        job = make_job(
            run.path, config, layout, model, store_model(run, model, config.scores.model), process
        )
        sample = _sample_tiles(job)
        scorer = build_scorer(
            model, job.device, prefiltered=job.prefiltered, arithmetic=job.arithmetic
        )
        pattern_s, hot = _score_some(sample, scorer, config.scores.threshold)
        hotspots = round(hot * sample.all_patterns * HOTSPOTS_PER_PATTERN)
        seconds = {
            "seconds_start": START_S,
            "seconds_layout": layout_s,
            **_forecast_stages(sample, pattern_s, hotspots, workers),
        }
        simulated: dict[str, Any] = {}
        if config.confirm.enabled:
            simulated, window_s = _forecast_confirm(sample, config, process, scorer)
            seconds["seconds_confirm"] = window_s * simulated["windows"] / workers
        if config.certify.recall is not None:
            look = _forecast_look(config, sample.all_clips, simulated["clips_to_simulate"])
            simulated["clips_to_look_at"] = look
            seconds["seconds_certify"] = window_s * look / workers
        if config.audit.size is not None:
            simulated["clips_to_audit"], clip_s = _forecast_audit(sample, config, process)
            seconds["seconds_audit"] = clip_s * simulated["clips_to_audit"] / workers
        disk_bytes = job.model.path.stat().st_size + _forecast_disk(sample)
        disk_bytes += sum(layer.nbytes for layer in layout.packed)
    return {
        "layers": ", ".join(map(config.layout.layer_names.show, config.layout.channels)),
        "area_um2": job.area.area * (layout.dbu_nm / 1000) ** 2,
        "tiles": len(job.tiles),
        "tiles_sampled": len(sample.tiles),
        "clips": sample.all_clips,
        "patterns": sample.all_patterns,
        "hotspots": hotspots,
        **simulated,
        "workers": workers,
        **{name: round(value, 1) for name, value in seconds.items()},
        "seconds": round(sum(seconds.values()), 1),
        "worker_mb": round(own_mb()),  # this process did what a worker does
        "disk_mb": round(disk_bytes / 1e6, 1),
    }


def _forecast_stages(
    sample: _Sample, pattern_s: float, hotspots: int, workers: int
) -> dict[str, float]:
    """Return the seconds of the stages that every scan has after its layout."""
    return {
        "seconds_clips": sample.tile_s * len(sample.job.tiles) / workers,
        "seconds_patterns": sample.all_clips * TALLY_S,
        "seconds_scores": pattern_s * sample.all_patterns / workers,
        "seconds_hotspots": hotspots * MERGE_S,
        "seconds_classes": hotspots * GROUP_S,
        "seconds_report": REPORT_S + hotspots * SHOW_S,
    }


def _forecast_disk(sample: _Sample) -> float:
    """Return the bytes of clips and patterns that a scan writes."""
    spec = sample.job.spec
    picture = PACKED_SHARE * spec.layers * spec.clip_px**2
    return sample.all_clips * CLIP_BYTES + sample.all_patterns * (PATTERN_BYTES + picture)


def _sample_tiles(job: Job) -> _Sample:
    """Cut the clips of some tiles, and extrapolate to all."""
    run = Run(job.run)
    rng = np.random.default_rng(0)
    chosen = rng.choice(len(job.tiles), min(SAMPLED_TILES, len(job.tiles)), replace=False)
    tiles = tuple(job.tiles[number] for number in chosen)
    clip_tile(tiles[0], job=job)  # compiled kernels are built here, not in the time
    spent_s, _ = _timed(lambda: [clip_tile(tile, job=job) for tile in tiles])
    clips, keys = read_clips(run, [tile.name for tile in tiles])
    found = find_distinct(keys, clips.x_dbu, clips.y_dbu)
    half, half_keys = read_clips(run, [tile.name for tile in tiles[::2]])
    half_patterns = len(find_distinct(half_keys, half.x_dbu, half.y_dbu).first)
    all_clips = round(len(clips) * len(job.tiles) / len(tiles))
    all_patterns = _extrapolate(len(half), half_patterns, len(clips), len(found.first), all_clips)
    return _Sample(job, tiles, clips, found.first, all_clips, all_patterns, spent_s / len(tiles))


def _score_some(
    sample: _Sample, scorer: ModelScorer, threshold: float | None
) -> tuple[float, float]:
    """Return the seconds that a pattern takes, and the share of patterns over the threshold."""
    if not len(sample.first):
        return 0.0, 0.0
    some = sample.first[_spread_runs(len(sample.first), CLIPS_PER_DRAW)]
    x, y = sample.clips.x_dbu[some], sample.clips.y_dbu[some]
    score_rasters(_draw(x[:1], y[:1], sample.job), scorer)  # the first batch sets the network up
    spent_s, scored = _timed(lambda: score_rasters(_draw(x, y, sample.job), scorer))
    assert threshold is not None  # resolve_config put the model's in
    return spent_s / len(some), float((scored.score >= threshold).mean())


def _spread_runs(rows: int, most: int) -> Int64s:
    """Return rows in runs, evenly spread: neighbours are drawn together, as a shard's are.

    Examples
    --------
    >>> _spread_runs(3, 10).tolist(), len(_spread_runs(10_000, 1024))
    ([0, 1, 2], 1024)
    """
    if rows <= most:
        return np.arange(rows)
    run = most // RUNS
    starts = np.linspace(0, rows - run, RUNS).astype(np.int64)
    return (starts[:, None] + np.arange(run)).ravel()


def _forecast_confirm(
    sample: _Sample, config: ScanConfig, process: Process, scorer: ModelScorer
) -> tuple[dict[str, int], float]:
    """Return how many clips and windows would be simulated, and the seconds that a window takes.

    In the middle of each sampled tile every clip is scored.
    """
    job = sample.job
    inside = _in_blocks(sample)
    x, y = sample.clips.x_dbu[inside], sample.clips.y_dbu[inside]
    score = np.concatenate(
        [np.empty(0, np.float32)]
        + [
            score_rasters(_draw(x[part], y[part], job), scorer).score
            for part in (slice(n, n + CLIPS_PER_DRAW) for n in range(0, len(x), CLIPS_PER_DRAW))
        ]
    )
    assert config.scores.threshold is not None  # resolve_config put the model's in
    hot = score >= config.scores.threshold
    share = len(x) / max(sample.all_clips, 1)
    if not hot.any():
        return {"clips_to_simulate": 0, "windows": 0}, 0.0
    run = Run(job.run)
    hot_clips.write_clips_to_simulate(run, x[hot], y[hot], np.arange(int(hot.sum())))
    opc = config.confirm.opc or "none"
    work = confirm.make_confirmation(run, job.core_dbu, process, opc, TIMED_WINDOWS)
    confirm.confirm_batch(work.batches[-1], job=work)  # kernels are built here, not in the time
    spent_s, outcome = _timed(lambda: confirm.confirm_batch(0, job=work))
    counts = {
        "clips_to_simulate": round(int(hot.sum()) / share),
        "windows": round(work.windows / share),
    }
    return counts, spent_s / outcome.counts["windows"]


def _forecast_audit(sample: _Sample, config: ScanConfig, process: Process) -> tuple[int, float]:
    """Return how many clips an audit would simulate, and the seconds that each takes."""
    size, clips = config.audit.size, sample.clips
    assert size is not None  # what an audit would cost is asked where it has a size
    few = np.random.default_rng(0).permutation(len(clips))[:TIMED_CLIPS]
    if not len(few):
        return 0, 0.0
    job, opc = sample.job, config.confirm.opc or "none"
    work = AuditJob(job.run, job.core_dbu, process, opc, config.confirm.batch_windows)
    clip_s = time_clip(work, clips.x_dbu[few], clips.y_dbu[few])
    if size.endswith("s"):
        return min(int(float(size[:-1]) / clip_s), sample.all_clips), clip_s
    return count_clips(size, sample.all_clips), clip_s


def _forecast_look(config: ScanConfig, clips: int, flagged: int) -> int:
    """Return how many clips the look takes that certifies, if as many fail as are flagged."""
    assert config.certify.recall is not None  # the cost is asked where it is given
    aim = Aim(config.certify.recall, config.certify.within)
    return estimate_price(clips - flagged, flagged, aim)


def _in_blocks(sample: _Sample) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return which clips lie in the middle of their tile, (n,)."""
    reach = BLOCK_CLIPS * sample.job.core_dbu // 2
    inside = np.zeros(len(sample.clips), bool)
    for tile in sample.tiles:
        box = tile.box.intersect(sample.job.area) or tile.box
        x, y = (box.x_min + box.x_max) // 2, (box.y_min + box.y_max) // 2
        near = np.abs(sample.clips.x_dbu - x) <= reach
        inside |= near & (np.abs(sample.clips.y_dbu - y) <= reach)
    return inside


def _draw(x_dbu: Int64s, y_dbu: Int64s, job: Job) -> Bytes:
    return canonicalize(draw_places(x_dbu, y_dbu, job), job.symmetries)


def _timed(work: Callable[[], T]) -> tuple[float, T]:
    started = time.perf_counter()
    done = work()
    return time.perf_counter() - started, done


def _extrapolate(half: int, half_patterns: int, clips: int, patterns: int, every: int) -> int:
    """Return how many patterns `every` clips have, from the growth that two samples show."""
    if patterns == 0 or half in (0, clips):
        return patterns
    power = math.log(patterns / max(half_patterns, 1)) / math.log(clips / half)
    return int(patterns * (every / clips) ** min(max(power, 0.0), 1.0))
