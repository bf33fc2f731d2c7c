"""What stages say of classes of hotspots, of the cells at fault, and of what prints.

Values like those of `stages.contracts`: frozen and slotted, lengths in dbu unless the name says
otherwise, whole or half.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from shapely import Polygon

from stages.contracts import Floats, Int64s

Bools = npt.NDArray[np.bool_]

CELL, BETWEEN, ROUTING, NOTHING = "cell", "between", "routing", "nothing"
"""Kinds of owners: one placed cell, what lies between several, the wiring of a cell that places
others, and none: no shape is there."""


@dataclass(frozen=True, slots=True)
class Owner:
    """The cell at fault."""

    kind: str
    """`CELL`, `BETWEEN`, `ROUTING` or `NOTHING`."""
    cell: str
    """Its name; of `BETWEEN` the names of the cells, sorted, with " + " between."""
    path: str
    """The placed cells from below the top cell down to it, with place in um and turn."""


@dataclass(frozen=True, slots=True)
class CellCount:
    """The hotspots of one cell."""

    kind: str
    cell: str
    hotspots: int
    affected: int
    """Placements with a hotspot."""
    placements: int
    """Placements below the top cell; 0 where that means nothing: between cells."""
    first: int
    """Index of the first of its hotspots."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Where a hotspot fails, its class, and the cell at fault."""

    id: int
    """The hotspot's."""
    class_id: int
    """1 has the most hotspots."""
    place_x_dbu: float
    """Whole or half."""
    place_y_dbu: float
    feature: str
    """What is there, see `stages.classes.places.FEATURES`."""
    measured_dbu: float
    """Its distance or width; 0 for a corner, a centre or a defect."""
    moved_dbu: float | None
    """Furthest that an edge is moved from the representative's; None where areas are compared."""
    differs: float | None
    """Share of the window that differs from the representative's; None where edges are compared."""
    cell_kind: str
    """See `stages.cells.Owner`."""
    cell: str
    cell_path: str
    surroundings: int
    """Number of the distinct pattern that was compared."""
    symmetry: int
    """Turns the surroundings of the place to that pattern."""
    turn: int
    """Turns the representative's pattern as this one lies."""
    move_x_dbu: float
    """Moves this pattern onto the turned one of the representative."""
    move_y_dbu: float


@dataclass(frozen=True, slots=True)
class HotspotClass:
    """One class."""

    id: int
    """1 has the most hotspots."""
    representative: int
    """Id of the hotspot that every member matches."""
    hotspots: int
    patterns: int
    """Distinct patterns among them."""
    kind: str
    """Most frequent kind of defect in simulation; else what is at the place."""
    worst_score: float
    median_score: float
    fails: int | None
    """Hotspots that fail in simulation; None where none was simulated."""
    worst_severity: float | None
    """None where nothing fails."""
    median_severity: float | None
    moved_dbu: float | None
    """Furthest edge move of any member."""
    differs: float | None
    """Largest share that differs of any member."""
    cells: int
    """Distinct cells at fault."""
    cell: str
    """The most frequent of them."""


SIMULATION, MARGIN, SCORE = "simulation", "predicted margin", "score"
"""What a level is by."""


@dataclass(frozen=True, slots=True)
class Review:
    """What a reader is to do about a hotspot."""

    level: int | None
    """1 is the worst, 3 the least; None where nothing fails in simulation."""
    level_by: str
    """`SIMULATION`; where there is no verdict `MARGIN`, or `SCORE` if the model predicts none."""
    waiver: str = ""
    """Ids of the waivers that cover it, with blanks between; empty where it is not waived."""
    reason: str = ""
    """Why it was waived."""

    @property
    def is_open(self) -> bool:
        """Whether it is to be looked at: it has a level, and is not waived."""
        return self.level is not None and not self.waiver


@dataclass(frozen=True, slots=True)
class ClassReview:
    """The reviews of the hotspots of a class."""

    level: int | None
    """The worst of those that are not waived; None where there is none."""
    waived: int = 0
    """Hotspots that are waived."""


@dataclass(frozen=True, slots=True, eq=False)
class Failures:
    """The places where hotspots fail, or may fail where they were not simulated; a row each."""

    hotspot: Int64s
    """(n,) ids, rising."""
    place: Int64s
    """(n, 2) in half dbu."""
    key: Sequence[str]
    """Of the exact geometry within the radius of a class around the place, up to symmetry."""
    kind: Sequence[str]
    """Kind of the defect; empty where it was not simulated."""
    severity: Floats
    """(n,) of the defect; 0 where it was not simulated."""
    main: Bools
    """(n,) whether it is of the worst defect, or the best clip, of its hotspot."""

    def __len__(self) -> int:
        return len(self.key)

    def select(self, hotspots: Iterable[int]) -> Failures:
        """Return the rows of some hotspots."""
        rows = np.flatnonzero(np.isin(self.hotspot, list(hotspots)))
        listed = rows.tolist()
        return Failures(
            self.hotspot[rows], self.place[rows], [self.key[row] for row in listed],
            [self.kind[row] for row in listed], self.severity[rows], self.main[rows],
        )  # fmt: skip

    def list_hotspots(self) -> Iterator[tuple[int, range]]:
        """Yield each hotspot with its rows."""
        start = 0
        ids = self.hotspot.tolist()
        for at in range(1, len(ids) + 1):
            if at == len(ids) or ids[at] != ids[start]:
                yield ids[start], range(start, at)
                start = at


@dataclass(frozen=True, slots=True, eq=False)
class Prints:
    """The print of a window, as polygons in dbu."""

    by_corner: Mapping[str, Sequence[Polygon]]
    """Name of each corner of the process window to the contours there."""
    band: Sequence[Polygon]
    """The process variation band: what prints at some corners and not at others."""
