"""The cell at fault is the one that writing out the whole hierarchy finds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import gdstk
import numpy as np
import pytest

from stages.cells import count_cells, find_owners
from stages.contracts import Int64s, Layer, PackedLayout
from stages.findings import BETWEEN, CELL, NOTHING, ROUTING, Owner
from stages.geometry.owners import Chain, Node
from stages.layout.builder import pack_layout
from tests.support.hierarchy import MATRICES, list_shapes, make_library

MET1 = Layer(68, 20)
TURNS = {"r0": 0, "r90": 1, "r180": 2, "r270": 3, "m0": 4, "m45": 5, "m90": 6, "m135": 7}


def overlaps(points: Int64s, window: list[int]) -> bool:
    """Return whether a polygon and a window share an area."""
    x0, y0, x1, y1 = window
    frame = gdstk.rectangle((x0, y0), (x1, y1))
    return bool(gdstk.boolean(gdstk.Polygon(points), frame, "and", precision=1e-6))


def name_flat(shapes: list[tuple[Int64s, Chain]], window: list[int]) -> Owner:
    """Return the owner by comparing all chains, component by component."""
    chains = {chain for points, chain in shapes if overlaps(points, window)}
    if not chains:
        return Owner(NOTHING, "", "")
    depth = 0
    while all(len(c) > depth for c in chains) and len({c[depth] for c in chains}) == 1:
        depth += 1
    names = {turn: name for name, turn in TURNS.items()}

    def texts(nodes: Sequence[Node]) -> list[str]:
        return [f"{n}({x / 1000:.12g},{y / 1000:.12g},{names[t]})" for n, t, x, y in nodes]

    shared = next(iter(chains))[:depth]
    path = texts(shared[1:])
    if shared in chains:
        kind = CELL if shared[-1][0] in ("leaf", "pad") else ROUTING
        return Owner(kind, shared[-1][0], "/".join(path))
    inside = sorted({chain[depth] for chain in chains})
    path.append(" + ".join(texts(inside)))
    return Owner(BETWEEN, " + ".join(node[0] for node in inside), "/".join(path))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cells") / "cells.gds"
    make_library().write_gds(path)
    return path


@pytest.fixture(scope="module")
def packed(source: Path) -> PackedLayout:
    return pack_layout(source, (MET1,), "top")


def draw_windows(count: int) -> Int64s:
    random = np.random.default_rng(7)
    low = random.integers((-1500, -2600), (14000, 8000), (count, 2))
    return np.concatenate((low, low + random.integers(20, 900, (count, 2))), axis=1)


def test_owners_are_those_of_the_flat_layout(packed: PackedLayout, source: Path) -> None:
    (top,) = gdstk.read_gds(source).top_level()
    shapes = list_shapes(top, MATRICES[0], 0, 0, ())
    windows = draw_windows(400)
    owners = list(find_owners(packed, windows))
    assert owners == [name_flat(shapes, window) for window in windows.tolist()]
    assert {owner.kind for owner in owners} == {CELL, BETWEEN, ROUTING, NOTHING}


def test_a_cell_is_told_once_with_its_placements(packed: PackedLayout) -> None:
    """The blocks place ``pair`` 7 times each, and so ``leaf`` 7 + 6 times; the top has 2 blocks."""
    owners = list(find_owners(packed, draw_windows(400)))
    rows = count_cells(packed, owners)
    by_cell = {(row.kind, row.cell): row for row in rows}
    leaf = by_cell[CELL, "leaf"]
    assert leaf.placements == 26
    assert by_cell[CELL, "pad"].placements == 14
    assert leaf.affected == len({o.path for o in owners if (o.kind, o.cell) == (CELL, "leaf")})
    assert sum(row.hotspots for row in rows) == len(owners)
    assert [row.hotspots for row in rows] == sorted((row.hotspots for row in rows), reverse=True)


def test_two_layers_are_one_answer(packed: PackedLayout) -> None:
    """A second layer with the same shapes changes nothing."""
    windows = draw_windows(60)
    twice = replace(packed, packed=packed.packed * 2, cells=packed.cells * 2)
    assert list(find_owners(twice, windows)) == list(find_owners(packed, windows))
