"""A layout with changes: flat, it is what the changes say, and nothing else moved."""

from __future__ import annotations

from pathlib import Path

import gdstk
import numpy as np
import pytest

from stages.contracts import Layer
from stages.exports.fixed_layout import LayoutEdit, read_library
from stages.fixes.members import PlacedChange
from stages.fixes.moves import Change
from stages.geometry.owners import Chain
from tests.support.hierarchy import list_shapes, make_library

MET1 = Layer(68, 20)
CHANGE = Change(removed=((0, 900, 200, 1000),), added=((200, 100, 230, 300),))
"""Of the leaf: its bar is cut at the top and widened at its side."""


def flatten(library: gdstk.Library) -> list[gdstk.Polygon]:
    return list(library.top_level()[0].get_polygons(layer=68, datatype=20))


def area_of(a: list[gdstk.Polygon], b: list[gdstk.Polygon], operation: str) -> float:
    return sum(polygon.area() for polygon in gdstk.boolean(a, b, operation, precision=1e-6))


def expect(chains: list[Chain]) -> list[gdstk.Polygon]:
    """The flat shapes, with those of some placed leaves changed."""
    top = make_library().top_level()[0]
    found = []
    for points, chain in list_shapes(top, np.eye(2, dtype=int), 0, 0, ()):
        shapes = [gdstk.Polygon(points / 1e3)]
        if chain in chains:
            placed = CHANGE.place(*chain[-1][1:])
            removed, added = ([gdstk.rectangle((a / 1e3, b / 1e3), (c / 1e3, d / 1e3))
                               for a, b, c, d in rects]
                              for rects in (placed.removed, placed.added))  # fmt: skip
            shapes = gdstk.boolean(gdstk.boolean(shapes, removed, "not"), added, "or")
        found += shapes
    return found


def list_leaves() -> list[Chain]:
    top = make_library().top_level()[0]
    chains = {chain for _, chain in list_shapes(top, np.eye(2, dtype=int), 0, 0, ())}
    return sorted(chain for chain in chains if chain[-1][0] == "leaf")


@pytest.mark.parametrize("at", [0, 3, 9, 17])
def test_one_placement_changes_alone(at: int) -> None:
    library, chain = make_library(), list_leaves()[at]
    assert LayoutEdit(library, MET1).change_placement(PlacedChange(chain, CHANGE))
    assert area_of(flatten(library), expect([chain]), "xor") == pytest.approx(0)
    assert area_of(flatten(library), flatten(make_library()), "xor") > 0.005


def test_several_placements_change_each_in_its_way() -> None:
    library = make_library()
    edit, chains = LayoutEdit(library, MET1), list_leaves()
    assert all(edit.change_placement(PlacedChange(chain, CHANGE)) for chain in chains)
    assert area_of(flatten(library), expect(chains), "xor") == pytest.approx(0)
    assert len(library.top_level()) == 1, "a cell is left that nothing places"


def test_a_cell_changes_in_all_its_placements() -> None:
    library = make_library()
    LayoutEdit(library, MET1).change_cell("leaf", CHANGE)
    assert area_of(flatten(library), expect(list_leaves()), "xor") == pytest.approx(0)
    others = [[p.points.tolist() for p in each.top_level()[0].get_polygons(layer=1, datatype=0)]
              for each in (library, make_library())]  # fmt: skip
    assert others[0] == others[1]


def test_a_placement_that_is_not_there_is_said() -> None:
    chain = list_leaves()[0]
    elsewhere = (*chain[:-1], ("leaf", 0, 12345, 6))
    assert not LayoutEdit(make_library(), MET1).change_placement(PlacedChange(elsewhere, CHANGE))


@pytest.mark.parametrize("suffix", ["gds", "oas"])
def test_both_formats_are_read(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"cells.{suffix}"
    getattr(make_library(), f"write_{suffix}")(file)
    assert area_of(flatten(read_library(file)), flatten(make_library()), "xor") == pytest.approx(0)
