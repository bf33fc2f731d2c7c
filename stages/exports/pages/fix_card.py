"""The fixes of a scan as the page shows them: a card per class that is mended, a row per reason.

in       shapes and contours before and after
out      `FixSummary`; the paths of the two pictures
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shapely.geometry.base import BaseGeometry

from stages.contracts import Box, Defect
from stages.exports.pages.pictures import draw_within, to_picture

SIDE = 100.0
"""Side of the pictures, in their own units."""


@dataclass(frozen=True, slots=True, eq=False)
class FixPicture:
    """What lies in a window, before or after a fix."""

    drawn: Sequence[BaseGeometry]
    changed: Sequence[BaseGeometry]
    """Of before what is taken away, of after what is added."""
    printed: Sequence[BaseGeometry]
    """Contours at the corner of the defect."""

    def draw(self, window: Box) -> dict[str, str]:
        """Return the paths."""
        named = {"drawn": self.drawn, "changed": self.changed, "printed": self.printed}
        return {name: draw_within(shapes, window, SIDE) for name, shapes in named.items()}


@dataclass(frozen=True, slots=True, eq=False)
class FixCard:
    """What the page shows of a class that is mended."""

    class_id: int
    hotspot: int
    """Id of the hotspot that is drawn."""
    defect: Defect
    """Its worst defect."""
    moves: Sequence[str]
    """In words."""
    cell: str
    """The cell that is changed once for all its placements; empty where only this place is."""
    placements: int
    fixed: int
    """Hotspots of the class that are mended."""
    failing: int
    """Hotspots of the class that fail."""
    window: Box
    before: FixPicture
    after: FixPicture

    @property
    def pictures(self) -> dict[str, dict[str, str]]:
        """The paths of both pictures."""
        return {"before": self.before.draw(self.window), "after": self.after.draw(self.window)}

    @property
    def defect_at(self) -> tuple[float, float]:
        """Where the defect is, in units of the pictures."""
        return to_picture(self.defect.x_dbu, self.defect.y_dbu, self.window, SIDE)


@dataclass(frozen=True, slots=True)
class NotFixed:
    """What could not be mended for one reason."""

    reason: str
    hotspots: int
    classes: int


@dataclass(frozen=True, slots=True, eq=False)
class FixSummary:
    """The fixes of a scan."""

    fixed: int
    """Hotspots that are mended."""
    failing: int
    """Hotspots that fail."""
    classes: int
    """Classes of which a hotspot is mended."""
    cells: int
    """Cells that are changed for all their placements."""
    cards: Sequence[FixCard]
    """Of the largest of those classes."""
    not_fixed: Sequence[NotFixed]
    """Most hotspots first."""
