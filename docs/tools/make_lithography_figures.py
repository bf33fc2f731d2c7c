"""Draw docs/img/{space,pinch,line_end}.png: where shapes of the crowded sample fail to print.

Run as ``python -m docs.tools.make_lithography_figures`` from the checkout.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

import numpy as np
import shapely
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from pipeline.layout.ingest import read_layout
from stages.contracts import Box, Defect, Floats, Int64s, Layer, PackedLayer
from stages.geometry.union import merge
from stages.geometry.window_query import query
from stages.lithography.measure.defects import find_defects
from stages.lithography.measure.prints import simulate_prints
from stages.lithography.optics.fields import compute_halo_nm
from stages.lithography.optics.resist import compute_threshold
from stages.lithography.optics.sampling import sample_images
from stages.lithography.process import Process, load_process

CHECKOUT = Path(__file__).parents[2]
SQUARE = Box(5_000, 5_000, 85_000, 85_000)
"""Where the places are looked for; the database unit is 1 nm."""
SHOWN = ("space", "pinch", "line_end")
HALF_NM, STEP_NM = 700, 10
COLOURS = ("#202020", "#d1495b", "#2e6fb7")
STYLES: tuple[Literal["dashed", "solid"], ...] = ("dashed", "solid", "solid")


def worst(defects: tuple[Defect, ...], kind: str) -> Defect:
    """Return the most severe defect of a kind."""
    return max((d for d in defects if d.kind == kind), key=lambda defect: defect.severity)


def brightness(target: Int64s, window: Box, process: Process) -> Floats:
    """Return intensity over the threshold at nominal, every `STEP_NM` of the window."""
    x, y = (np.arange(low, low + window.width + 1.0, STEP_NM)
            for low in (window.x_min, window.y_min))  # fmt: skip
    (light,) = sample_images(target, x, y, 1.0, process, process.corners[:1])
    return light.astype(float) / compute_threshold(process)


def draw(layer: PackedLayer, defect: Defect, process: Process) -> Figure:
    """Draw target and image on the left, target and the contours of every corner on the right."""
    window = Box(*(defect.x_dbu, defect.y_dbu) * 2).grow(HALF_NM)
    target = merge(query(layer, window.grow(math.ceil(compute_halo_nm(process)))).rects)
    figure = Figure(figsize=(8, 4.1), layout="constrained")
    left, right = figure.subplots(1, 2)
    picture = brightness(target, window, process)
    shown = (-HALF_NM, HALF_NM, -HALF_NM, HALF_NM)
    left.imshow(picture, cmap="magma", vmin=0, vmax=3, origin="lower", extent=shown)
    centred = target - np.array([defect.x_dbu, defect.y_dbu] * 2)
    boxes = [Rectangle((a, b), c - a, d - b) for a, b, c, d in centred.tolist()]
    left.add_collection(PatchCollection(boxes, facecolor="none", edgecolor="white", linewidth=0.8))
    right.add_collection(PatchCollection(boxes, facecolor="#dcdcdc", edgecolor="#dcdcdc"))
    prints = simulate_prints(target, window, 1.0, process).by_corner
    # Nominal last and dashed: it often hides under the others, or they under it.
    for corner, colour, style in reversed(list(zip(process.corners, COLOURS, STYLES, strict=True))):
        for polygon in prints[corner.name]:
            for ring in (polygon.exterior, *polygon.interiors):
                outline = shapely.get_coordinates(ring) - (defect.x_dbu, defect.y_dbu)
                right.plot(*outline.T, color=colour, linestyle=style, linewidth=1.3)
    right.plot(0, 0, "+", color="#d1495b", markersize=14)
    left.set_title("drawn shapes on the image at nominal", fontsize=9)
    right.set_title(f"{defect.kind} at {defect.corner}, severity {defect.severity:.2f}", fontsize=9)
    lines = [
        Line2D([], [], color=colour, linestyle=style)
        for colour, style in zip(COLOURS, STYLES, strict=True)
    ]
    right.legend(lines, [corner.name for corner in process.corners], fontsize=8, loc="upper right")
    for axes in (left, right):
        axes.set(xlim=shown[:2], ylim=shown[2:], aspect="equal")
        axes.tick_params(labelsize=7)
        axes.set_xlabel("nm", fontsize=8)
    return figure


def main() -> None:
    """Find the worst place of each kind and draw it."""
    process = load_process("krf130")
    layer = read_layout(CHECKOUT / "sample_layouts/dense.gds.gz", [Layer(68, 20)]).packed[0]
    near = query(layer, SQUARE.grow(math.ceil(compute_halo_nm(process))))
    defects = find_defects(merge(near.rects), SQUARE, 1.0, process)
    folder = CHECKOUT / "docs/img"
    folder.mkdir(exist_ok=True)
    for kind in SHOWN:
        draw(layer, worst(defects, kind), process).savefig(folder / f"{kind}.png")


if __name__ == "__main__":
    main()
