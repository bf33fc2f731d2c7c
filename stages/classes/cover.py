"""Cover the distinct patterns with few representatives.

in       patterns, how often each occurs, the tolerance
out      for each pattern its representative, and how it matches
unit     all distinct patterns of a scan
promise  each pattern matches its representative within the tolerance; the result depends on
         geometry and counts alone, not on the order of the patterns

Greedy: the most frequent pattern, of equals that of the lowest signature, is a representative and
takes every pattern left that matches it; then the next one that is left.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy

from stages.classes.features import compute_depths, compute_shares
from stages.classes.matching import NO_MATCH, match_patterns
from stages.classes.patterns import Patterns, UInt64s, turn_rects
from stages.contracts import Int64s
from stages.geometry.symmetry import SYMMETRIES


@dataclass(frozen=True, slots=True)
class Tolerance:
    """What belongs to one class; lengths in half dbu."""

    half: int
    """Half the side of the window that is compared."""
    edge: int
    """Furthest that an edge may move."""
    move: int
    """Furthest that a pattern may be moved before it is compared."""
    area_share: float | None = None
    """Least share of the window that must agree; in place of the limit on edges."""
    symmetries: int = 8
    """How many symmetries the process allows."""

    @property
    def reach(self) -> int:
        """Half the side of the patterns: the window, what is just outside it, and the move."""
        return self.half + self.edge + self.move

    @property
    def step(self) -> int:
        """Height of the slabs that any-angle polygons are cut into."""
        return max(self.edge // 2, 2)

    @property
    def limit(self) -> int:
        """The limit of a match: a distance, or an area."""
        if self.area_share is None:
            return self.edge
        return int((1 - self.area_share) * (2 * self.half) ** 2)


@dataclass(frozen=True, slots=True, eq=False)
class Cover:
    """How patterns are covered by representatives."""

    representative: Int64s
    """(n,) index of each pattern's representative."""
    distance: Int64s
    """(n,) from its representative: half dbu, or half dbu squared by area."""
    turn: Int64s
    """(n,) symmetry that turns the representative as the pattern lies."""
    move: Int64s
    """(n, 2) how far the pattern is moved onto it, in half dbu."""


def cover_patterns(
    patterns: Patterns, count: Int64s, signature: UInt64s, tolerance: Tolerance
) -> Cover:
    """Find representatives of patterns.

    Parameters
    ----------
    patterns : Patterns
        At least one.
    count : (n,) int64
        How many hotspots have each pattern.
    signature : (n, 2) uint64
    """
    n, parts = len(patterns), 2 * patterns.layers
    cover = Cover(
        np.full(n, -1), np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros((n, 2), np.int64)
    )
    by_area = tolerance.area_share is not None
    if by_area:
        features = compute_shares(patterns, tolerance.half)
        # What is moved into a square of the window, or out, is at most its two sides.
        radius = tolerance.limit + 4 * tolerance.half * tolerance.move
    else:
        features = compute_depths(patterns, tolerance.half, tolerance.edge)
        radius = 2 * tolerance.edge + tolerance.move
    tree = scipy.spatial.cKDTree(features.astype(np.float64))
    allowed = SYMMETRIES[tolerance.symmetries]
    for first in np.lexsort((signature[:, 1], signature[:, 0], -count)).tolist():
        if cover.representative[first] >= 0:
            continue
        near = np.array(tree.query_ball_point(features[first], radius + 0.5, p=np.inf), np.int64)
        near = np.sort(near[cover.representative[near] < 0])
        turned = [
            turn_rects(part, turn) for turn in allowed.tolist() for part in patterns.get(first)
        ]
        start = np.concatenate(([0], np.cumsum([len(part) for part in turned], dtype=np.int64)))
        found = match_patterns(
            np.concatenate(turned), start, patterns.rects, patterns.start, near, parts,
            tolerance.half, tolerance.limit, tolerance.move, by_area,
        )  # fmt: skip
        matches = found[:, 0] != NO_MATCH
        members = near[matches]
        cover.representative[members] = first
        cover.distance[members] = found[matches, 0]
        cover.turn[members] = allowed[found[matches, 1]]
        cover.move[members] = found[matches, 2:]
    return cover
