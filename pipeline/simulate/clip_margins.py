"""Margins of the clips that were simulated one by one: their files, and those of a hotspot.

in       files of `pipeline.simulate.confirm`
out      (n, kinds), NaN where a clip was not simulated
unit     a batch of windows
promise  a file that is not what was written is refused; one that an older hotscan did not write is
         no fault
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pipeline.engine.storage.tables import explain_damage
from stages.contracts import Float32s, Int64s
from stages.lithography.measure.margins import LEAST, find_worst_margin, name_kinds
from stages.lithography.measure.sections import KINDS


def read_clips(
    files: Mapping[int, Path], batch_windows: int, window: Int64s, failing: Int64s
) -> Float32s:
    """Return the margins of each clip, (n, kinds).

    Parameters
    ----------
    files
        Of the batches that were simulated.
    window : (n,) int64
        Number of each clip's window.
    failing
        The clips that fail. A window's core has its border on all sides, a clip's on two: where
        only the others have a sample that fails, the clip passes, by nothing.
    """
    count = int(window.max(initial=-1)) + 1
    margin = np.full((count, len(KINDS)), np.nan, np.float32)
    for batch, file in files.items():
        windows = slice(batch * batch_windows, (batch + 1) * batch_windows)
        margin[windows] = _read_margins(file, len(margin[windows]))
    of_clip: Float32s = margin[window]
    passes = np.ones(len(of_clip), bool)
    passes[failing] = False
    of_clip[passes] = np.minimum(of_clip[passes], 0)
    return of_clip


def _read_margins(file: Path, windows: int) -> Float32s:
    """Return the margins of a batch's windows, (windows, kinds).

    Raises
    ------
    IncompleteError
        When the file is damaged.
    """
    if not file.exists():
        return np.full((windows, len(KINDS)), np.nan, np.float32)
    with explain_damage(file):
        margin: Float32s = np.load(file, allow_pickle=False)
        if margin.dtype != np.float32 or margin.shape != (windows, len(KINDS)):
            raise ValueError(f"it is {margin.dtype} of shape {margin.shape}")
        if not ((margin >= LEAST) & (margin <= 1)).all():
            raise ValueError("it has a margin that is not from -1 to 1")
    return margin


def find_worst(owner: Int64s, margin: Float32s) -> dict[int, tuple[float, str | None]]:
    """Return margin and kind of the worst clip of each owner that has any which was simulated.

    The kind is None where nothing was measured.
    """
    known = np.flatnonzero(~np.isnan(margin).any(axis=1))
    worst, kinds = find_worst_margin(margin[known]), name_kinds(margin[known])
    order = np.lexsort((-worst, owner[known]))
    owners, first = np.unique(owner[known[order]], return_index=True)
    return {
        one: (round(float(worst[at]), 4), KINDS[kinds[at]] if worst[at] > LEAST else None)
        for one, at in zip(owners.tolist(), order[first].tolist(), strict=True)
    }
