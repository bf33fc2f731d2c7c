"""Signatures of windows: whether two hold the same region, found without drawing them.

in       the shapes of each layer, square windows
out      (n, 2) uint64, a row per window; zero if it is empty
promise  signatures are equal if, and (but for a collision of 128 bits) only if, the regions are
         equal up to the requested symmetries, however they are cut into shapes; with slanted edges
         in the window, if those and the rectilinear region are the same, without symmetries

A rectangle adds f(x_min, y_min) - f(x_max, y_min) - f(x_min, y_max) + f(x_max, y_max), where f
hashes a place to 128 bits. Where two rectangles meet, the terms at shared corners cancel:
the sum is over the corners of the region. The least sum over the symmetries is taken. Where
any-angle polygons reach into a window, the picture depends on their edges in it
(`stages.geometry.polygons.outlines`) and on the rectilinear region: both are signed unturned.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from stages.compiled import kernel
from stages.contracts import Int64s, Shapes
from stages.geometry.polygons.outlines import Outlines, find_edges_in_window, index_outlines
from stages.geometry.symmetry import SYMMETRIES
from stages.geometry.windows import bin_rects, find_rects_in_window, merge_in_windows

UInt64s = npt.NDArray[np.uint64]

SEEDS = np.array([0x9E3779B97F4A7C15, 0xD1B54A32D192ED03], np.uint64)
"""One for each half of f: any two odd numbers."""


def compute_signatures(
    shapes: Sequence[Shapes], left: Int64s, bottom: Int64s, size_dbu: int, symmetries: int
) -> UInt64s:
    """Return the signature of each window, (n, 2) uint64; parameters as `sign_windows`."""
    return sign_windows(shapes, left, bottom, size_dbu, symmetries)[0]


def sign_windows(
    shapes: Sequence[Shapes], left: Int64s, bottom: Int64s, size_dbu: int, symmetries: int
) -> tuple[UInt64s, Int64s]:
    """Return the signature of each window, and the symmetry that turns it to the common form.

    Parameters
    ----------
    shapes : sequence of Shapes
        One per layer: everything that overlaps any window.
    left, bottom : (n,) int64
        Lower left corners of the windows.
    size_dbu : int
        Side of a window.
    symmetries : {8, 4, 1}
        How many symmetries the process allows.

    Returns
    -------
    signatures : (n, 2) uint64
    symmetry : (n,) int64
        See `SYMMETRIES`: windows of one signature, each turned by its own, hold equal regions.
    """
    layers = [merge_in_windows(layer, left, bottom, size_dbu) for layer in shapes]
    return sign_merged(layers, left, bottom, size_dbu, symmetries)


def sign_merged(
    layers: Sequence[Shapes], left: Int64s, bottom: Int64s, size_dbu: int, symmetries: int
) -> tuple[UInt64s, Int64s]:
    """Do as `sign_windows`, with shapes that `merge_in_windows` has returned."""
    allowed = SYMMETRIES[symmetries]
    sums = np.zeros((len(left), len(allowed), 2), np.uint64)
    slanted = np.zeros((len(left), 2), np.uint64)
    for number, layer in enumerate(layers):
        _sign_rects(layer.rects, left, bottom, size_dbu, number, allowed, sums)
        outlines = index_outlines(layer, left, bottom, size_dbu)
        if outlines is not None:
            _sign_outlines(outlines, left, bottom, size_dbu, number, slanted)
    reached = slanted.any(axis=1)
    # An equal first half means an equal signature.
    least = np.where(reached, 0, np.argmin(sums[:, :, 0], axis=1))
    signed = sums[np.arange(len(sums)), least]
    signed[reached] += slanted[reached]
    return signed, allowed[least]


@kernel
def _scatter(value: np.uint64, half: int) -> np.uint64:
    """Return one half of f, a bijection: the finaliser of splitmix64 (S. Vigna, 2015)."""
    value = (value + np.uint64(1)) * SEEDS[half]
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@kernel
def _sign_corner(x: int, y: int, layer: int, half: int) -> np.uint64:
    """Return one half of f at a place less than 2**28 dbu from the window's corner."""
    place = (np.uint64(layer) << np.uint64(56)) | (np.uint64(x) << np.uint64(28)) | np.uint64(y)
    return _scatter(place, half)


@kernel
def sign_rect(rect: Int64s, size_dbu: int, layer: int, symmetries: Int64s, sums: UInt64s) -> None:
    """Add a rectangle, in dbu from the corner of its window, to (s, 2) `sums`."""
    for s in range(symmetries.shape[0]):
        x_0, y_0, x_1, y_1 = rect[0], rect[1], rect[2], rect[3]
        if symmetries[s] & 1:
            x_0, x_1 = size_dbu - x_1, size_dbu - x_0
        if symmetries[s] & 2:
            y_0, y_1 = size_dbu - y_1, size_dbu - y_0
        if symmetries[s] & 4:
            x_0, y_0, x_1, y_1 = y_0, x_0, y_1, x_1
        for half in range(2):
            sums[s, half] += (
                _sign_corner(x_0, y_0, layer, half) - _sign_corner(x_1, y_0, layer, half)
                - _sign_corner(x_0, y_1, layer, half) + _sign_corner(x_1, y_1, layer, half)
            )  # fmt: skip


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
    """Add the disjoint `rects` of a layer in each window to (n, s, 2) `sums`."""
    bins, local = bin_rects(rects, size_dbu), np.empty((64, 4), np.int64)
    for n in range(left.shape[0]):
        local, count = find_rects_in_window(rects, bins, size_dbu, left[n], bottom[n], local)
        for i in range(count):
            sign_rect(local[i], size_dbu, layer, symmetries, sums[n])


@kernel
def _sign_outlines(
    outlines: Outlines, left: Int64s, bottom: Int64s, size_dbu: int, layer: int, sums: UInt64s
) -> None:
    """Add the polygons of a layer in each window to (n, 2) `sums`; adds 0 if there are none."""
    edges = np.empty((256, 6), np.int64)
    for n in range(left.shape[0]):
        edges, count, _ = find_edges_in_window(outlines, size_dbu, left[n], bottom[n], edges)
        for half in range(2):
            polygon = np.uint64(0)  # a sum, so the order of its edges does not matter
            for i in range(count):
                edge = np.uint64(layer)
                for column in range(5):
                    edge = _scatter(edge ^ np.uint64(edges[i, column]), half)
                polygon += edge
                if i + 1 == count or edges[i + 1, 5] != edges[i, 5]:
                    sums[n, half] += _scatter(polygon, half)
                    polygon = np.uint64(0)
