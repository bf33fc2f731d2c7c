"""Check the references of a file, of either format, before anything follows them.

in: for each cell, the cells that it places, and the byte of the first reference
out: a warning, or `LayoutError` · unit: the file
"""

from __future__ import annotations

import sys
from graphlib import CycleError, TopologicalSorter

import numpy as np

from stages.compiled import borrowing_kernel
from stages.contracts import Int64s
from stages.errors import LayoutError
from stages.text import escape_text

LEVELS = 1000
"""Deepest hierarchy allowed: real ones stay under 50, and other readers recurse."""


def escape_name(name: bytes) -> str:
    r"""Return a name as text, with bytes escaped that are not UTF-8 or not printable.

    Examples
    --------
    >>> print(escape_name(b"caf\xe9"), escape_name(b"a\x1bb"))
    caf\xe9 a\x1bb
    """
    return escape_text(name.decode("utf-8", "backslashreplace"))


def quote_name(name: bytes) -> str:
    """Return a name quoted for a message."""
    return "'" + escape_name(name.rstrip(b"\0")) + "'"


def find_first_uses(owner: Int64s, placed: Int64s, cells: int) -> Int64s:
    """Return, of references sorted by owner, those that are their owner's first of a cell.

    `placed` are numbers under `cells`; a negative one is of no cell.

    Examples
    --------
    >>> find_first_uses(np.array([0, 0, 0, 1]), np.array([2, 1, 2, 2]), 3).tolist()
    [0, 1, 3]
    """
    first = np.empty(len(owner), np.int64)
    found = _find_first_uses(owner, placed, np.full(cells, -1, np.int64), first)
    return first[:found]


@borrowing_kernel
def _find_first_uses(owner: Int64s, placed: Int64s, last_owner: Int64s, first: Int64s) -> int:
    found = 0
    for row in range(len(owner)):
        if placed[row] >= 0 and last_owner[placed[row]] != owner[row]:
            last_owner[placed[row]] = owner[row]
            first[found] = row
            found += 1
    return found


def drop_undefined(placed: dict[bytes, dict[bytes, int]]) -> list[str]:
    """Drop the references to cells that are not in the file; return a warning if there are any."""
    absent: dict[bytes, int] = {}
    for children in placed.values():
        for name in [name for name in children if name not in placed]:
            absent[name] = min(children.pop(name), absent.get(name, sys.maxsize))
    if not absent:
        return []
    first = sorted(absent, key=lambda name: absent[name])
    shown = ", ".join(quote_name(name) for name in first[:5])
    more = f" and {len(first) - 5} more" * (len(first) > 5)
    return [
        f"not in the file, so left out: {shown}{more} (first placed at byte {absent[first[0]]})"
    ]


def check_depth(placed: dict[bytes, dict[bytes, int]]) -> None:
    """Refuse cells that contain themselves, and a hierarchy of more than `LEVELS`.

    Raises
    ------
    LayoutError
        The message names the cells.
    """
    levels: dict[bytes, int] = {}
    try:
        for name in TopologicalSorter(placed).static_order():
            levels[name] = 1 + max((levels[child] for child in placed[name]), default=0)
    except CycleError as error:
        ring: list[bytes] = error.args[1][::-1]
        at, around = placed[ring[0]][ring[1]], " -> ".join(quote_name(name) for name in ring)
        raise LayoutError(f"byte {at}: structures contain themselves: {around}") from None
    deepest = max(levels, key=levels.__getitem__, default=b"")
    if levels.get(deepest, 0) > LEVELS:
        raise LayoutError(
            f"structure {quote_name(deepest)} is {levels[deepest]} levels deep; the limit is "
            f"{LEVELS}"
        )
