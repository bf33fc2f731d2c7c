"""A layout with changes of some of its cells, and of some placements of cells.

in       a gdstk library, changes of cells, changes of placed cells
out      the same library, changed
unit     a layout
promise  only the layer that is changed changes; a cell of which one placement is changed becomes a
         variant there, and so does every cell above it that is placed more than once

Only gdstk knows how to encode a library; the caller reads and writes it.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from pathlib import Path
from typing import Any

import gdstk
import numpy as np

from stages.contracts import Layer
from stages.fixes.members import PlacedChange
from stages.fixes.moves import Change
from stages.geometry.owners import Node
from stages.geometry.window_query import TURN_PRODUCTS, turn_box_back
from stages.layout.oasis.grammar import MAGIC

_INVERSE = [next(b for b in range(8) if TURN_PRODUCTS[a, b] == 0) for a in range(8)]


def read_library(path: Path) -> Any:
    """Return a GDSII or OASIS file, which was checked before, as a ``gdstk.Library``."""
    with path.open("rb") as file:
        oasis = file.read(len(MAGIC)) == MAGIC
    return gdstk.read_oas(str(path)) if oasis else gdstk.read_gds(str(path))


class LayoutEdit:
    """A library whose cells are changed one by one.

    Parameters
    ----------
    library
        A ``gdstk.Library``, which is changed in place.
    layer
        The layer that changes.
    """

    def __init__(self, library: Any, layer: Layer) -> None:
        self.library, self.layer = library, layer
        self._cells = {cell.name: cell for cell in library.cells}
        self._scale = library.precision / library.unit  # a dbu, in user units
        self._uses: Counter[str] = Counter()
        for cell in library.cells:
            self._count_references(cell)
        self._variants = 0

    def _count_references(self, cell: Any) -> None:
        """Add the cells that a cell places to what is placed how often."""
        for reference in cell.references:
            self._uses[str(reference.cell_name)] += len(_list_offsets(reference))

    def change_cell(self, name: str, change: Change) -> None:
        """Change the shapes of a cell."""
        cell, precision = self._cells[name], self._scale / 100
        touched = _list_touched(cell, self.layer, change, self._scale)
        removed, added = (
            [gdstk.rectangle(*_to_corners(rect, self._scale)) for rect in rects]
            for rects in (change.removed, change.added)
        )
        pair = self.layer.layer, self.layer.datatype
        left = gdstk.boolean(touched, removed, "not", precision, *pair)
        cell.add(*gdstk.boolean(left, added, "or", precision, *pair))

    def change_placement(self, placed: PlacedChange) -> bool:
        """Change one placement of a cell; return whether it was found."""
        name = placed.chain[0][0]
        for above, below in itertools.pairwise(placed.chain):
            parent = self._cells[name]
            reference = self._find_reference(parent, above, below)
            if reference is None:
                return False
            name = self._single_out(reference)
        self.change_cell(name, placed.change)
        return True

    def _find_reference(self, parent: Any, above: Node, below: Node) -> Any:
        """Return the reference of a placed cell in its parent, an array's member on its own."""
        box = np.array([below[2], below[3], below[2], below[3]])
        x, y = turn_box_back(box, *above[1:])[:2].tolist()
        turn = int(TURN_PRODUCTS[_INVERSE[above[1]], below[1]])
        for reference in parent.references:
            name = reference.cell_name
            if (_name_original(name) == below[0] and _find_turn(reference) == turn
                    and self._places_at(reference, x, y)):  # fmt: skip
                return self._take_out(parent, reference, x, y)
        return None

    def _places_at(self, reference: Any, x: int, y: int) -> bool:
        offsets = _list_offsets(reference)
        at = np.round((np.array(reference.origin) + offsets) / self._scale).astype(np.int64)
        return bool((at == (x, y)).all(axis=1).any())

    def _take_out(self, parent: Any, reference: Any, x: int, y: int) -> Any:
        """Return the member of an array as a reference of its own."""
        if len(_list_offsets(reference)) == 1:
            return reference
        members = [reference, *reference.apply_repetition()]
        parent.add(*members[1:])
        return next(each for each in members if self._places_at(each, x, y))

    def _single_out(self, reference: Any) -> str:
        """Return the cell of a reference, made a variant if it is placed elsewhere as well."""
        name = str(reference.cell_name)
        if self._uses[name] == 1:
            return name
        self._variants += 1
        fresh = f"{_name_original(name)}{_VARIANT}{self._variants}"
        variant = self._cells[name].copy(fresh, deep_copy=True)
        self._cells[fresh] = variant
        self.library.add(variant)
        reference.cell = variant
        self._uses[name] -= 1
        self._uses[fresh] = 1
        self._count_references(variant)
        return fresh


_VARIANT = "$fixed"


def _name_original(name: str) -> str:
    """Return the name of the cell that a variant was made of."""
    return name.split(_VARIANT)[0]


def _to_corners(
    rect: tuple[int, int, int, int], scale: float
) -> tuple[tuple[float, float], tuple[float, float]]:
    x_0, y_0, x_1, y_1 = (value * scale for value in rect)
    return (x_0, y_0), (x_1, y_1)


def _list_offsets(reference: Any) -> Any:
    offsets = np.array(reference.repetition.get_offsets()).reshape(-1, 2)
    return offsets if len(offsets) else np.zeros((1, 2))


def _find_turn(reference: Any) -> int:
    """Return the turn of a reference as `PackedLayer.inst_turn`; -1 where it is none of them."""
    if not math.isclose(reference.magnification, 1):
        return -1
    quarters = reference.rotation / (math.pi / 2)
    if not math.isclose(quarters, round(quarters), abs_tol=1e-6):
        return -1
    return int(round(quarters) % 4 + 4 * bool(reference.x_reflection))


def _list_touched(cell: Any, layer: Layer, change: Change, scale: float) -> list[Any]:
    """Take the shapes of a layer that a change touches out of a cell, and return them."""
    box = np.array(change.box.as_tuple()) * scale
    low, high = box[:2], box[2:]
    pair = layer.layer, layer.datatype
    for path in list(cell.paths):
        shapes = path.to_polygons()
        if any(_is_near(each, pair, low, high) for each in shapes):
            cell.remove(path)
            cell.add(*shapes)
    found = [polygon for polygon in cell.polygons if _is_near(polygon, pair, low, high)]
    cell.remove(*found)
    return found


def _is_near(polygon: Any, pair: tuple[int, int], low: Any, high: Any) -> bool:
    """Return whether a polygon is of a layer, and its box and another touch."""
    if (polygon.layer, polygon.datatype) != pair:
        return False
    least, most = polygon.bounding_box()
    return bool((np.array(least) <= high).all() and (np.array(most) >= low).all())
