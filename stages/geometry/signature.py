"""What tells windows apart without drawing them: a sum over the corners of their region.

in       the shapes of each layer, square windows
out      (n, 2) uint64 per window; zero where it is empty
promise  windows have one signature when their regions are equal up to the symmetries asked for,
         however cut into shapes, and (but for a collision of 128 bits) only then; windows with
         slanted edges when these are the same edges, unturned, and so is the rest

A rectangle adds f(x_min, y_min) - f(x_max, y_min) - f(x_min, y_max) + f(x_max, y_max), where f
scatters places over 128 bits. Where two rectangles meet, what they add at shared corners cancels:
the sum is one over the corners of the region. Of symmetric twins the least sum is taken. Where
polygons of any angle reach into a window, what is drawn is a function of their edges in it
(`stages.geometry.polygons.outlines`) and of the rectilinear region: those are signed, as they lie.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from stages.compiled import kernel
from stages.contracts import Int64s, Shapes
from stages.geometry.polygons.outlines import Outlines, find_edges_in_window, index_outlines
from stages.geometry.symmetry import SYMMETRIES
from stages.geometry.union import merge
from stages.geometry.windows import bin_rects, cut_to_windows, find_rects_in_window

UInt64s = npt.NDArray[np.uint64]

SEEDS = np.array([0x9E3779B97F4A7C15, 0xD1B54A32D192ED03], np.uint64)
"""Of the two halves of f: any two odd numbers."""


def compute_signatures(
    shapes: Sequence[Shapes], left: Int64s, bottom: Int64s, size_dbu: int, symmetries: int
) -> UInt64s:
    """Return the signature of each window.

    Parameters
    ----------
    shapes : sequence of Shapes
        One per layer, everything that overlaps any of the windows.
    left, bottom : (n,) int64
        Lower left corners of the windows.
    size_dbu : int
        Side of a window.
    symmetries : {8, 4, 1}
        How many symmetries the process allows.

    Returns
    -------
    (n, 2) uint64
    """
    allowed = SYMMETRIES[symmetries]
    sums = np.zeros((len(left), len(allowed), 2), np.uint64)
    slanted = np.zeros((len(left), 2), np.uint64)
    for number, layer in enumerate(shapes):
        rects = merge(cut_to_windows(layer.rects, left, bottom, size_dbu))
        _sign_rects(rects, left, bottom, size_dbu, number, allowed, sums)
        outlines = index_outlines(layer, left, bottom, size_dbu)
        if outlines is not None:
            _sign_outlines(outlines, left, bottom, size_dbu, number, slanted)
    least = np.argmin(sums[:, :, 0], axis=1)  # twins of an equal first half are equal
    signed = sums[np.arange(len(sums)), least]
    reached = slanted.any(axis=1)
    signed[reached] = sums[reached, 0] + slanted[reached]
    return signed


@kernel
def _scatter(value: np.uint64, half: int) -> np.uint64:
    """Return half of f, one to one: the finaliser of splitmix64 (S. Vigna, 2015)."""
    value = (value + np.uint64(1)) * SEEDS[half]
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@kernel
def _sign_corner(x: int, y: int, layer: int, half: int) -> np.uint64:
    """Return half of f of a place in a window, under 2**28 dbu from its corner."""
    place = (np.uint64(layer) << np.uint64(56)) | (np.uint64(x) << np.uint64(28)) | np.uint64(y)
    return _scatter(place, half)


@kernel
def _sign_rects(
    rects: Int64s,
    left: Int64s,
    bottom: Int64s,
    size_dbu: int,
    layer: int,
    symmetries: Int64s,
    sums: UInt64s,
) -> None:
    """Add what the disjoint `rects` of a layer have in each window to (n, s, 2) `sums`."""
    bins, local = bin_rects(rects, size_dbu), np.empty((64, 4), np.int64)
    for n in range(left.shape[0]):
        local, count = find_rects_in_window(rects, bins, size_dbu, left[n], bottom[n], local)
        for i in range(count):
            for s in range(symmetries.shape[0]):
                x_0, y_0, x_1, y_1 = local[i, 0], local[i, 1], local[i, 2], local[i, 3]
                if symmetries[s] & 1:
                    x_0, x_1 = size_dbu - x_1, size_dbu - x_0
                if symmetries[s] & 2:
                    y_0, y_1 = size_dbu - y_1, size_dbu - y_0
                if symmetries[s] & 4:
                    x_0, y_0, x_1, y_1 = y_0, x_0, y_1, x_1
                for half in range(2):
                    sums[n, s, half] += (
                        _sign_corner(x_0, y_0, layer, half) - _sign_corner(x_1, y_0, layer, half)
                        - _sign_corner(x_0, y_1, layer, half) + _sign_corner(x_1, y_1, layer, half)
                    )  # fmt: skip


@kernel
def _sign_outlines(
    outlines: Outlines, left: Int64s, bottom: Int64s, size_dbu: int, layer: int, sums: UInt64s
) -> None:
    """Add what the polygons of a layer have in each window to (n, 2) `sums`, 0 where nothing."""
    edges = np.empty((256, 6), np.int64)
    for n in range(left.shape[0]):
        edges, count, _ = find_edges_in_window(outlines, size_dbu, left[n], bottom[n], edges)
        for half in range(2):
            polygon = np.uint64(0)  # the sum over the edges of one: they are a set
            for i in range(count):
                edge = np.uint64(layer)
                for column in range(5):
                    edge = _scatter(edge ^ np.uint64(edges[i, column]), half)
                polygon += edge
                if i + 1 == count or edges[i + 1, 5] != edges[i, 5]:
                    sums[n, half] += _scatter(polygon, half)
                    polygon = np.uint64(0)
