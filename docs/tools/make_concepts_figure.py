"""Draw docs/img/concepts.svg: a tile, one of its clips, and the clip's core and halo.

Run as ``python -m docs.tools.make_concepts_figure``.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

IMAGE = Path(__file__).parents[1] / "img" / "concepts.svg"
CORE_UM, CLIP_UM = 1.28, 2.56
CORES = 8
"""Cores along a side of the tile that is drawn; a real one has about 156."""
METAL, CORE, HALO, TILE = "#c9d3df", "#d1495b", "#2e6fb7", "#202020"
WIRES = (
    (0.15, 0.30, 9.9, 0.14), (0.15, 0.64, 3.2, 0.14), (3.75, 0.64, 6.1, 0.14),
    (0.15, 1.55, 2.2, 0.14), (2.9, 1.30, 0.14, 3.4), (3.32, 1.30, 0.14, 2.2),
    (3.32, 3.36, 4.6, 0.14), (7.78, 1.30, 0.14, 2.2), (4.2, 1.80, 2.9, 0.14),
    (4.2, 2.14, 2.9, 0.14), (4.2, 2.48, 1.2, 0.14), (5.7, 2.48, 1.4, 0.14),
    (0.5, 2.30, 1.9, 0.30), (0.5, 3.00, 0.14, 4.9), (0.92, 3.00, 0.14, 4.9),
    (1.34, 3.00, 0.14, 4.9), (1.34, 5.10, 4.2, 0.14), (2.2, 4.56, 3.3, 0.14),
    (5.4, 5.10, 0.14, 3.1), (5.9, 4.10, 0.14, 5.3), (6.4, 4.10, 3.4, 0.14),
    (6.4, 4.60, 3.4, 0.30), (6.9, 5.30, 0.14, 3.2), (7.32, 5.30, 0.14, 3.2),
    (7.74, 5.30, 0.14, 1.4), (7.74, 6.95, 0.14, 1.55), (8.4, 5.30, 0.30, 4.1),
    (2.0, 6.10, 2.8, 0.14), (2.0, 6.52, 2.8, 0.14), (2.0, 6.94, 1.2, 0.14),
    (3.5, 6.94, 1.3, 0.14), (0.5, 8.40, 4.9, 0.14), (0.5, 9.00, 7.2, 0.30),
    (0.15, 9.75, 9.9, 0.14), (9.3, 1.30, 0.30, 2.4), (8.5, 1.30, 0.14, 2.4),
)  # fmt: skip
"""Wires of the drawing: x, y, width and height in um."""


def add_box(axes: Axes, x: float, y: float, side: float, colour: str, **style: object) -> None:
    """Draw a square outline whose lower left corner is at (x, y)."""
    axes.add_patch(Rectangle((x, y), side, side, fill=False, edgecolor=colour, **style))


def draw_layout(axes: Axes) -> None:
    """Draw the wires."""
    for x, y, width, height in WIRES:
        axes.add_patch(Rectangle((x, y), width, height, color=METAL, linewidth=0))
    axes.set_aspect("equal")
    axes.set_axis_off()


def draw_tile(axes: Axes, x: float, y: float) -> None:
    """Draw a tile with the cores that it owns, and the clip whose core is at (x, y)."""
    draw_layout(axes)
    side = CORES * CORE_UM
    for number in range(1, CORES):
        at = number * CORE_UM
        axes.plot((at, at), (0, side), color=CORE, linewidth=0.5, linestyle=":")
        axes.plot((0, side), (at, at), color=CORE, linewidth=0.5, linestyle=":")
    halo = (CLIP_UM - CORE_UM) / 2
    add_box(axes, 0, 0, side, TILE, linewidth=1.8)
    add_box(axes, x - halo, y - halo, CLIP_UM, HALO, linewidth=1.8)
    add_box(axes, x, y, CORE_UM, CORE, linewidth=1.8)
    axes.set(xlim=(-0.3, side + 0.3), ylim=(-0.3, side + 0.3))
    axes.set_title("A tile: one task. Its cores (dotted) cover it once.", fontsize=9)


def draw_clip(axes: Axes, x: float, y: float) -> None:
    """Draw the clip whose core is at (x, y), with its measures."""
    draw_layout(axes)
    halo = (CLIP_UM - CORE_UM) / 2
    axes.add_patch(
        Rectangle((x - halo, y - halo), CLIP_UM, CLIP_UM, color=HALO, alpha=0.10, linewidth=0)
    )
    axes.add_patch(Rectangle((x, y), CORE_UM, CORE_UM, color="white", alpha=0.6, linewidth=0))
    add_box(axes, x - halo, y - halo, CLIP_UM, HALO, linewidth=2.2)
    add_box(axes, x, y, CORE_UM, CORE, linewidth=2.2)
    middle = x + CORE_UM / 2
    words = {"ha": "center", "va": "center", "fontsize": 9}
    label = {"facecolor": "white", "edgecolor": "none", "pad": 1.5, "alpha": 0.85}
    axes.text(middle, y + CORE_UM / 2, "core\nwhat the clip\nanswers for",
              color=CORE, bbox=label, **words)  # fmt: skip
    axes.text(middle, y + CORE_UM + halo / 2, "halo: context, because light spreads",
              color=HALO, bbox=label, **words)  # fmt: skip
    axes.text(middle, y - halo - 0.14, "clip: what the detector sees, 2.56 um = 64 pixels",
              color=HALO, **words)  # fmt: skip
    axes.set(
        xlim=(x - halo - 0.1, x + CORE_UM + halo + 0.1), ylim=(y - halo - 0.3, y + 2 * CORE_UM)
    )
    axes.set_title("One clip", fontsize=9)


def main() -> None:
    """Draw both parts into one picture."""
    # Fixed names and no date: the same drawing has the same bytes.
    mpl.rcParams["svg.hashsalt"] = "hotscan"
    figure = Figure(figsize=(9, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    corner = 3 * CORE_UM, 1 * CORE_UM
    draw_tile(left, *corner)
    draw_clip(right, *corner)
    figure.savefig(IMAGE, metadata={"Date": None}, facecolor="white")


if __name__ == "__main__":
    main()
