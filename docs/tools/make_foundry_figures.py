"""Draw docs/img/foundry_masks.png: an SRAM cell's poly under three masks.

Run as ``python -m docs.tools.make_foundry_figures LAYOUT`` from the checkout, where the layout is
SkyWater's library of SRAM cells. The optics are the best of `benchmarks.lithography.foundry_masks`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import shapely
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from benchmarks.lithography.foundry_masks import (
    FAR_NM,
    Cell,
    Optics,
    make_process,
    read_cells,
    surround,
)
from stages.contracts import Int64s
from stages.lithography.correction.opc import correct
from stages.lithography.measure.prints import simulate_prints
from stages.lithography.optics.fields import make_disjoint
from stages.lithography.process import Process, Source

CHECKOUT = Path(__file__).parents[2]
CELL = "sky130_fd_bd_sram__sram_sp_cell_opt1"
OPTICS, BLUR_NM, THRESHOLD = Optics(193.0, 0.93, Source("circular", 0.65), False), 20.0, 0.4


def draw_masks(cell: Cell, process: Process) -> Figure:
    """Draw target, mask and print of each mask."""
    target = surround(cell.target, cell.size, cell.window.grow(FAR_NM))
    ours = make_disjoint(correct(target, cell.window.grow(2000), 1.0, process))
    masks = {
        "as drawn": target,
        "the foundry's mask": surround(cell.mask, cell.size, cell.window.grow(FAR_NM)),
        "ours": ours,
    }
    shown = cell.window.grow(150)
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    for axes, (name, mask) in zip(figure.subplots(1, 3), masks.items(), strict=True):
        axes.add_collection(PatchCollection(boxes_of(target), facecolor="#cfd8e3"))
        axes.add_collection(
            PatchCollection(boxes_of(mask), facecolor="none", edgecolor="#8a8a8a", linewidth=0.5)
        )
        prints = simulate_prints(mask, shown, 1.0, process).by_corner[process.corners[0].name]
        for polygon in prints:
            for ring in (polygon.exterior, *polygon.interiors):
                axes.plot(*shapely.get_coordinates(ring).T, color="#d1495b", linewidth=1.4)
        axes.set(
            xlim=(shown.x_min, shown.x_max), ylim=(shown.y_min, shown.y_max), aspect="equal",
            title=name,
        )  # fmt: skip
        axes.tick_params(labelsize=7)
    return figure


def boxes_of(rects: Int64s) -> list[Rectangle]:
    """Return rectangles to draw."""
    return [Rectangle((a, b), c - a, d - b) for a, b, c, d in rects[:, :4].tolist()]


def main() -> None:
    """Draw the figure."""
    cells = {cell.name: cell for cell in read_cells(Path(sys.argv[1]), "poly")}
    figure = draw_masks(cells[CELL], make_process(OPTICS, BLUR_NM, THRESHOLD))
    figure.savefig(CHECKOUT / "docs/img/foundry_masks.png", dpi=110)


if __name__ == "__main__":
    main()
