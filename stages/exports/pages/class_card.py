"""The card of a class of hotspots.

in       the representative's geometry, the spread of the members' edges
out      `ClassCard`; the paths of its picture
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shapely.geometry.base import BaseGeometry

from stages.contracts import Box, Hotspot
from stages.exports.pages.pictures import draw_within
from stages.findings import ClassReview, Finding, HotspotClass

SIDE = 100.0
"""Side of the picture, in its own units."""


@dataclass(frozen=True, slots=True, eq=False)
class ClassCard:
    """What the page shows of a class."""

    row: HotspotClass
    review: ClassReview
    window: Box
    """The compared window, in half dbu from what fails."""
    drawn: Sequence[BaseGeometry]
    """By layer, the geometry of the representative."""
    spread: Sequence[BaseGeometry]
    """By layer, where some members have geometry and others have none."""
    feature: str
    """What is at the place of the representative."""
    measured_nm: float
    """Its distance or width; 0 where it has none."""
    moved_nm: float | None
    """Furthest edge move of any member."""
    cells: Sequence[tuple[tuple[str, str], int]]
    """Kind and name of the most frequent cells at fault, and their hotspots."""
    listed: Sequence[tuple[Hotspot, Finding]]
    """The worst of its hotspots."""
    fix: str = ""
    """What mends it, and how many of its hotspots; empty where no fixes were searched."""

    @property
    def paths(self) -> list[str]:
        """The path of the representative, by layer."""
        return [draw_within([each], self.window, SIDE) for each in self.drawn]

    @property
    def spread_paths(self) -> list[str]:
        """The path of the spread of edges, by layer."""
        return [draw_within([each], self.window, SIDE) for each in self.spread]
