"""Confirming hotspots: simulating the clips over the threshold, each in a window of its own.

in       the clips over the threshold, the packed layout, the process of the model
out      per batch of windows the failing samples, the margins, and the images of those that fail,
         so that a stopped scan resumes; `Confirmed`
promise  the verdict on a clip depends on the layout around it and on the process: not on batches,
         workers, their order, or which other clips are simulated; equal windows are simulated once
"""

from __future__ import annotations

import math
import time
from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import shapely
from shapely import Polygon

from pipeline.engine.agreement import Agreement
from pipeline.engine.session import Session
from pipeline.engine.storage.checksums import seal
from pipeline.engine.storage.ledger import Status, UnitOutcome
from pipeline.engine.storage.run_directory import Run, write_array, write_table
from pipeline.engine.storage.tables import explain_damage, read_table
from pipeline.layout.ingest import compute_sha256
from pipeline.passes.units import open_layout, stamp_packing
from pipeline.simulate import clip_margins
from pipeline.simulate.hot_clips import CLIPS, HOT_CLIPS
from pipeline.simulate.tiles import measure
from pipeline.simulate.windows import WINDOWS, find_windows
from stages.contracts import Box, Defect, Float32s, Floats, Int64s, PackedLayout, Verdict
from stages.errors import IncompleteError
from stages.geometry.window_query import query
from stages.lithography.clip_window import (
    find_first,
    make_window,
    read_window,
    simulate_clips,
    trace_print,
    turn_back,
)
from stages.lithography.measure.defects import find_worst, make_defects
from stages.lithography.measure.sections import KINDS
from stages.lithography.optics.fields import Lattice
from stages.lithography.process import Process

_SAMPLES = pa.schema(
    [
        ("window", pa.int64()), ("kind", pa.int8()), ("x_dbu", pa.int64()), ("y_dbu", pa.int64()),
        ("corner", pa.int8()), ("severity", pa.float64()),
    ]
)  # fmt: skip
_MARGINS = ".margins.npy"
_TOGETHER = 16
"""Windows that each step takes at a time: the kernels of the light then stay in a cache."""


