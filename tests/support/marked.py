"""A small marked layout: three hotspots, four non-hotspots, windows around those to train on."""

from __future__ import annotations

from pathlib import Path

import gdstk
import numpy as np

from pipeline.datasets.from_marker_layers import Marking

METAL, HOT, COLD, WINDOW = (1, 0), (2, 0), (3, 0), (4, 0)
MARKING = Marking(("1/0",), ("2/0",), ("3/0",), ("4/0",))
CORE_UM, WINDOW_UM, CLIP_UM, PIXEL_UM = 1.2, 4.8, 2.56, 0.04
HOT_UM = [(20.0, 20.0), (40.0, 20.0), (60.0, 20.0)]
COLD_UM = [(20.0, 40.0), (40.0, 40.0), (60.0, 40.0), (80.0, 40.0)]
TRAIN_UM = [HOT_UM[0], COLD_UM[0], COLD_UM[1]]


def square(centre: tuple[float, float], side: float, layer: tuple[int, int]) -> gdstk.Polygon:
    x, y = centre
    half = side / 2
    return gdstk.rectangle(
        (x - half, y - half), (x + half, y + half), layer=layer[0], datatype=layer[1]
    )


def wires(around: tuple[float, float], seed: int) -> list[gdstk.Polygon]:
    """Rectangles on the pixel grid, one of them repeated, that no symmetry leaves in place."""
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(12):
        low = np.array(around) + rng.integers(-60, 40, 2) * PIXEL_UM
        high = low + rng.integers(2, 20, 2) * PIXEL_UM
        drawn.append(gdstk.rectangle(tuple(low), tuple(high), layer=METAL[0]))
    drawn[0].repetition = gdstk.Repetition(2, 5, spacing=(0.8, 0.4))
    return drawn


def write(path: Path, cells: dict[str, list[gdstk.Polygon]]) -> Path:
    library = gdstk.Library(unit=1e-6, precision=1e-9)
    for name, shapes in cells.items():
        library.new_cell(name).add(*shapes)
    library.write_oas(path) if path.suffix == ".oas" else library.write_gds(path)
    return path


def marks(
    train_um: list[tuple[float, float]] = TRAIN_UM,
) -> list[gdstk.Polygon]:
    """Markers of all cores, and the windows of those to train on."""
    return [
        *(square(at, CORE_UM, HOT) for at in HOT_UM),
        *(square(at, CORE_UM, COLD) for at in COLD_UM),
        *(square(at, WINDOW_UM, WINDOW) for at in train_um),
    ]


def drawn() -> list[gdstk.Polygon]:
    return [wire for n, at in enumerate([*HOT_UM, *COLD_UM]) for wire in wires(at, n)]
