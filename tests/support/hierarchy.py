"""A library of turned, mirrored and repeated cells, and its shapes written out by hand."""

from __future__ import annotations

import gdstk
import numpy as np

from stages.contracts import Int64s
from stages.geometry.owners import Chain

QUARTER, MIRROR = np.array([[0, -1], [1, 0]]), np.array([[1, 0], [0, -1]])
MATRICES = [
    np.linalg.matrix_power(QUARTER, turn & 3) @ (MIRROR if turn & 4 else np.eye(2, dtype=int))
    for turn in range(8)
]


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
