"""Half-open boxes that cover the scanned area exactly once.

in       the area to scan, the size of a tile
out      tiles in scan order: rows upward, within a row to the right
promise  every point of the area lies in exactly one tile; tiles lie on a lattice anchored at the
         layout's origin, so that adding a shape moves none of them
"""

from __future__ import annotations

from dataclasses import dataclass

from stages.contracts import Box
from stages.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Tile:
    """One unit of the first pass over the geometry."""

    name: str
    """Row and column on the lattice, ``r0003_c0012``: the unit's name in the ledger."""
    box: Box
    """The part of the layout that the tile owns, in dbu; it is read with a halo."""


def cut_tiles(area: Box, size_dbu: int) -> tuple[Tile, ...]:
    """Cover `area` with tiles of side `size_dbu`; those at its border hang over it.

    Examples
    --------
    >>> [tile.name for tile in cut_tiles(Box(-5, 0, 25, 10), 20)]
    ['r0000_c-001', 'r0000_c0000', 'r0000_c0001']
    """
    if size_dbu < 1:
        raise ConfigError(f"a tile of {size_dbu} dbu holds nothing; make it at least 1 dbu")
    return tuple(
        Tile(
            f"r{row:04d}_c{column:04d}",
            Box(column * size_dbu, row * size_dbu, (column + 1) * size_dbu, (row + 1) * size_dbu),
        )
        for row in range(area.y_min // size_dbu, -(-area.y_max // size_dbu))
        for column in range(area.x_min // size_dbu, -(-area.x_max // size_dbu))
    )
