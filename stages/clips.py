"""Sampling: the clips to score.

in       the shapes of each layer around a tile, the tile, the limits of sampling
out      `Clips`: centres, and the rule that proposed each, by y, then x
unit     a tile
promise  which clips there are depends on the geometry alone, not on the tiles

``grid`` takes every core of a lattice anchored at the layout's origin: it is exhaustive. ``sites``
takes the places that a rule check flags and centres the clip on the geometry found there, so that
the same local pattern gives the same raster wherever it is placed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stages.contracts import Box, Clips, Int64s, Shapes
from stages.errors import ConfigError
from stages.geometry.coverage import compute_pixel_areas
from stages.geometry.sites import THINNING_ROUNDS, find_sites, thin_sites
from stages.geometry.union import merge
from stages.geometry.window_query import split_polygons

RULES = ("grid", "space", "width", "tip_to_tip", "line_end_to_side", "angle")
"""The rules that propose clips; `Clips.rule` is an index into these."""

GRID, ANGLE = 0, 5


@dataclass(frozen=True, slots=True)
class SamplingLimits:
    """Limits of the rule checks of ``sites``, in dbu; a distance equal to its limit counts."""

    space: int
    """Between two sides that face each other."""
    width: int
    """Of a wire, where a wider part or a branch begins or ends."""
    tip_to_tip: int
    """Between two line ends."""
    line_end_to_side: int
    """Between a line end and a side."""
    line_end: int
    """The longest edge that counts as a line end."""

    def __post_init__(self) -> None:
        for name in ("space", "width", "tip_to_tip", "line_end_to_side", "line_end"):
            if getattr(self, name) < 0:
                raise ConfigError(f"clips.{name} is {getattr(self, name)} dbu; give 0 or more")

    def as_array(self) -> Int64s:
        """Return the limits in the order that the kernel takes them."""
        return np.array(
            [self.space, self.width, self.tip_to_tip, self.line_end_to_side, self.line_end],
            np.int64,
        )


def compute_halo_dbu(core_dbu: int, limits: SamplingLimits | None) -> int:
    """Return how far around a tile sampling needs the geometry.

    Drawing the clips needs half a clip around each centre as well.
    """
    if limits is None:
        return core_dbu
    return (
        2 * THINNING_ROUNDS * _compute_cover_dbu(core_dbu) + int(limits.as_array().max()) + core_dbu
    )


def place_grid_clips(tile: Box, area: Box, core_dbu: int, stride_dbu: int) -> Clips:
    """Return the clip of every lattice core that overlaps `area` and is centred in `tile`.

    Parameters
    ----------
    tile, area : Box
        The part of the layout that the tile owns, and the area to scan, in dbu.
    core_dbu, stride_dbu : int
        Side of a core, step of the lattice (at most one core).
    """
    half = core_dbu // 2
    columns = _place_centres(tile.x_min, tile.x_max, area.x_min, area.x_max, half, stride_dbu)
    rows = _place_centres(tile.y_min, tile.y_max, area.y_min, area.y_max, half, stride_dbu)
    y, x = (axis.ravel() for axis in np.meshgrid(rows, columns, indexing="ij"))
    return Clips(x, y, np.full(len(x), GRID, np.uint8))


def _place_centres(low: int, high: int, first: int, last: int, half: int, stride: int) -> Int64s:
    """Return the centres ``half + i * stride`` in [low, high) whose core overlaps [first, last)."""
    low, high = max(low, first - half + 1), min(high, last + half)
    return np.arange(-(-(low - half) // stride), -(-(high - half) // stride)) * stride + half


def place_site_clips(
    shapes: Sequence[Shapes], tile: Box, area: Box, core_dbu: int, limits: SamplingLimits
) -> Clips:
    """Return the clips at the sites of any of the layers, centred in `tile` and `area`.

    The rules do not apply to polygons that are not rectilinear: every lattice core that their
    box overlaps is taken, so that none is missed.

    Parameters
    ----------
    shapes : sequence of Shapes
        One per layer, everything within `halo_dbu` of the tile.
    tile, area : Box
        The part of the layout that the tile owns, and the area to scan.
    core_dbu : int
        Side of a core.
    limits : SamplingLimits
    """
    spacing = core_dbu // 4
    found = [find_sites(layer.rects, limits.as_array(), spacing) for layer in shapes]
    sites = thin_sites(np.concatenate(found), _compute_cover_dbu(core_dbu))
    x, y, rule = sites[:, 0], sites[:, 1], sites[:, 2].astype(np.uint8)
    angled = _place_angled_clips(shapes, tile, area, core_dbu)
    x, y = np.concatenate((x, angled.x_dbu)), np.concatenate((y, angled.y_dbu))
    rule = np.concatenate((rule, angled.rule))
    # A lattice core may reach into the area from a centre outside it; a site may not.
    owned = find_inside(x, y, tile) & ((rule == ANGLE) | find_inside(x, y, area))
    x, y, rule = x[owned], y[owned], rule[owned]
    order = np.lexsort((rule, x, y))
    x, y, rule = x[order], y[order], rule[order]
    # A lattice core may be centred on a site: that is one clip, of the site's rule.
    first = np.ones(len(x), bool)
    first[1:] = (x[1:] != x[:-1]) | (y[1:] != y[:-1])
    return Clips(x[first], y[first], rule[first])


def _compute_cover_dbu(core_dbu: int) -> int:
    """Return how far a clip's centre may be from a site that it covers.

    An eighth of the core is left as a margin: a defect lies beside the place that a rule flags.
    """
    return core_dbu // 2 - core_dbu // 8


def _place_angled_clips(shapes: Sequence[Shapes], tile: Box, area: Box, core_dbu: int) -> Clips:
    lattice = place_grid_clips(tile, area, core_dbu, core_dbu)
    taken = np.zeros(len(lattice), bool)
    half = core_dbu // 2
    for layer in shapes:
        for corners in split_polygons(layer):
            (x_min, y_min), (x_max, y_max) = corners.min(axis=0), corners.max(axis=0)
            taken |= (
                (lattice.x_dbu + half > x_min)
                & (lattice.x_dbu - half < x_max)
                & (lattice.y_dbu + half > y_min)
                & (lattice.y_dbu - half < y_max)
            )
    x, y = lattice.x_dbu[taken], lattice.y_dbu[taken]
    return Clips(x, y, np.full(len(x), ANGLE, np.uint8))


def drop_excluded(clips: Clips, excluded: Sequence[Shapes], core_dbu: int) -> Clips:
    """Drop the clips whose whole core lies under the rectilinear shapes of `excluded`."""
    if not excluded:
        return clips
    cores = merge(np.concatenate([layer.rects for layer in excluded]))
    half = core_dbu // 2
    kept = np.array(
        [
            compute_pixel_areas(cores, x - half, y - half, core_dbu, 1, 1)[0, 0]
            < core_dbu * core_dbu
            for x, y in zip(clips.x_dbu.tolist(), clips.y_dbu.tolist(), strict=True)
        ],
        bool,
    )
    return clips.select(kept)


def find_inside(x_dbu: Int64s, y_dbu: Int64s, box: Box) -> npt.NDArray[np.bool_]:
    """Find the places that lie in the half-open `box`, (n,) bool."""
    return np.asarray(
        (x_dbu >= box.x_min) & (x_dbu < box.x_max) & (y_dbu >= box.y_min) & (y_dbu < box.y_max)
    )
