"""How many clips of a layout fail, for several process windows: how krf130's was chosen.

python -m benchmarks.lithography.process_window [--squares N]
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from pipeline.layout.ingest import pack_into
from stages.clips import place_grid_clips
from stages.contracts import Box, Layer
from stages.geometry.union import merge
from stages.geometry.window_query import query
from stages.lithography.measure.defects import find_defects, label_clips
from stages.lithography.optics.fields import compute_halo_nm
from stages.lithography.process import Process, load_process
from stages.raster import draw_clips

WINDOWS = (
    # dose excursion, defocus in nm, pinch share, space share
    (0.03, 100.0, 0.69, 0.73),
    (0.04, 100.0, 0.69, 0.73),
    (0.04, 120.0, 0.69, 0.73),
    (0.04, 120.0, 0.70, 0.75),
    (0.05, 120.0, 0.70, 0.75),
)
CHIP = "layouts/tt02_user_project_wrapper.gds.gz"
CORE_DBU, PIXEL_DBU, CLIP_PX, SIDE_DBU = 1280, 40, 64, 78 * 1280


def variant(
    process: Process, dose: float, defocus_nm: float, pinch: float, space: float
) -> Process:
    """Return the process with another window and other limits."""
    doses = {"nominal": 1.0, "over": 1 + dose, "under": 1 - dose}
    corners = tuple(
        replace(c, dose=doses[c.name], defocus_nm=0.0 if c.name == "nominal" else defocus_nm)
        for c in process.corners
    )
    limits = replace(process.limits, pinch_share=pinch, space_share=space)
    return replace(process, corners=corners, limits=limits)


def main() -> None:
    """Print the share of failing clips for every window."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--squares", type=int, default=24, help="random squares of 100 um")
    asked = parser.parse_args()
    data = Path(os.environ.get("HOTSCAN_DATA", "../shared/data"))
    torch.set_num_threads(1)
    process = load_process("krf130")
    clips, failing, kinds = 0, Counter[int](), [Counter[str]() for _ in WINDOWS]
    with tempfile.TemporaryDirectory() as folder:
        layout = pack_into(data / CHIP, Path(folder, "layout"), [Layer(68, 20)])
        rng = np.random.default_rng(5)
        for _ in range(asked.squares):
            x = int(rng.integers(layout.extent.x_min, layout.extent.x_max - SIDE_DBU))
            y = int(rng.integers(layout.extent.y_min, layout.extent.y_max - SIDE_DBU))
            x, y = x // CORE_DBU * CORE_DBU, y // CORE_DBU * CORE_DBU
            square = Box(x, y, x + SIDE_DBU, y + SIDE_DBU)
            shapes = query(layout.packed[0], square.grow(int(compute_halo_nm(process)) + 1))
            target = merge(shapes.rects)
            grid = place_grid_clips(square, square, CORE_DBU, CORE_DBU)
            drawn = draw_clips(
                [shapes], grid.x_dbu, grid.y_dbu, clip_px=CLIP_PX, pixel_dbu=PIXEL_DBU
            ).any(axis=(1, 2, 3))
            clips += int(drawn.sum())
            for n, window in enumerate(WINDOWS):
                defects = find_defects(target, square, 1.0, variant(process, *window))
                labels = label_clips(grid.x_dbu[drawn], grid.y_dbu[drawn], CORE_DBU, defects)
                failing[n] += int(labels.sum())
                kinds[n].update(defect.kind for defect in defects)
    for n, window in enumerate(WINDOWS):
        print(
            f"{window}  {failing[n]} of {clips} clips, {failing[n] / clips:.2%}  {dict(kinds[n])}"
        )


if __name__ == "__main__":
    main()
