"""One unit of each stage: read, compute, write, report the outcome.

The computation is in `stages`; this module does the I/O around it. Each function runs in a worker
(or in the driver, without workers), writes its own file or rows, and returns a few counts.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.engine.storage.checksums import seal
from pipeline.engine.storage.ledger import Status, UnitOutcome
from pipeline.engine.storage.run_directory import Run
from pipeline.layout.ingest import open_packed
from pipeline.layout.reader_process import LAYOUT_FILE
from pipeline.passes.arrays import (
    compute_shard_rows,
    list_scored,
    list_shard_files,
    read_pattern_rows,
    write_clips,
    write_shard,
)
from pipeline.passes.job import CutSettings, DrawSettings, Job
from pipeline.passes.model_file import ModelFile, load_model
from pipeline.passes.reuse import reuse_clips, reuse_scores
from stages.arithmetic import Arithmetic
from stages.clips import compute_halo_dbu, drop_excluded, place_grid_clips, place_site_clips
from stages.contracts import (
    Box,
    Bytes,
    Clips,
    Hotspot,
    Int64s,
    PackedLayer,
    PackedLayout,
    Shapes,
)
from stages.detector.models.familiarity import LOOKED_AT, count_unfamiliar, spread
from stages.detector.models.scan_model import ScanModel
from stages.errors import IncompleteError
from stages.geometry.signature import sign_merged
from stages.geometry.window_query import query
from stages.geometry.windows import merge_in_windows
from stages.lithography.measure.margins import find_worst_margin, name_kinds
from stages.patterns import KEY_BYTES, canonicalize, compute_keys, find_distinct
from stages.raster import draw_clips, draw_merged
from stages.rows import PART, Rows, make_hotspot
from stages.scores import ModelScorer, Scores, build_explainer, build_scorer, score_rasters
from stages.tiles import Tile

CLIPS_PER_DRAW = 1024
"""Clips drawn at once: bounds the memory for a tile of any size."""

LOOKED_AT_ONCE = 256
"""Pictures that are compared with a model's training at once: whole batches of its network."""

BLOCK_CLIPS = 16
"""Side of the blocks in which the geometry of scattered clips is read, in clips."""


def open_layout(run: Path) -> PackedLayout:
    """Open the packed layout of a run, once per process and packing."""
    return _open_packing(run, stamp_packing(run))


def stamp_packing(run: Path) -> int:
    """Return what tells a packing of a run's layout from a later one in the same process."""
    return (Run(run).layout / LAYOUT_FILE).stat().st_mtime_ns


@lru_cache(maxsize=2)
def _open_packing(run: Path, packed_ns: int) -> PackedLayout:
    return open_packed(Run(run).layout)


@lru_cache(maxsize=1)
def _load_scorer(model: ModelFile, device: str, prefiltered: bool, arithmetic: str) -> ModelScorer:
    return build_scorer(load_model(model), device, prefiltered=prefiltered, arithmetic=arithmetic)


@lru_cache(maxsize=1)
def measure_scoring(
    model: ModelFile, device: str, prefiltered: bool, arithmetic: str
) -> Arithmetic:
    """Return what computes scores in this process."""
    return _load_scorer(model, device, prefiltered, arithmetic).measure_arithmetic()


def clip_tile(tile: Tile, *, job: CutSettings) -> UnitOutcome:
    """Cut the clips of a tile, draw them, and write them with the keys of their pictures."""
    started = time.perf_counter()
    layout = open_layout(job.run)
    channels = job.spec.layers
    reach = compute_halo_dbu(job.core_dbu, job.limits) + job.clip_dbu
    used = layout.packed[: channels + job.excluded]
    seen = tile.box.grow(reach)
    shapes = [query(packed, seen) for packed in used]
    cores = tile.box.grow(job.core_dbu)
    reused = reuse_clips(job.reused, tile.name, cores, seen, job.area, shapes)
    if reused is not None:
        clips, keys = reused
    else:
        if job.limits is None:
            clips = place_grid_clips(tile.box, job.area, job.core_dbu, job.stride_dbu)
        else:
            clips = place_site_clips(
                shapes[:channels], tile.box, job.area, job.core_dbu, job.limits
            )
        clips = drop_excluded(clips, shapes[channels:], job.core_dbu)
        clips, keys = _compute_clip_keys(clips, shapes[:channels], job)
    run = Run(job.run)
    write_clips(run.clips(tile.name), clips, keys)
    files = (run.name_of(run.clips(tile.name)),)
    return UnitOutcome(
        stage="clips",
        unit=tile.name,
        status=Status.DONE if len(clips) else Status.EMPTY,
        counts={"clips": len(clips), "taken_over": reused is not None},
        checksum=seal(run.path, files),
        files=files,
        seconds=time.perf_counter() - started,
    )


