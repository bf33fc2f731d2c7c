"""Draw docs/img/{space,pinch,line_end}.png: where shapes of the sample block fail to print.

Run as ``python -m docs.make_lithography_figures`` from the checkout.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from pipeline.ingest import read_layout
from stages.contracts import Box, Defect, Floats, Int64s, Layer, PackedLayer
from stages.geometry.union import merge
from stages.geometry.walk import query
from stages.lithography.defects import find_defects, halo_nm
from stages.lithography.optics import field_of, image, kernels, mask_spectrum
from stages.lithography.process import Process, load_process
from stages.lithography.resist import threshold

CHECKOUT = Path(__file__).parent.parent
SQUARE = Box(5_000, 5_000, 85_000, 85_000)
"""Where the places are looked for; the block's database unit is 1 nm."""
SHOWN = {"space": "space", "pinch": "pinch", "line_end": "epe"}
HALF_NM, FINER = 700, 8
COLOURS = ("#202020", "#d1495b", "#2e6fb7")
STYLES: tuple[Literal["dashed", "solid"], ...] = ("dashed", "solid", "solid")


def worst(defects: tuple[Defect, ...], kind: str) -> Defect:
    """Return the most severe defect of a kind."""
    return max((d for d in defects if d.kind == kind), key=lambda defect: defect.severity)


def printed(rects: Int64s, corner: int, side_nm: int, process: Process) -> Floats:
    """Return intensity times dose over the threshold, finer by `FINER`: it prints where over 1."""
    field = field_of(process, side_nm)
    spectrum = mask_spectrum(torch.from_numpy(rects[None].astype(np.float64)), field)
    at = process.corners[corner]
    coarse = image(spectrum, kernels(process, at.defocus_nm, field), field)[0].numpy()
    n, fine = field.pixels, field.pixels * FINER
    order = np.arange(1 - n // 2, n // 2)
    wide = np.zeros((fine, fine), complex)
    wide[np.ix_(order, order)] = np.fft.fft2(coarse, norm="forward")[np.ix_(order, order)]
    intensity: Floats = np.fft.ifft2(wide, norm="forward").real
    return intensity * at.dose / threshold(process)


def draw(layer: PackedLayer, defect: Defect, process: Process) -> Figure:
    """Draw target and image on the left, target and the contours of every corner on the right."""
    side_nm = math.floor(field_of(process).side_nm)
    x, y = defect.x_dbu - side_nm // 2, defect.y_dbu - side_nm // 2
    seen = query(layer, Box(x, y, x + side_nm, y + side_nm))
    target = np.clip(merge(seen.rects) - np.array([x, y, x, y]), 0, side_nm)
    pictures = [printed(target, i, side_nm, process) for i in range(len(process.corners))]
    figure = Figure(figsize=(8, 4.1), layout="constrained")
    left, right = figure.subplots(1, 2)
    places = np.arange(len(pictures[0])) / len(pictures[0]) * side_nm - side_nm // 2
    left.pcolormesh(places, places, pictures[0], cmap="magma", vmin=0, vmax=3, rasterized=True)
    boxes = [Rectangle((a, b), c - a, d - b) for a, b, c, d in (target - side_nm // 2).tolist()]
    left.add_collection(PatchCollection(boxes, facecolor="none", edgecolor="white", linewidth=0.8))
    right.add_collection(PatchCollection(boxes, facecolor="#dcdcdc", edgecolor="#dcdcdc"))
    # Nominal last and dashed: it often hides under the others, or they under it.
    for picture, colour, style in reversed(list(zip(pictures, COLOURS, STYLES, strict=True))):
        right.contour(places, places, picture, [1], colors=colour, linestyles=style, linewidths=1.3)
    right.plot(0, 0, "+", color="#d1495b", markersize=14)
    left.set_title("drawn shapes on the image at nominal", fontsize=9)
    right.set_title(f"{defect.kind} at {defect.corner}, severity {defect.severity:.2f}", fontsize=9)
    lines = [
        Line2D([], [], color=colour, linestyle=style)
        for colour, style in zip(COLOURS, STYLES, strict=True)
    ]
    right.legend(lines, [corner.name for corner in process.corners], fontsize=8, loc="upper right")
    for axes in (left, right):
        axes.set(xlim=(-HALF_NM, HALF_NM), ylim=(-HALF_NM, HALF_NM), aspect="equal")
        axes.tick_params(labelsize=7)
        axes.set_xlabel("nm", fontsize=8)
    return figure


def main() -> None:
    """Find the worst place of each kind and draw it."""
    process = load_process("krf130")
    layer = read_layout(CHECKOUT / "sample_layouts/block.gds.gz", [Layer(68, 20)]).packed[0]
    near = query(layer, SQUARE.grown(math.ceil(halo_nm(process))))
    defects = find_defects(merge(near.rects), SQUARE, 1.0, process)
    folder = CHECKOUT / "docs/img"
    folder.mkdir(exist_ok=True)
    for name, kind in SHOWN.items():
        draw(layer, worst(defects, kind), process).savefig(folder / f"{name}.png")


if __name__ == "__main__":
    main()
