"""The frame of an audit: every clip of the scanned region that holds any geometry, with its score.

in       the tiles of a scan, its clips and the scores of their pictures, the packed layout
out      per tile a table of cores on the lattice anchored at the layout's origin, with scores
promise  a place is in the frame whatever the scan did there: rejected by the prefilter, never
         proposed by `sites`, or in a unit that failed
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.engine.storage.checksums import seal
from pipeline.engine.storage.ledger import Ledger, Status, UnitOutcome
from pipeline.engine.storage.run_directory import Run, write_table
from pipeline.engine.storage.tables import read_table
from pipeline.passes.arrays import read_clips, read_patterns
from pipeline.passes.job import Job
from pipeline.passes.units import open_layout
from stages.clips import drop_excluded, place_grid_clips
from stages.contracts import Bytes, Clips, Float32s, Int64s
from stages.geometry.signature import compute_signatures
from stages.geometry.window_query import query
from stages.tiles import Tile, cut_tiles

_SCHEMA = pa.schema([("x_dbu", pa.int64()), ("y_dbu", pa.int64()), ("score", pa.float32())])


@dataclass(frozen=True, slots=True)
class FrameTile:
    """One unit: a tile, and the tiles whose clips reach into it."""

    tile: Tile
    scanned: tuple[str, ...]

    @property
    def name(self) -> str:
        """Name of the unit."""
        return self.tile.name


def is_lattice_of_cores(job: Job) -> bool:
    """Return whether the clips that were scanned are those of the frame."""
    return job.stride_dbu == job.core_dbu


def list_frame(job: Job, ledger: Ledger) -> list[FrameTile]:
    """Return the units of the frame of a scan."""
    finished = ledger.finished("clips")
    own = is_lattice_of_cores(job)
    units = []
    for tile in job.tiles:
        near = [tile] if own else cut_tiles(tile.box.grow(job.core_dbu), job.tile_dbu)
        names = [each.name for each in near if each.name in finished]
        units.append(
            FrameTile(tile, tuple(name for name in names if finished[name].status == Status.DONE))
        )
    return [unit for unit in units if not own or unit.scanned or unit.name not in finished]


def name_unit(unit: FrameTile) -> str:
    """Return the name of a unit."""
    return unit.name


def _name_file(tile: str) -> str:
    return f"audit/frame/{tile}.parquet"


def read_frame(job: Job, ledger: Ledger) -> Iterator[tuple[Int64s, Int64s, Float32s]]:
    """Yield x, y and score of the clips of each tile of the frame."""
    finished = ledger.finished("frame")
    for name in (tile.name for tile in job.tiles):
        if name in finished and finished[name].status == Status.DONE:
            table = read_table(job.run / _name_file(name), _SCHEMA)
            x, y, score = (table[column].to_numpy() for column in _SCHEMA.names)
            yield x, y, score


def frame_tile(unit: FrameTile, *, job: Job, scored: str) -> UnitOutcome:
    """Write the cores of a tile that hold any geometry, with the highest score of what overlaps.

    Parameters
    ----------
    scored
        Digest of the scores: a process may hold those of an earlier session.
    """
    started = time.perf_counter()
    run = Run(job.run)
    clips, keys = read_clips(run, list(unit.scanned))
    cores = clips
    if not (is_lattice_of_cores(job) and unit.scanned):
        cores = _cut_cores(unit.tile, job)
    score = _score_cores(cores, clips, _find_scores(keys, job.run, scored), job.core_dbu)
    file = _name_file(unit.name)
    write_table(run.path / file, pa.table([cores.x_dbu, cores.y_dbu, score], schema=_SCHEMA))
    return UnitOutcome(
        "frame", unit.name, Status.DONE if len(cores) else Status.EMPTY,
        checksum=seal(run.path, (file,)), files=(file,), counts={"clips": len(cores)},
        seconds=time.perf_counter() - started,
    )  # fmt: skip


def _cut_cores(tile: Tile, job: Job) -> Clips:
    """Return the clips of a tile on the lattice of cores that hold any geometry."""
    layers = open_layout(job.run).packed[: job.spec.layers + job.excluded]
    shapes = [query(packed, tile.box.grow(job.clip_dbu)) for packed in layers]
    cores = place_grid_clips(tile.box, job.area, job.core_dbu, job.core_dbu)
    cores = drop_excluded(cores, shapes[job.spec.layers :], job.core_dbu)
    half = job.clip_dbu // 2
    signed = compute_signatures(
        shapes[: job.spec.layers], cores.x_dbu - half, cores.y_dbu - half, job.clip_dbu, 1
    )
    return cores.select(np.asarray(signed.any(axis=1)))


def _score_cores(cores: Clips, clips: Clips, scores: Float32s, core_dbu: int) -> Float32s:
    """Return the highest score of the clips whose cores overlap each core, NaN where none does."""
    score = np.full(len(cores), np.nan, np.float32)
    own = _number_cores(cores.x_dbu, cores.y_dbu, core_dbu)
    order = np.argsort(own)
    half = core_dbu // 2
    for right in (-half, half - 1):
        for up in (-half, half - 1) if len(own) else ():
            there = _number_cores(clips.x_dbu + right, clips.y_dbu + up, core_dbu)
            at = order[np.minimum(np.searchsorted(own[order], there), len(own) - 1)]
            same = own[at] == there
            np.fmax.at(score, at[same], scores[same])
    return score


def _number_cores(x_dbu: Int64s, y_dbu: Int64s, core_dbu: int) -> Int64s:
    """Return a number for the core of the lattice that holds each place."""
    return (y_dbu // core_dbu << 32) + x_dbu // core_dbu


@lru_cache(maxsize=1)
def _read_scores(run: Path, scored: str) -> tuple[npt.NDArray[Any], Float32s]:
    """Return the keys of all patterns, sorted, and their scores."""
    keys, scores = read_patterns(Run(run), "key", "score")
    words = _to_words(keys)
    order = np.argsort(words)
    return words[order], scores[order]


def _to_words(keys: Bytes) -> npt.NDArray[Any]:
    return np.ascontiguousarray(keys).view(f"V{keys.shape[1]}").ravel()


def _find_scores(keys: Bytes, run: Path, scored: str) -> Float32s:
    """Return the scores of pictures by their keys, (n,)."""
    known, scores = _read_scores(run, scored)
    if not len(known):
        return np.full(len(keys), np.nan, np.float32)
    at = np.minimum(np.searchsorted(known, words := _to_words(keys)), len(known) - 1)
    return np.where(known[at] == words, scores[at], np.nan).astype(np.float32)
