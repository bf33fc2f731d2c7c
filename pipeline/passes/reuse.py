"""Reuse results of earlier runs: clips of unchanged tiles, and scores of known pictures.

in       run directories; a tile, or the keys of patterns
out      clips, or scores and embeddings
promise  reused results equal those that would be computed: a tile is unchanged if all that its
         clips can see is the same region; a score is for the same picture and model
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.engine.session import list_damaged
from pipeline.engine.storage.checksums import is_intact
from pipeline.engine.storage.ledger import Ledger, UnitOutcome
from pipeline.engine.storage.run_directory import Run
from pipeline.engine.storage.run_record import RunRecord, differences, read_record
from pipeline.layout.ingest import open_packed
from pipeline.passes.arrays import list_scored, read_clips, read_pattern_rows, read_patterns
from pipeline.passes.job import ReusableRun, compute_scan_area
from pipeline.passes.scan_settings import ScanSettings, collect_inputs, select_settings
from stages.contracts import Box, Bytes, Clips, Float32s, Int64s, PackedLayout, Shapes
from stages.errors import RunMismatchError
from stages.geometry.union import merge
from stages.geometry.window_query import query, split_polygons
from stages.geometry.windows import cut_to_windows
from stages.patterns import KeyIndex
from stages.scores import Scores

FREE = ("[layout] roi_um", "[layout] strict", "layout")
"""Inputs in which a reused run may differ; unchanged tiles and pictures are found one by one."""


def open_reusable(path: Path, record: RunRecord, dbu_nm: float) -> ReusableRun:
    """Open a run whose results a run of `record` may reuse.

    Raises
    ------
    UsageError
        There is no run.
    RunMismatchError
        Its model, settings, tiles or database unit differ; the message says which.
    """
    run = Run(path)
    before = read_record(run)
    layout = open_packed(run.layout)
    config = ScanSettings.of(before).config
    then = {**_collect_reused_inputs(before), "database unit": f"{layout.dbu_nm:g} nm"}
    now = {**_collect_reused_inputs(record), "database unit": f"{dbu_nm:g} nm"}
    differ = list(differences(then, now))
    if differ:
        raise RunMismatchError(
            f"nothing of {path} can be reused: {'; '.join(differ)}; give a run of the same "
            "settings, or scan without it"
        )
    count = len(config.layout.channels)
    channels = PackedLayout(
        layout.top, layout.dbu_nm, layout.layers[:count], layout.packed[:count],
    )  # fmt: skip
    with Ledger(run.ledger, read_only=True) as ledger:
        has_clips = not list_damaged(run, ledger, "layout")
        has_scores = not (
            list_damaged(run, ledger, "patterns") or list_damaged(run, ledger, "scores")
        )
        computed_by = list(ledger.count_arithmetics("scores"))
    return ReusableRun(
        path.resolve(), compute_scan_area(config, channels), run.ledger.stat().st_mtime_ns,
        has_clips, has_scores, computed_by[0] if len(computed_by) == 1 else None,
    )  # fmt: skip


def _collect_reused_inputs(record: RunRecord) -> dict[str, Any]:
    """Return the inputs that clips and scores depend on, by name."""
    inputs = collect_inputs(record)
    stages = list(inputs)
    chosen: dict[str, Any] = {}
    for stage in stages[: stages.index("scores") + 1]:
        chosen |= inputs[stage]
    tiles = select_settings(record.settings["config"], ("tiles.size_um",))
    return {name: value for name, value in (chosen | tiles).items() if name not in FREE}


def reuse_clips(
    runs: Sequence[ReusableRun],
    tile: str,
    core: Box,
    seen: Box,
    area: Box,
    shapes: Sequence[Shapes],
) -> tuple[Clips, Bytes] | None:
    """Return the clips and keys of a tile from the first run in which it is unchanged.

    Parameters
    ----------
    tile
        Its name, which means the same box in every run.
    core, seen
        The box of its clips' cores, and of all that they can see.
    area
        The area to scan.
    shapes
        The present contents of `seen`, one per layer.
    """
    for run in runs:
        written = _read_finished_tiles(run).get(tile)
        if written is None or core.intersect(area) != core.intersect(run.area):
            continue
        if not is_intact(run.path, written.files, written.checksum):
            continue
        then = [query(packed, seen) for packed in _open_layout(run).packed]
        if len(then) == len(shapes) and all(
            _is_same_region(old, new, seen) for old, new in zip(then, shapes, strict=True)
        ):
            return read_clips(Run(run.path), [tile])
    return None


def _is_same_region(old: Shapes, new: Shapes, seen: Box) -> bool:
    """Return whether two layers are the same region in a square."""
    left, bottom = np.array([seen.x_min]), np.array([seen.y_min])
    then, now = (merge(cut_to_windows(one.rects, left, bottom, seen.width)) for one in (old, new))
    slanted = [sorted(part.tobytes() for part in split_polygons(one)) for one in (old, new)]
    return np.array_equal(then, now) and slanted[0] == slanted[1]


def reuse_scores(runs: Sequence[ReusableRun], keys: Bytes, scores: Scores) -> Int64s:
    """Fill in the scores of (n, 16) `keys` that the runs know; return the rows that stay NaN."""
    for run in runs:
        known, score = _read_scores(run)
        wanted = np.flatnonzero(np.isnan(scores.score))
        place = known.locate(keys[wanted])
        wanted, place = wanted[place >= 0], place[place >= 0]
        if len(wanted):
            scores.score[wanted] = score[place]
            names = {"embedding", "margin"} & set(list_scored(Run(run.path)))
            for name in names:
                getattr(scores, name)[wanted] = read_pattern_rows(Run(run.path), place, name)[0]
    return np.flatnonzero(np.isnan(scores.score))


@lru_cache(maxsize=64)
def _open_layout(run: ReusableRun) -> PackedLayout:
    return open_packed(Run(run.path).layout)


@lru_cache(maxsize=64)
def _read_finished_tiles(run: ReusableRun) -> Mapping[str, UnitOutcome]:
    """Return the tiles of a run whose clips can be reused, by name."""
    if not run.has_clips:
        return {}
    with Ledger(Run(run.path).ledger, read_only=True) as ledger:
        return ledger.finished("clips")


@lru_cache(maxsize=64)
def _read_scores(run: ReusableRun) -> tuple[KeyIndex, Float32s]:
    """Return the keys of a run's patterns, and their scores."""
    if not run.has_scores or not Run(run.path).patterns.exists():
        return KeyIndex(np.empty((0, 16), np.uint8)), np.empty(0, np.float32)
    keys, scores = read_patterns(Run(run.path), "key", "score")
    return KeyIndex(keys), scores
