"""Ring resonators beside their waveguides: a photonic layout, all of it curved.

python -m sample_layouts.rings rings.gds
"""

from __future__ import annotations

import argparse
from pathlib import Path

import gdstk

from sample_layouts.draw import EPOCH, MET1

PITCH_UM, RADIUS_UM, WIDTH_UM, GAP_UM = 14.0, 5.0, 0.5, 0.2
CHORD_UM = 0.001
"""How far a chord may be from its circle."""


def write_rings(path: Path, *, count: int = 20) -> None:
    """Write `count` x `count` rings, each beside a straight waveguide, as flat GDSII of 1 nm."""
    library = gdstk.Library("rings")
    cell = library.new_cell("rings")
    layer = {"layer": MET1[0], "datatype": MET1[1]}
    for row in range(count):
        for column in range(count):
            x, y = (column + 0.5) * PITCH_UM, (row + 0.5) * PITCH_UM
            # Radii differ, as resonators' do: no ring is another's copy.
            middle = RADIUS_UM + 0.001 * (row * count + column)
            outer, inner = middle + WIDTH_UM / 2, middle - WIDTH_UM / 2
            ring = gdstk.ellipse((x, y), outer, inner, tolerance=CHORD_UM, **layer)
            low = y - outer - GAP_UM - WIDTH_UM
            bus = gdstk.rectangle(
                (x - PITCH_UM / 2, low), (x + PITCH_UM / 2, low + WIDTH_UM), **layer
            )
            cell.add(ring, bus)
    library.write_gds(str(path), timestamp=EPOCH, max_points=4000)


def main() -> None:
    """Write the rings."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", type=Path)
    write_rings(parser.parse_args().path)


if __name__ == "__main__":
    main()
