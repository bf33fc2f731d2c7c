"""What earlier runs know already: tiles that did not change, and scores of pictures.

in       run directories; a tile, or the keys of patterns
out      clips, or scores and embeddings
promise  what is taken over is what would have been computed: a tile is unchanged when all that its
         clips can see is the same region, a score is that of the same picture by the same model
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.config import STAGE_SETTINGS, load_config
from pipeline.engine.ledger import Ledger
from pipeline.engine.run_directory import Run
from pipeline.layout.ingest import open_packed
from pipeline.passes.arrays import pattern_rows, read_clips, read_patterns
from pipeline.passes.job import Earlier, scan_area
from stages.contracts import Box, Bytes, Clips, Float32s, PackedLayout, Shapes
from stages.errors import RunMismatchError
from stages.geometry.union import merge
from stages.geometry.window_query import polygons_of, query
from stages.geometry.windows import cut_to_windows
from stages.patterns import located

FREE = ("layout.roi_um", "layout.strict", "scores.model")
"""Settings in which an earlier run may differ; models are compared by what they hold."""


def earlier_run(path: Path, about: Mapping[str, Any], dbu_nm: float) -> Earlier:
    """Return a run that may be taken over from, by a run that ``run.json`` tells `about`.

    Raises
    ------
    UsageError
        When there is no run.
    RunMismatchError
        When it has another model, settings, tiles or database unit; the text names what differs.
    """
    before = Run(path).read_about()
    stages = list(STAGE_SETTINGS)
    names = {
        name for stage in stages[: stages.index("scores") + 1] for name in STAGE_SETTINGS[stage]
    }
    pairs = [("model", before["model_digest"], about["model_digest"])]
    for table, settings in about["config"].items():
        for key, now in settings.items():
            name = f"{table}.{key}"
            if ({table, name} & names or name == "tiles.size_um") and name not in FREE:
                pairs.append((f"[{table}] {key}", before["config"][table].get(key), now))
    layout = open_packed(Run(path).layout)
    pairs.append(("database unit", f"{layout.dbu_nm:g} nm", f"{dbu_nm:g} nm"))
    differ = [f"{name} was {old!r}, is {new!r}" for name, old, new in pairs if old != new]
    if differ:
        raise RunMismatchError(
            f"nothing can be taken over from {path}: {'; '.join(differ)}; give a run of the same "
            "settings, or scan without it"
        )
    config = load_config(None, before["config"])
    count = len(config.layout.layers)
    channels = PackedLayout(
        layout.top, layout.dbu_nm, layout.layers[:count], layout.packed[:count],
    )  # fmt: skip
    written_ns = Run(path).ledger.stat().st_mtime_ns
    return Earlier(path.resolve(), scan_area(config, channels), written_ns)


def clips_of_tile(
    runs: Sequence[Earlier], tile: str, core: Box, seen: Box, area: Box, shapes: Sequence[Shapes]
) -> tuple[Clips, Bytes] | None:
    """Return the clips of a tile and their keys, from the first run in which it is the same.

    Parameters
    ----------
    tile
        Its name, which stands for the same box in every run.
    core, seen
        Where its clips have their cores, and all that they can see.
    area
        What is scanned now.
    shapes
        What is in `seen` now, one per layer.
    """
    for run in runs:
        if tile not in _finished(run) or core.intersect(area) != core.intersect(run.area):
            continue
        then = [query(packed, seen) for packed in _layout(run).packed]
        if len(then) == len(shapes) and all(
            _same(old, new, seen) for old, new in zip(then, shapes, strict=True)
        ):
            return read_clips(Run(run.path), [tile])
    return None


def _same(old: Shapes, new: Shapes, seen: Box) -> bool:
    """Say whether two layers are the same region in a square."""
    left, bottom = np.array([seen.x_min]), np.array([seen.y_min])
    then, now = (merge(cut_to_windows(one.rects, left, bottom, seen.width)) for one in (old, new))
    slanted = [sorted(part.tobytes() for part in polygons_of(one)) for one in (old, new)]
    return np.array_equal(then, now) and slanted[0] == slanted[1]


def scores_of(
    runs: Sequence[Earlier], keys: Bytes, embedding: int
) -> tuple[npt.NDArray[np.bool_], Float32s, npt.NDArray[np.float16]]:
    """Return which of (n, 16) `keys` have a score in any of the runs, the scores, and embeddings.

    Parameters
    ----------
    embedding
        Length of an embedding.
    """
    score = np.full(len(keys), np.nan, np.float32)
    embeddings = np.zeros((len(keys), embedding), np.float16)
    for run in runs:
        known, scores = _scored(run)
        wanted = np.flatnonzero(np.isnan(score))
        place = located(keys[wanted], known)
        wanted, place = wanted[place >= 0], place[place >= 0]
        if len(wanted):
            score[wanted] = scores[place]
            (embeddings[wanted],) = pattern_rows(Run(run.path), place, "embedding")
    return ~np.isnan(score), score, embeddings


@lru_cache(maxsize=64)
def _layout(run: Earlier) -> PackedLayout:
    return open_packed(Run(run.path).layout)


@lru_cache(maxsize=64)
def _finished(run: Earlier) -> frozenset[str]:
    with Ledger(Run(run.path).ledger, read_only=True) as ledger:
        return frozenset(ledger.finished("clips"))


@lru_cache(maxsize=64)
def _scored(run: Earlier) -> tuple[Bytes, Float32s]:
    """Return the keys of all patterns, and their scores."""
    if not Run(run.path).patterns.exists():
        return np.empty((0, 16), np.uint8), np.empty(0, np.float32)
    keys, scores = read_patterns(Run(run.path), "key", "score")
    return keys, scores
