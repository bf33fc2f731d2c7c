"""The cell at fault is the one that writing out the whole hierarchy finds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import gdstk
import numpy as np
import pytest

from stages.cells import Chain, Node, count_cells, find_owners
from stages.contracts import Int64s, Layer, PackedLayout
from stages.findings import BETWEEN, CELL, NOTHING, ROUTING, Owner
from stages.layout.builder import pack_layout

MET1 = Layer(68, 20)
TURNS = {"r0": 0, "r90": 1, "r180": 2, "r270": 3, "m0": 4, "m45": 5, "m90": 6, "m135": 7}


def make_library() -> gdstk.Library:
    """A block of turned, mirrored and repeated cells, with wires of its own and of its parent."""
    library = gdstk.Library(unit=1e-6, precision=1e-9)
    leaf, pad, pair, block, top = (
        library.new_cell(name) for name in ("leaf", "pad", "pair", "block", "top")
    )
    leaf.add(
        gdstk.rectangle((0, 0), (0.2, 1), layer=68, datatype=20),
        gdstk.rectangle((0.4, 0.3), (0.9, 0.5), layer=68, datatype=20),
        gdstk.rectangle((-5, -5), (5, 5), layer=1),  # another layer
    )
    pad.add(gdstk.Polygon([(0, 0), (0.6, 0.2), (0.3, 0.8)], layer=68, datatype=20))
    pair.add(gdstk.Reference(leaf, (0, 0)), gdstk.Reference(pad, (1.1, 0.4), np.pi / 2))
    block.add(
        gdstk.Reference(pair, (0, 0), x_reflection=True),
        gdstk.Reference(pair, (4, 0), np.pi, columns=3, rows=2, spacing=(1.7, 1.3)),
        gdstk.Reference(leaf, (0, 2), np.pi * 1.5, x_reflection=True, columns=2, rows=3,
                        spacing=(1.2, 0.95)),
        gdstk.rectangle((-0.5, 1.4), (5, 1.55), layer=68, datatype=20),
    )  # fmt: skip
    top.add(
        gdstk.Reference(block, (0, 0)),
        gdstk.Reference(block, (12, 1), np.pi / 2, x_reflection=True),
        gdstk.rectangle((-1, -2), (13, -1.9), layer=68, datatype=20),
    )
    return library


def list_shapes(
    cell: gdstk.Cell, matrix: Int64s, x: int, y: int, above: Chain
) -> list[tuple[Int64s, Chain]]:
    """Return every placed shape of the layer with the chain of cells that holds it, in dbu."""
    code = next(code for code, m in enumerate(MATRICES) if (m == matrix).all())
    chain = (*above, (cell.name, code, x, y))
    found = [
        (np.round(np.asarray(p.points) * 1000).astype(int) @ matrix.T + (x, y), chain)
        for p in cell.polygons
        if (p.layer, p.datatype) == (68, 20)
    ]
    for reference in cell.references:
        repeated = reference.repetition
        offsets = repeated.get_offsets() if repeated.size else [(0, 0)]
        inner = MATRICES[round(reference.rotation / (np.pi / 2)) % 4 + 4 * reference.x_reflection]
        for offset in offsets:
            at = np.round((np.asarray(reference.origin) + offset) * 1000).astype(int)
            u, v = (matrix @ at + (x, y)).tolist()
            found += list_shapes(reference.cell, matrix @ inner, u, v, chain)
    return found


QUARTER, MIRROR = np.array([[0, -1], [1, 0]]), np.array([[1, 0], [0, -1]])
MATRICES = [
    np.linalg.matrix_power(QUARTER, turn & 3) @ (MIRROR if turn & 4 else np.eye(2, dtype=int))
    for turn in range(8)
]


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
    owners = find_owners(packed, windows)
    assert owners == [name_flat(shapes, window) for window in windows.tolist()]
    assert {owner.kind for owner in owners} == {CELL, BETWEEN, ROUTING, NOTHING}


def test_a_cell_is_told_once_with_its_placements(packed: PackedLayout) -> None:
    """The blocks place ``pair`` 7 times each, and so ``leaf`` 7 + 6 times; the top has 2 blocks."""
    owners = find_owners(packed, draw_windows(400))
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
    assert find_owners(twice, windows) == find_owners(packed, windows)
