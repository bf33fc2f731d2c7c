"""What stages say of classes of hotspots, and of the cells at fault.

Values like those of `stages.contracts`: frozen and slotted, lengths in dbu unless the name says
otherwise, whole or half.
"""

from __future__ import annotations

from dataclasses import dataclass

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