def _compute_clip_keys(clips: Clips, shapes: list[Shapes], job: CutSettings) -> tuple[Clips, Bytes]:
    """Return the clips whose picture is not empty, with the keys of the pictures."""
    place = group = np.arange(len(clips))
    half = job.clip_dbu // 2
    left, bottom = clips.x_dbu - half, clips.y_dbu - half
    layers = [merge_in_windows(layer, left, bottom, job.clip_dbu) for layer in shapes]
    if job.shared:
        signed, _ = sign_merged(layers, left, bottom, job.clip_dbu, job.symmetries)
        distinct = find_distinct(signed.view(np.uint8), clips.x_dbu, clips.y_dbu)
        place, group = distinct.first, distinct.pattern
    keys = np.zeros((len(place), KEY_BYTES), np.uint8)
    for first in range(0, len(place), CLIPS_PER_DRAW):
        part = slice(first, first + CLIPS_PER_DRAW)
        pictures = draw_merged(
            layers, left[place[part]], bottom[place[part]],
            clip_px=job.spec.clip_px, pixel_dbu=job.pixel_dbu,
        )  # fmt: skip
        keys[part] = compute_keys(canonicalize(pictures, job.symmetries))
    side = job.spec.clip_px
    empty = compute_keys(np.zeros((1, job.spec.layers, side, side), np.uint8))
    kept = (keys != empty).any(axis=1)[group]
    return clips.select(kept), keys[group[kept]]


def draw_places(x_dbu: Int64s, y_dbu: Int64s, job: DrawSettings) -> Bytes:
    """Draw clips of a run at any places, unturned, (n, layers, h, w) uint8."""
    layers = open_layout(job.run).packed[: job.spec.layers]
    return draw_scattered(layers, x_dbu, y_dbu, job.spec.clip_px, job.pixel_dbu)


def draw_scattered(
    layers: Sequence[PackedLayer], x_dbu: Int64s, y_dbu: Int64s, clip_px: int, pixel_dbu: int
) -> Bytes:
    """Draw clips at any places, unturned, (n, layers, clip_px, clip_px) uint8.

    Geometry is read by blocks, so that nothing between distant clips is read.
    """
    pictures = np.empty((len(x_dbu), len(layers), clip_px, clip_px), np.uint8)
    for members, box in group_by_block(x_dbu, y_dbu, clip_px * pixel_dbu):
        shapes = [query(packed, box) for packed in layers]
        pictures[members] = draw_clips(
            shapes, x_dbu[members], y_dbu[members], clip_px=clip_px, pixel_dbu=pixel_dbu
        )
    return pictures


def group_by_block(x_dbu: Int64s, y_dbu: Int64s, clip_dbu: int) -> Iterator[tuple[Int64s, Box]]:
    """Yield the clips of each block that has any, and the box around their pictures.

    Parameters
    ----------
    clip_dbu
        Side of a picture, or of any other window around a clip's centre.
    """
    side = BLOCK_CLIPS * clip_dbu
    row, column = y_dbu // side, x_dbu // side
    order = np.lexsort((column, row))
    new = np.diff(row[order], prepend=row[order][:1] - 1) | np.diff(
        column[order], prepend=column[order][:1]
    )
    for members in np.split(order, np.flatnonzero(new)[1:]):
        if len(members):
            x, y = x_dbu[members], y_dbu[members]
            yield members, Box(x.min(), y.min(), x.max(), y.max()).grow(clip_dbu)


def draw_patterns(run: Run, job: Job, rows: Int64s) -> Bytes:
    """Draw the pictures of some patterns again, as they are stored.

    They lie scattered: most of what is stored would have to be read and unpacked for a few.
    """
    x_dbu, y_dbu = read_pattern_rows(run, rows, "x_dbu", "y_dbu")
    return canonicalize(draw_places(x_dbu, y_dbu, job), job.symmetries)


