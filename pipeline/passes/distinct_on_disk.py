"""Find the distinct pictures of a scan by sorting on disk, with bounded memory.

in       keys and centres of clips, in parts
out      `DistinctPictures`: their number, and the pictures in order of first place
promise  the same pictures in the same order, however the clips are divided into parts

Rows are split into files by ranges of their keys, so that all clips of a picture are in one range.
Each range is tallied on its own, then the ranges are merged, one strip of the chip at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stages.contracts import Bytes, Int64s
from stages.patterns import KEY_BYTES, Tally, tally

ROWS_IN_MEMORY = 1 << 18
"""Approximate clips of a key range, or pictures of a strip, in memory at once."""

_ROW = np.dtype(
    [("y_dbu", "i8"), ("x_dbu", "i8"), ("count", "i8"), ("key", "u1", KEY_BYTES)]
)  # fmt: skip
_SAMPLED = 256  # one row in so many is sampled to choose the strips

Rows = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class DistinctPictures:
    """The distinct pictures of all clips, on disk."""

    ranges: tuple[Rows, ...]
    """Memory-mapped, each in order of first place."""
    rows_in_memory: int

    def __len__(self) -> int:
        return sum(map(len, self.ranges))

    def read_strips(self) -> Iterator[Tally]:
        """Yield the pictures by strips, in order of the lowest, then leftmost clip of each."""
        sampled = np.sort(np.concatenate([rows["y_dbu"][::_SAMPLED] for rows in self.ranges]))
        above = sampled[:: max(1, self.rows_in_memory // _SAMPLED)][1:]
        ends = [np.searchsorted(rows["y_dbu"], np.unique(above)) for rows in self.ranges]
        edges = [[0, *end.tolist(), len(rows)] for end, rows in zip(ends, self.ranges, strict=True)]
        for strip in range(len(edges[0]) - 1):
            rows = np.concatenate(
                [
                    part[edge[strip] : edge[strip + 1]]
                    for part, edge in zip(self.ranges, edges, strict=True)
                ]
            )
            yield _unpack_rows(rows[np.lexsort((rows["x_dbu"], rows["y_dbu"]))])


def tally_on_disk(
    parts: Iterable[tuple[Bytes, Int64s, Int64s]],
    clips: int,
    scratch: Path,
    *,
    rows_in_memory: int = ROWS_IN_MEMORY,
) -> DistinctPictures:
    """Tally the clips of each distinct picture.

    Parameters
    ----------
    parts
        Per part, the (n, 16) keys and the x and y of its n clips.
    clips
        Approximate number of all clips; sets the number of ranges.
    scratch
        Folder for the ranges; the result is mapped from it.
    """
    files = [scratch / f"{number}.rows" for number in range(1 + clips // rows_in_memory)]
    for file in files:
        file.touch()
    for keys, x_dbu, y_dbu in parts:
        part = tally(keys, np.ones(len(keys), np.int64), x_dbu, y_dbu)
        _divide(_pack_rows(part), files)
    for file in files:
        rows = np.fromfile(file, _ROW)
        found = tally(rows["key"], rows["count"], rows["x_dbu"], rows["y_dbu"])
        _pack_rows(found).tofile(file)
    return DistinctPictures(tuple(_map_rows(file) for file in files), rows_in_memory)


def _divide(rows: Rows, files: Sequence[Path]) -> None:
    """Append each row to the file of its range."""
    first = rows["key"][:, :4].copy().view(">u4").ravel().astype(np.int64)
    number = first * len(files) >> 32
    order = np.argsort(number, kind="stable")
    starts = np.searchsorted(number[order], np.arange(len(files) + 1))
    rows = rows[order]
    for file, start, end in zip(files, starts[:-1], starts[1:], strict=True):
        if start < end:
            with file.open("ab") as sink:
                rows[start:end].tofile(sink)


def _pack_rows(found: Tally) -> Rows:
    rows = np.empty(len(found), _ROW)
    for name in _ROW.names or ():
        rows[name] = getattr(found, name)
    return rows


def _unpack_rows(rows: Rows) -> Tally:
    return Tally(**{name: rows[name].copy() for name in _ROW.names or ()})


def _map_rows(file: Path) -> Rows:
    # An empty file cannot be mapped.
    return np.memmap(file, _ROW, "r") if file.stat().st_size else np.empty(0, _ROW)
