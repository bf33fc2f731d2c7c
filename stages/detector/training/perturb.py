"""New pictures near known ones: moved, scaled, and with a part of another.

in: pictures; out: as many pictures of the same shape; unit: a set in memory.
promise: the same generator gives the same pictures, on a CPU.

Their labels are unknown: they are for a network that another one teaches, which can be asked about
any picture.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from stages.contracts import Bytes

SHIFT_PX = 3.0
"""Largest move along each axis."""
ZOOM = 0.06
"""Largest change of size: lines and spaces become wider or narrower by as much."""
MIXED = 0.5
"""Share of the pictures that get a part of another one."""
BATCH = 1024


def perturb(rasters: Bytes, rng: np.random.Generator) -> Bytes:
    """Return pictures (n, layers, h, w), each moved and scaled by a random amount.

    Of `MIXED` of them everything left of a random line, or right of it, is that of another picture,
    so that what was never seen together is (S. Yun et al.: "CutMix", ICCV 2019). Past the edge a
    picture goes on as at the edge.
    """
    other = rasters[rng.permutation(len(rasters))]
    mixed = rng.random(len(rasters)) < MIXED
    line = rng.integers(0, rasters.shape[3] + 1, len(rasters))
    left = np.arange(rasters.shape[3]) < line[:, None]  # (n, w)
    taken = (left == (rng.random(len(rasters)) < 0.5)[:, None]) & mixed[:, None]
    joined = np.where(taken[:, None, None, :], other, rasters)
    zoom = rng.uniform(1 - ZOOM, 1 + ZOOM, len(rasters))
    shift = rng.uniform(-SHIFT_PX, SHIFT_PX, (len(rasters), 2)) * 2 / rasters.shape[3]
    place = np.zeros((len(rasters), 2, 3), np.float32)
    place[:, 0, 0], place[:, 1, 1], place[:, :, 2] = zoom, zoom, shift
    return np.concatenate([
        _resample(joined[at : at + BATCH], place[at : at + BATCH])
        for at in range(0, len(rasters), BATCH)
    ])  # fmt: skip


def _resample(rasters: Bytes, place: np.ndarray) -> Bytes:
    """Return pictures as seen through affine maps, (n, 2, 3) in half widths of a picture."""
    shape = list(rasters.shape)
    grid = F.affine_grid(torch.from_numpy(place), shape, align_corners=False)
    drawn = F.grid_sample(
        torch.tensor(rasters, dtype=torch.float32), grid, padding_mode="border",
        align_corners=False,
    )  # fmt: skip
    found: Bytes = drawn.round_().to(torch.uint8).numpy()
    return found
