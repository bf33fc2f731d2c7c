"""Where lines of measurement cross what is drawn.

in       the drawn runs, one of them or a gap between two
out      the y of each line that crosses it
unit     a run or a gap
promise  a place follows from what is drawn within reach of it, not from where a field begins
"""

from __future__ import annotations

import numpy as np

from stages.compiled import kernel
from stages.contracts import Int64s


@kernel
def _find_first(runs: Int64s, order: Int64s, column: int, least: int) -> int:
    """Return the first place in `order`, which sorts the runs by a column, of at least `least`."""
    low, high = 0, len(order)
    while low < high:
        middle = (low + high) // 2
        if runs[order[middle], column] < least:
            low = middle + 1
        else:
            high = middle
    return low


@kernel
def reach_metal(runs: Int64s, order: Int64s, i: int, up: bool, far: int) -> int:
    """Return the y to which run `i` goes on, up or down, in metal at least as wide; `far` at most.

    `order` sorts the runs by the end that others meet.
    """
    a, b, y = runs[i, 0], runs[i, 2], runs[i, 3] if up else runs[i, 1]
    meets, leaves = (1, 3) if up else (3, 1)
    while (y < far) == up and y != far:
        wider = -1
        for k in range(_find_first(runs, order, meets, y), len(order)):
            run = runs[order[k]]
            if run[meets] != y:
                break
            if run[0] <= a and run[2] >= b:
                wider = order[k]
        if wider < 0:
            return y
        y = runs[wider, leaves]
    return far


@kernel
def reach_space(runs: Int64s, order: Int64s, gap: Int64s, up: bool, far: int) -> int:
    """Return the y to which a gap goes on, up or down, before metal is between; `far` at most."""
    meets, nearest = (1, far) if up else (3, far)
    first, last = (gap[3], far) if up else (far, gap[1])
    for k in range(_find_first(runs, order, meets, first), len(order)):
        run = runs[order[k]]
        if run[meets] > last:
            break
        if run[0] < gap[2] and run[2] > gap[0]:
            nearest = run[meets]
            if up:
                break
    return nearest


@kernel
def place_lines(low: int, high: int, pitch: int, least: int, most: int) -> Int64s:
    """Return where lines cross what goes from `low` to `high`: there, and between them.

    They lie at whole pitches from the nearer end, wherever the other one is: in the middle, up to
    two pitches apart. Those a pitch and more outside `least` to `most` are left out.
    """
    if high < low:
        return np.empty(0, np.int64)
    half = (high - low) // (2 * pitch) + 1
    out = np.empty(2 * half, np.int64)
    used = 0
    for k in range(half):
        first, last = low + k * pitch, high - k * pitch
        if least - pitch < first < most + pitch:
            out[used], used = first, used + 1
        if last > first and least - pitch < last < most + pitch:
            out[used], used = last, used + 1
    return out[:used]


@kernel
def list_near(place: int, low: int, high: int, pitch: int, step: int) -> Int64s:
    """Return the places a step apart from one to the next lines, between `low` and `high`."""
    steps = pitch // step
    out, used = np.empty(2 * steps, np.int64), 0
    for k in range(1, steps):
        for y in (place - k * step, place + k * step):
            if low < y < high:
                out[used], used = y, used + 1
    return out[:used]
