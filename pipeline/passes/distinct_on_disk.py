"""The distinct pictures of a scan, sorted on disk so that only a few ranges are in memory.

in       keys and centres of clips, part by part
out      `DistinctPictures`: how many distinct pictures there are, and these in order of first place
promise  the same pictures in the same order, however the clips are divided

Rows are divided on disk by ranges of their keys, so that all clips of a picture come together; each
range is tallied alone, and the ranges are merged strip by strip of the chip.
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
"""About how many clips of a key range, or pictures of a strip, are in memory at once."""

_ROW = np.dtype(
    [("y_dbu", "i8"), ("x_dbu", "i8"), ("count", "i8"), ("key", "u1", KEY_BYTES)]
)  # fmt: skip
_SAMPLED = 256  # of so many rows one says where the others lie

Rows = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class DistinctPictures:
    """The distinct pictures of all clips, on disk."""

    ranges: tuple[Rows, ...]
    """Memory-mapped, each in order of first places."""
    together: int

    def __len__(self) -> int:
        return sum(map(len, self.ranges))

    def strips(self) -> Iterator[Tally]:
        """Yield the pictures strip by strip, ordered by the lowest, then leftmost clip of each."""
        sampled = np.sort(np.concatenate([rows["y_dbu"][::_SAMPLED] for rows in self.ranges]))
        above = sampled[:: max(1, self.together // _SAMPLED)][1:]
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
    together: int = ROWS_IN_MEMORY,
) -> DistinctPictures:
    """Tally clips.

    Parameters
    ----------
    parts
        (n, 16) keys, and x and y of n clips, of each part.
    clips
        How many there are in all, or so: says into how many ranges they are divided.
    scratch
        A folder for the ranges, which the outcome reads from.
    """
    files = [scratch / f"{number}.rows" for number in range(1 + clips // together)]
    for file in files:
        file.touch()
    for keys, x_dbu, y_dbu in parts:
        some = tally(keys, np.ones(len(keys), np.int64), x_dbu, y_dbu)
        _divide(_pack_rows(some), files)
    for file in files:
        rows = np.fromfile(file, _ROW)
        found = tally(rows["key"], rows["count"], rows["x_dbu"], rows["y_dbu"])
        _pack_rows(found).tofile(file)
    return DistinctPictures(tuple(_map_rows(file) for file in files), together)


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
    # Nothing cannot be mapped.
    return np.memmap(file, _ROW, "r") if file.stat().st_size else np.empty(0, _ROW)