@dataclass(frozen=True, slots=True)
class Confirmation:
    """The input of every batch."""

    run: Path
    """The run directory."""
    hot_clips: str
    """Digest of the clips to simulate, which depend on the threshold."""
    core_dbu: int
    process: Process
    opc: str
    batch_windows: int
    clips: str = HOT_CLIPS
    """The list of clips, relative to the run directory."""
    folder: str = "confirm"
    """Where the result of each batch goes, relative to the run directory."""

    @property
    def windows(self) -> int:
        """How many different windows the clips have."""
        return len(_read_hot(self).first)

    @property
    def batches(self) -> range:
        """The units."""
        return range(-(-self.windows // self.batch_windows))


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The result of simulating the clips over the threshold."""

    verdicts: dict[int, Verdict]
    """By id of the hotspot. A hotspot has none if one of its clips was not simulated and none of
    the others fails."""
    clips_simulated: int
    clips_failing: int
    defects: dict[int, list[Defect]] = field(default_factory=dict)
    """All defects of each hotspot that fails."""
    failing: dict[int, list[int]] = field(default_factory=dict)
    """Rows, among the clips to simulate, of a hotspot's clips that fail; none if it prints."""


def make_confirmation(
    run: Run, core_dbu: int, process: Process, opc: str, batch_windows: int
) -> Confirmation:
    """Return the input of the batches for the clips that a run holds now."""
    digest = compute_sha256(run.path / HOT_CLIPS)
    return Confirmation(run.path, digest, core_dbu, process, opc, batch_windows)


def name_batch(batch: int) -> str:
    """Return the name of a batch's unit."""
    return f"{batch:05d}"


@dataclass(frozen=True, slots=True, eq=False)
class _Hot:
    """The clips over the threshold, (n,), and the windows that they have."""

    x_dbu: Int64s
    y_dbu: Int64s
    hotspot: Int64s
    window: Int64s
    """Number of each clip's window."""
    symmetry: Int64s
    """How it is turned."""
    first: Int64s
    """(w,) the first clip of each window."""
    lattice: Lattice
    """Core, guard and side of every window."""

    def locate(self, clip: int) -> tuple[int, int]:
        """Return the lower left corner of a clip's window."""
        half = self.lattice.core_dbu // 2 + self.lattice.guard_dbu
        return int(self.x_dbu[clip]) - half, int(self.y_dbu[clip]) - half


def _read_hot(job: Confirmation) -> _Hot:
    """Read the clips to simulate, again where one of the files was written since."""
    files = job.run / job.clips, (job.run / job.clips).with_name(WINDOWS)
    return _find_hot(job, *map(_stamp, files), stamp_packing(job.run))


def _stamp(path: Path) -> int:
    """Return when a file was last written: a run may be removed and made again in one process."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0  # who reads it says that it is not there


@lru_cache(maxsize=4)
def _find_hot(job: Confirmation, listed_ns: int, windows_ns: int, packed_ns: int) -> _Hot:
    lattice = make_window(job.process, open_layout(job.run).dbu_nm, job.core_dbu, job.opc)
    table, path = read_table(job.run / job.clips, CLIPS), (job.run / job.clips).with_name(WINDOWS)
    x, y, owner = (table[name].to_numpy() for name in CLIPS.names)
    layer = open_layout(job.run).packed[0]
    window, symmetry = find_windows(path, layer, (x, y), lattice, job.process.symmetries)
    first = np.unique(window, return_index=True)[1]
    return _Hot(x, y, owner, window, symmetry, first, lattice)


def run_batches(session: Session, job: Confirmation) -> None:
    """Simulate the batches that are not finished."""
    task, alike = partial(confirm_batch, job=job), Agreement(partial(measure, job.run, job.process))
    session.run_units(
        "confirm", "batches", job.batches, task, name_batch, alike, reads=("layout", "hotspots")
    )


def confirm_batch(batch: int, *, job: Confirmation) -> UnitOutcome:
    """Simulate a batch of windows; write margins, what fails, and the images of those that fail."""
    started = time.perf_counter()
    layout, hot = open_layout(job.run), _read_hot(job)
    windows = range(batch * job.batch_windows, min((batch + 1) * job.batch_windows, job.windows))
    rows, margins, images = [np.empty((0, 6))], [], []
    for first in range(windows.start, windows.stop, _TOGETHER):
        numbers = range(first, min(first + _TOGETHER, windows.stop))
        drawn = [_read_window(job, layout, hot, number) for number in numbers]
        prints = simulate_clips(drawn, hot.lattice, layout.dbu_nm, job.process, job.opc)
        for number, found in zip(numbers, prints, strict=True):
            margins.append(found.margin)
            if found.image is not None:
                rows.append(np.column_stack([np.full(len(found.samples), number), found.samples]))
                images.append(found.image)
    stem = f"{job.folder}/{name_batch(batch)}"
    names = f"{stem}.parquet", f"{stem}.npy", f"{stem}{_MARGINS}"
    samples = np.concatenate(rows)
    columns = [column.astype(field.type.to_pandas_dtype())
               for column, field in zip(samples.T, _SAMPLES, strict=True)]  # fmt: skip
    write_table(job.run / names[0], pa.table(columns, schema=_SAMPLES))
    write_array(job.run / names[1], np.array(images, np.float32))
    write_array(job.run / names[2], np.array(margins, np.float32))
    return UnitOutcome(
        "confirm", name_batch(batch), Status.DONE if images else Status.EMPTY,
        checksum=seal(job.run, names), files=names, arithmetic=measure(job.run, job.process),
        counts={"windows": len(windows), "windows_failing": len(images)},
        seconds=time.perf_counter() - started,
    )  # fmt: skip


def _read_window(
    job: Confirmation, layout: PackedLayout, hot: _Hot, number: int
) -> tuple[Int64s, Int64s]:
    """Return the target and the slanted edges of a window, turned as its signature is."""
    clip = int(hot.first[number])
    x, y = place = hot.locate(clip)
    side_dbu, symmetry = hot.lattice.side_dbu, int(hot.symmetry[clip])
    shapes = query(layout.packed[0], Box(x, y, x + side_dbu, y + side_dbu))
    return read_window(shapes, place, hot.lattice, symmetry, job.process, layout.dbu_nm)


def read_confirmed(job: Confirmation, finished: Container[str]) -> Confirmed:
    """Return the verdict on each hotspot.

    Parameters
    ----------
    finished
        Names of the batches that were simulated.
    """
    hot, batches = _read_hot(job), _list_finished(job, finished)
    simulated = np.isin(hot.window // job.batch_windows, batches)
    rows, clip = _place_samples(hot, _read_samples(job, batches))
    failing = np.unique(clip)
    owner = hot.hotspot[clip]
    worst = find_worst(rows, owner[:, None], 3 * hot.lattice.pitch_dbu)
    found: dict[int, list[Defect]] = {}
    for defect, at in zip(make_defects(rows[worst], job.process), worst.tolist(), strict=True):
        found.setdefault(int(owner[at]), []).append(defect)
    incomplete = set(hot.hotspot[~simulated].tolist())
    margin = clip_margins.find_worst(hot.hotspot, _read_clip_margins(job, hot, failing, batches))
    verdicts = {
        spot: Verdict(
            len(found.get(spot, ())), min(found.get(spot, ()), key=_rank, default=None),
            *margin.get(spot, (None, None)),
        )
        for spot in found.keys() | set(hot.hotspot.tolist()) - incomplete
    }  # fmt: skip
    of_spot: dict[int, list[int]] = {}
    for each in failing.tolist():
        of_spot.setdefault(int(hot.hotspot[each]), []).append(each)
    return Confirmed(verdicts, int(simulated.sum()), len(failing), found, of_spot)


def read_clip_margins(
    job: Confirmation, finished: Container[str]
) -> dict[tuple[int, int], Float32s]:
    """Return the margins of each clip that was simulated, (kinds,), by its centre."""
    hot, batches = _read_hot(job), _list_finished(job, finished)
    _, failing = _place_samples(hot, _read_samples(job, batches))
    margin = _read_clip_margins(job, hot, failing, batches)
    places = zip(hot.x_dbu.tolist(), hot.y_dbu.tolist(), strict=True)
    return {
        place: each for place, each in zip(places, margin, strict=True) if not np.isnan(each).any()
    }


def _read_clip_margins(
    job: Confirmation, hot: _Hot, failing: Int64s, batches: Sequence[int]
) -> Float32s:
    """Return the margins of each clip, (n, kinds); NaN where it was not simulated."""
    files = {batch: job.run / job.folder / f"{name_batch(batch)}{_MARGINS}" for batch in batches}
    return clip_margins.read_clips(files, job.batch_windows, hot.window, failing)


def _list_finished(job: Confirmation, finished: Container[str]) -> list[int]:
    """Return the batches that were simulated: names in a ledger could lead anywhere."""
    return [batch for batch in job.batches if name_batch(batch) in finished]


def _rank(defect: Defect) -> tuple[float, int, int, str]:
    """Return what the worst defect has the least of; of equals, it is the lowest, then leftmost."""
    return -defect.severity, defect.y_dbu, defect.x_dbu, defect.kind


def _read_samples(job: Confirmation, batches: Sequence[int]) -> Floats:
    """Return the failing samples of batches, (n, 6): the window, then as of `find_failures`.

    Raises
    ------
    IncompleteError
        When a table is missing or damaged, or has what cannot be in it.
    """
    parts = [np.empty((0, 6))]
    side_dbu = _read_hot(job).lattice.side_dbu
    for batch in batches:
        file = job.run / job.folder / f"{name_batch(batch)}.parquet"
        table = read_table(file, _SAMPLES)
        rows = np.column_stack([table[name].to_numpy() for name in _SAMPLES.names])
        first = batch * job.batch_windows
        least = np.array([first, 0, 0, 0, 0, 0])
        most = np.array([
            first + job.batch_windows - 1, len(KINDS) - 1, side_dbu, side_dbu,
            len(job.process.corners) - 1, 1,
        ])  # fmt: skip
        if not ((rows >= least) & (rows <= most)).all():
            raise IncompleteError(
                f"{file} has a sample of another window, kind or corner than there is; "
                "scan into a new run directory"
            )
        parts.append(rows)
    return np.concatenate(parts)


def _place_samples(hot: _Hot, samples: Floats) -> tuple[Floats, Int64s]:
    """Return the samples in the core of every clip, places in the layout, and whose they are.

    Returns
    -------
    rows : (n, 5) float64
        As of `find_failures`.
    clip : (n,) int64
    """
    samples = samples[np.argsort(samples[:, 0], kind="stable")]
    start = np.searchsorted(samples[:, 0], np.arange(len(hot.first) + 1))
    count = np.diff(start)[hot.window]
    clip = np.repeat(np.arange(len(hot.window)), count)
    nth = np.arange(len(clip)) - np.repeat(np.cumsum(count) - count, count)
    rows = samples[start[hot.window[clip]] + nth, 1:]
    lattice, half = hot.lattice, hot.lattice.core_dbu // 2
    local = turn_back(rows[:, 1:3], hot.symmetry[clip], lattice.side_dbu) - lattice.guard_dbu
    inside = ((local >= 0) & (local < lattice.core_dbu)).all(axis=1)
    rows[:, 1:3] = local + np.column_stack([hot.x_dbu[clip], hot.y_dbu[clip]]) - half
    return rows[inside], clip[inside]


def _read_images(job: Confirmation, batch: int) -> dict[int, tuple[Float32s, int]]:
    """Return the image of each window of a batch that fails, and the corner where it is worst."""
    file = job.run / job.folder / f"{name_batch(batch)}.npy"
    return _load_images(job, batch, file, _stamp(file))


@lru_cache(maxsize=64)
def _load_images(
    job: Confirmation, batch: int, file: Path, written_ns: int
) -> dict[int, tuple[Float32s, int]]:
    samples = _read_samples(job, [batch])
    numbers, start = np.unique(samples[:, 0], return_index=True)
    with explain_damage(file):
        images = np.load(file, mmap_mode="r", allow_pickle=False)
        if images.dtype != np.float32 or images.ndim != 3 or len(images) != len(numbers):
            raise ValueError(f"it is {images.dtype} of shape {images.shape}")
    return {
        int(number): (np.array(image), int(mine[find_first(mine), 3]))
        for number, image, mine in zip(
            numbers, images, np.split(samples[:, 1:], start[1:]), strict=True
        )
    }


def draw_print(
    job: Confirmation, failing: Sequence[int], near: tuple[int, int]
) -> tuple[Box, list[Polygon]]:
    """Return what prints in the window of a failing clip, traced on the image that was stored.

    Parameters
    ----------
    failing
        Rows, among the clips to simulate, of some that fail.
    near
        Of these, the one whose centre is nearest to this place is drawn.

    Returns
    -------
    window : Box
        Where contours are drawn: the clip's window less its border, which is imaged wrongly.
    contours : list of Polygon
        In dbu of the layout, at the corner where the clip's worst sample fails.
    """
    hot = _read_hot(job)
    clip = min(failing, key=lambda at: math.dist((hot.x_dbu[at], hot.y_dbu[at]), near))
    number, dbu_nm = int(hot.window[clip]), open_layout(job.run).dbu_nm
    image, corner = _read_images(job, number // job.batch_windows)[number]
    drawn, polygons = trace_print(image, corner, hot.lattice, dbu_nm, job.process)
    (x, y), side_dbu = hot.locate(clip), hot.lattice.side_dbu

    def move(points: Floats) -> Floats:
        moved: Floats = turn_back(points, hot.symmetry[clip], side_dbu) + np.array([x, y])
        return moved

    window = Box(x, y, x + side_dbu, y + side_dbu).grow(-drawn.x_min)
    return window, [shapely.transform(polygon, move) for polygon in polygons]
