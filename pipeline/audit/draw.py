"""Drawing the clips of an audit from its frame, however large that is.

in       the tables of the frame, a threshold, a number of clips or a share, a seed
out      `Draw`: the clips to simulate, with their strata; kept as one table
promise  the same frame, threshold, number and seed draw the same clips
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.audit.frame import read_frame
from pipeline.engine.storage.ledger import Ledger
from pipeline.engine.storage.run_directory import write_table
from pipeline.engine.storage.tables import explain_damage, read_table
from pipeline.passes.arrays import PART_CLIPS
from pipeline.passes.job import Job
from stages.audit.draw import STRATA, allocate, choose_first, place_in_strata, rank_clips
from stages.contracts import Float32s, Int64s

DRAW = "audit/draw.parquet"
"""The table, relative to the run directory."""

_SCHEMA = pa.schema(
    [("x_dbu", pa.int64()), ("y_dbu", pa.int64()), ("score", pa.float32()), ("stratum", pa.int64())]
)


@dataclass(frozen=True, slots=True, eq=False)
class Draw:
    """The clips to simulate."""

    x_dbu: Int64s
    y_dbu: Int64s
    score: Float32s
    stratum: Int64s
    """Index into `STRATA`."""
    sizes: Int64s
    """Clips of the frame in each of `STRATA`, drawn or not."""
    known: int | None
    """Hotspots that the scan found, where each is known: then no flagged clip is drawn."""

    def __len__(self) -> int:
        return len(self.x_dbu)


Columns = tuple[Int64s, Int64s, Float32s, Int64s]


def draw_clips(
    job: Job,
    ledger: Ledger,
    threshold: float,
    count: Callable[[int], int],
    seed: int,
    known: int | None,
) -> Draw:
    """Draw clips from the frame of a scan.

    Parameters
    ----------
    count
        Turns the number of clips in the frame into the number to draw.
    known
        Hotspots among the flagged clips, where all of these are known; then none is drawn.
    """
    sizes = np.zeros(len(STRATA), np.int64)
    for *_, stratum in _read_placed(job, ledger, threshold):
        sizes += np.bincount(stratum, minlength=len(sizes))
    open_to = np.array([known is None or not each.flagged for each in STRATA])
    drawn = allocate(np.where(open_to, sizes, 0).tolist(), count(int(sizes.sum())))
    kept: list[Columns] = []
    for part in _read_placed(job, ledger, threshold):
        kept.append(part)
        if sum(len(x) for x, *_ in kept) > PART_CLIPS + int(drawn.sum()):
            kept = [_keep_first(kept, drawn, seed)]
    x, y, score, stratum = _keep_first(kept, drawn, seed)
    order = np.lexsort((x, y))
    return Draw(x[order], y[order], score[order], stratum[order], sizes, known)


def _read_placed(job: Job, ledger: Ledger, threshold: float) -> Iterator[Columns]:
    for x, y, score in read_frame(job, ledger):
        yield x, y, score, place_in_strata(score, score >= threshold, threshold)


def _keep_first(parts: list[Columns], drawn: Int64s, seed: int) -> Columns:
    """Return the clips of all parts that may still be drawn."""
    none = np.empty(0, np.int64)
    x, y, score, stratum = (
        np.concatenate([none.astype(kind), *columns])
        for kind, columns in zip(
            (np.int64, np.int64, np.float32, np.int64),
            zip(*parts, strict=True) if parts else ((),) * 4,
            strict=True,
        )
    )
    first = choose_first(rank_clips(x, y, seed), stratum, drawn)
    return x[first], y[first], score[first], stratum[first]


def count_clips(size: str, frame: int) -> int:
    """Return how many of the clips of a frame a size asks for; of seconds see `simulate`.

    Examples
    --------
    >>> [count_clips(size, 50_000) for size in ("0.03", "3%", "1200", "60000")]
    [1500, 1500, 1200, 50000]
    """
    if size.endswith("%"):
        wanted = math.ceil(round(frame * float(size[:-1]) / 100, 6))
    elif "." in size:
        wanted = math.ceil(round(frame * float(size), 6))
    else:
        wanted = int(size)
    return min(wanted, frame)


def write_draw(run: Path, draw: Draw) -> None:
    """Write the table of a draw."""
    about = {"sizes": draw.sizes.tolist(), "known": draw.known}
    schema = _SCHEMA.with_metadata({"audit": json.dumps(about)})
    columns = [draw.x_dbu, draw.y_dbu, draw.score, draw.stratum]
    write_table(run / DRAW, pa.table(columns, schema=schema))


def read_draw(run: Path) -> Draw:
    """Return the draw of a run.

    Raises
    ------
    IncompleteError
        When it is missing or damaged.
    """
    with explain_damage(run / DRAW):
        table = read_table(run / DRAW, _SCHEMA)
        about = json.loads(table.schema.metadata[b"audit"])
        x, y, score, stratum = (table[name].to_numpy() for name in _SCHEMA.names)
        sizes = np.array(about["sizes"], np.int64)
        if (np.bincount(stratum, minlength=len(STRATA)) > sizes).any():
            raise ValueError("more clips are drawn of a stratum than it has")
        return Draw(x, y, score, stratum, sizes, about["known"])