def predict_margins(
    run: Run, job: Job, kinds: tuple[str, ...], spots: Rows[Hotspot]
) -> Rows[Hotspot]:
    """Return hotspots with kind and margin of the worst place, which the model must predict."""
    patterns, row = np.unique(spots.get_column("pattern"), return_inverse=True)
    margin = np.full((len(patterns), len(kinds)), np.nan, np.float32)
    if "margin" in list_scored(run):
        (margin,) = read_pattern_rows(run, patterns, "margin")
    # Of patterns that the prefilter rejected, or that an earlier version scored.
    missing = np.flatnonzero(np.isnan(margin).any(axis=1))
    for first in range(0, len(missing), PART):
        part = missing[first : first + PART]
        scorer = _load_scorer(job.model, job.device, job.prefiltered, job.arithmetic)
        margin[part] = scorer.predict_margins(draw_patterns(run, job, patterns[part]))
    worst, kind = find_worst_margin(margin), name_kinds(margin, kinds)
    names = pa.array(kinds, pa.string()).take(pa.array(kind[row]))
    rounded = pa.array([round(value, 3) for value in worst[row].tolist()], pa.float64())
    table = spots.table.append_column("predicted_kind", names)
    return Rows(table.append_column("predicted_margin", rounded), make_hotspot)


def list_looks(model: ScanModel, patterns: int) -> range:
    """Return the units of `look_at_pictures`; none where the model does not know its training."""
    looked_at = 0 if model.familiar is None else min(patterns, LOOKED_AT)
    return range(-(-looked_at // LOOKED_AT_ONCE))


def look_at_pictures(look: int, *, job: Job, patterns: int) -> UnitOutcome:
    """Count the pictures that are unlike those that the model was trained on.

    Of `LOOKED_AT_ONCE` of those that are spread evenly over the layout.
    """
    model = load_model(job.model)
    assert model.familiar is not None  # else there are no such units
    first = look * LOOKED_AT_ONCE
    rows = spread(patterns, LOOKED_AT)[first : first + LOOKED_AT_ONCE]
    vectors = build_explainer(model).likeness(draw_patterns(Run(job.run), job, rows))
    counts = {"looked_at": len(rows), "unfamiliar": count_unfamiliar(model.familiar, vectors)}
    return UnitOutcome("hotspots", f"{look:05d}", Status.DONE, counts, seal(job.run, ()))


def score_shard(shard: int, *, job: Job, patterns: int) -> UnitOutcome:
    """Draw the pictures of a shard of patterns, score them, and write both."""
    started = time.perf_counter()
    run = Run(job.run)
    rows = compute_shard_rows(shard, job.shard_patterns, patterns)
    x_dbu, y_dbu, keys = read_pattern_rows(run, rows, "x_dbu", "y_dbu", "key")
    scorer = _load_scorer(job.model, job.device, job.prefiltered, job.arithmetic)
    arithmetic = measure_scoring(job.model, job.device, job.prefiltered, job.arithmetic)
    alike = [earlier for earlier in job.reused if earlier.arithmetic == arithmetic]
    scores = Scores.blank(len(keys), scorer.embedding, len(scorer.kinds))
    new = reuse_scores(alike, keys, scores)
    pictures = canonicalize(draw_places(x_dbu, y_dbu, job), job.symmetries)
    if not np.array_equal(compute_keys(pictures), keys):
        raise IncompleteError(
            f"{run.path}: patterns of shard {shard} are not drawn as they were when they were "
            f"found; the layout or the patterns are damaged: run hotscan resume {run.path}"
        )
    scores.put(new, score_rasters(pictures[new] if len(new) < len(keys) else pictures, scorer))
    write_shard(run, rows, pictures, scores)
    files = list_shard_files(run, shard)
    return UnitOutcome(
        stage="scores",
        unit=f"{shard:05d}",
        status=Status.DONE,
        counts={"patterns": len(x_dbu), "taken_over": len(keys) - len(new)},
        checksum=seal(run.path, files),
        files=files,
        arithmetic=arithmetic,
        seconds=time.perf_counter() - started,
    )
