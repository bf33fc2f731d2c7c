"""Via layers of a routed block, from sparse to dense, for a 45 nm process.

python -m sample_layouts.vias vias.gds [--layer via2] [--side-um 72] [--seed 1]

A via is a square of 65 nm, and 75 nm lie between any two, as in FreePDK45. Most sit where the
tracks of two routing layers cross: alone, in pairs, in rows, in blocks. Some sit off the tracks in
groups, as where pins are reached without a grid: each beside another of its group, as close as the
rule allows or a little further, and shifted along it. What is on the grid prints; of the groups
some do not.
"""

from __future__ import annotations

import argparse
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sample_layouts.draw import Point, new_library, rect, save

VIA, SPACE = 65, 75
PITCH = VIA + SPACE
STEP = 5
"""Places off the tracks are multiples of this, in nm."""
AREA_UM = 9.0
"""Side of the squares between which the density varies."""
VARIES = (0.3, 1.7)
"""Share of a layer's density that a square may have."""
BESIDE, CORNERS = (0, 95), (95, 135)
"""How far a via of a group is shifted along the one that it is beside: half of them face its
corner, where masks come closest."""
LOOSE = (0, 0, 5, 10, 20)
"""How much further apart than the rule the vias of a group may be, in nm."""
LAYERS = {"via1": (51, 0), "via2": (52, 0), "via3": (53, 0), "via4": (54, 0)}


@dataclass(frozen=True, slots=True)
class Density:
    """What is tried to be placed on a square micrometre of a layer; what is too close is not."""

    singles: float
    pairs: float
    rows: float
    blocks: float
    groups: float


DENSITIES = {
    "via1": Density(singles=7.5, pairs=1.2, rows=0.10, blocks=0.02, groups=0.14),
    "via2": Density(singles=2.6, pairs=0.7, rows=0.06, blocks=0.02, groups=0.18),
    "via3": Density(singles=1.0, pairs=0.3, rows=0.04, blocks=0.01, groups=0.165),
    "via4": Density(singles=0.2, pairs=0.1, rows=0.02, blocks=0.01, groups=0.14),
}


class Placed:
    """The vias that are placed, by the squares of the grid that their corners lie in."""

    def __init__(self) -> None:
        self._in_square: dict[Point, list[Point]] = {}

    def add(self, shape: list[Point]) -> bool:
        """Place all vias of a shape, or none where one would be too close to another's."""
        if any(self._is_close(via) for via in shape):
            return False
        for x, y in shape:
            self._in_square.setdefault((x // PITCH, y // PITCH), []).append((x, y))
        return True

    def _is_close(self, via: Point) -> bool:
        column, row = via[0] // PITCH, via[1] // PITCH
        return any(
            are_close(via, other)
            for i in (column - 1, column, column + 1)
            for j in (row - 1, row, row + 1)
            for other in self._in_square.get((i, j), ())
        )

    def __iter__(self) -> Iterator[Point]:
        return (via for vias in self._in_square.values() for via in vias)


def are_close(one: Point, other: Point) -> bool:
    """Return whether two vias, by their lower left corners, break the rule of least space."""
    x, y = (max(abs(a - b) - VIA, 0) for a, b in zip(one, other, strict=True))
    return x * x + y * y < SPACE * SPACE


def draw_on_grid(rng: random.Random, kind: str, at: Point) -> list[Point]:
    """Return the vias of one, a pair, a row or a block whose lower left one is nearest to `at`."""
    columns, rows = {
        "singles": (1, 1), "pairs": (2, 1), "rows": (rng.randint(3, 10), 1),
        "blocks": (rng.randint(2, 4), rng.randint(2, 4)),
    }[kind]  # fmt: skip
    if rng.random() < 0.5:
        columns, rows = rows, columns
    x, y = (round(value / PITCH) * PITCH for value in at)
    return [(x + i * PITCH, y + j * PITCH) for i in range(columns) for j in range(rows)]


def draw_group(rng: random.Random, at: Point) -> list[Point]:
    """Return up to seven vias off the tracks, each as close to another as `LOOSE` lets it be."""
    vias = [(at[0] // STEP * STEP, at[1] // STEP * STEP)]
    space, count = SPACE + rng.choice(LOOSE), rng.randint(2, 7)
    for _ in range(8 * count):
        if len(vias) == count:
            break
        along = rng.randrange(*rng.choice((BESIDE, CORNERS)), STEP)
        across = VIA + math.sqrt(space**2 - min(max(along - VIA, 0), space) ** 2)
        steps = rng.sample((along, math.ceil(across / STEP) * STEP), 2)
        x, y = (rng.choice((-1, 1)) * step for step in steps)
        beside = rng.choice(vias)
        via = (beside[0] + x, beside[1] + y)
        if not any(are_close(via, other) for other in vias):
            vias.append(via)
    return vias


def draw_vias(layer: str, side_um: float, seed: int, density: Density | None = None) -> Placed:
    """Return the vias of a square: groups first, since they need the room, singles last."""
    density = density or DENSITIES[layer]
    rng, side_nm = random.Random(f"{layer} {seed}"), round(side_um * 1000)
    squares = math.ceil(side_nm / (AREA_UM * 1000))
    share = [rng.uniform(*VARIES) for _ in range(squares * squares)]
    placed = Placed()
    for kind in ("groups", "blocks", "rows", "pairs", "singles"):
        # As many tries as the densest square needs; the others refuse some.
        per_um2: float = getattr(density, kind)
        for _ in range(round(per_um2 * VARIES[1] * (side_nm / 1000) ** 2)):
            x, y = rng.randrange(side_nm), rng.randrange(side_nm)
            square = y * squares // side_nm * squares + x * squares // side_nm
            if rng.random() * VARIES[1] > share[square]:
                continue
            shape = draw_group(rng, (x, y)) if kind == "groups" else draw_on_grid(rng, kind, (x, y))
            if all(0 <= value <= side_nm - VIA for via in shape for value in via):
                placed.add(shape)
    return placed


def write_vias(
    path: Path, *, layer: str, side_um: float, seed: int, density: Density | None = None
) -> list[Point]:
    """Write a square of a via layer as GDSII of 1 nm; return the lower left corners of its vias.

    Parameters
    ----------
    layer
        One of `DENSITIES`; drawn on the layer/datatype that `LAYERS` names.
    seed
        The same seed draws the same vias, in the same order.
    density
        Another density than the layer's.
    """
    placed = list(draw_vias(layer, side_um, seed, density))
    library = new_library()
    cell = library.new_cell(layer)
    for x, y in placed:
        rect(cell, LAYERS[layer], (x, y, x + VIA, y + VIA))
    save(library, path)
    return placed


def main() -> None:
    """Write a via layer, and say how dense it is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", type=Path)
    parser.add_argument("--layer", choices=DENSITIES, default="via1")
    parser.add_argument("--side-um", type=float, default=72.0)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    vias = write_vias(asked.path, layer=asked.layer, side_um=asked.side_um, seed=asked.seed)
    off = sum(x % PITCH > 0 or y % PITCH > 0 for x, y in vias)
    print(f"{len(vias) / asked.side_um**2:.2f} vias per um2, {off / len(vias):.0%} off the tracks")


if __name__ == "__main__":
    main()
