"""Cells at fault: which placed cell, pair of cells or wiring holds what fails.

in       packed layers with the names of their cells, windows around what fails
out      an `Owner` per window; `CellCount` rows, each cell told once
unit     a whole scan
promise  equal to what writing out the hierarchy says. References at odd angles or magnified were
         written out when the layout was packed: their shapes count as their parent's own

The owner is the lowest placed cell that alone holds all shapes in the window. Where these are of
several cells placed in it, and none of its own, it is what lies between those; where some are its
own and it places others, it is its wiring.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache, partial

import numpy as np

from stages.contracts import Int64s, PackedLayout
from stages.findings import BETWEEN, CELL, NOTHING, ROUTING, CellCount, Owner
from stages.geometry.owners import Chain, Frames, Node, count_placements, find_frames
from stages.lengths import to_um
from stages.rows import PART

TURN_NAMES = ("r0", "r90", "r180", "r270", "m0", "m45", "m90", "m135")
"""The turns of `PackedLayer.inst_turn`, as KLayout names them."""


def find_owners(layout: PackedLayout, windows: Int64s) -> Iterator[Owner]:
    """Yield the owner of the shapes in each of the (n, 4) windows, in dbu."""
    parents = [_list_parents(layout, number) for number in range(len(layout.packed))]
    parental = frozenset().union(*parents)
    for first in range(0, len(windows), PART):
        part = windows[first : first + PART]
        chains: list[set[Chain]] = [set() for _ in range(len(part))]
        for packed, names in zip(layout.packed, layout.cells, strict=True):
            _collect_chains(find_frames(packed, part), names, chains)
        show = cache(partial(_format_node, dbu_nm=layout.dbu_nm))
        for each in chains:
            yield _name_owner(each, parental, show)


def _list_parents(layout: PackedLayout, layer: int) -> frozenset[str]:
    """Return the names of the cells that place others."""
    packed = layout.packed[layer]
    owner = np.repeat(np.arange(len(packed.item_start) - 1), np.diff(packed.item_start))
    return frozenset(
        layout.cells[layer][cell] for cell in np.unique(owner[packed.item_ref >= 0]).tolist()
    )


def _collect_chains(frames: Frames, names: Sequence[str], chains: list[set[Chain]]) -> None:
    """Add the chain of each frame that owns a shape to the set of its window."""
    rows = zip(frames.window.tolist(), frames.list_chains(names), frames.owns, strict=True)
    for window, chain, owns in rows:
        if owns:
            chains[window].add(chain)


def _name_owner(chains: set[Chain], parents: frozenset[str], show: Callable[[Node], str]) -> Owner:
    if not chains:
        return Owner(NOTHING, "", "")
    low, high = min(chains), max(chains)  # what these share, all that lie between share
    common = 0
    while common < min(len(low), len(high)) and low[common] == high[common]:
        common += 1
    shared = low[:common]
    path = "/".join(map(show, shared[1:]))
    if shared in chains:
        name = shared[-1][0]
        return Owner(ROUTING if name in parents else CELL, name, path)
    inside = sorted({chain[common] for chain in chains})
    between = " + ".join(map(show, inside))
    return Owner(
        BETWEEN, " + ".join(node[0] for node in inside), f"{path}/{between}" if path else between
    )


def _format_node(node: Node, dbu_nm: float) -> str:
    name, turn, x, y = node
    return f"{name}({to_um(x, dbu_nm):.12g},{to_um(y, dbu_nm):.12g},{TURN_NAMES[turn]})"


def count_cells(layout: PackedLayout, owners: Iterable[Owner]) -> list[CellCount]:
    """Return each cell once, by hotspots, with the placements that have any."""
    placed: Mapping[str, int] = _count_placed(layout)
    number: dict[tuple[str, str], int] = {}
    rows, paths = array("q"), bytearray()  # of each owner: its cell, and a digest of its path
    for owner in owners:
        rows.append(number.setdefault((owner.kind, owner.cell), len(number)))
        paths += hashlib.blake2b(owner.path.encode(), digest_size=16).digest()
    row, path = np.array(rows, np.int64), np.frombuffer(bytes(paths), np.int64).reshape(-1, 2)
    apart = np.unique(np.column_stack((row, path)), axis=0)[:, 0]
    counts = zip(
        np.bincount(row).tolist(), np.bincount(apart).tolist(),
        np.unique(row, return_index=True)[1].tolist(), strict=True,
    )  # fmt: skip
    found = [
        CellCount(kind, cell, hotspots, affected, placed.get(cell, 0), first)
        for (kind, cell), (hotspots, affected, first) in zip(number, counts, strict=True)
    ]
    return sorted(found, key=lambda row: (-row.hotspots, row.first))


def _count_placed(layout: PackedLayout) -> dict[str, int]:
    """Return how often each cell with a shape on a scanned layer is placed."""
    placed: dict[str, int] = {}
    for packed, names in zip(layout.packed, layout.cells, strict=True):
        for name, count in zip(names, count_placements(packed).tolist(), strict=True):
            placed[name] = max(count, placed.get(name, 0))
    return placed
