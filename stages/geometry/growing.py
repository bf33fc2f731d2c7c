"""Arrays that grow, for kernels that cannot know how much they will find."""

from __future__ import annotations

import numpy as np

from stages.compiled import kernel
from stages.contracts import Int64s


@kernel
def reserve_row(array: Int64s, used: int) -> Int64s:
    """Return ``(n, columns)`` with a free row after the first `used`, doubled where it is full."""
    if used < array.shape[0]:
        return array
    larger = np.empty((2 * array.shape[0], array.shape[1]), np.int64)
    larger[:used] = array
    return larger
