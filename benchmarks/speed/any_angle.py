"""What a clip of curved shapes costs beside one of a chip's metal, and how exact its picture is.

python -m benchmarks.speed.any_angle [CHIP.gds.gz] [--layer 68/20] [--roi-um X0 Y0 X1 Y1]

Ring resonators (`sample_layouts.rings`) and a region of the chip, from window query to key, every
clip drawn (no sharing), in seconds of one core; and a polygon of 100,000 corners. Without a chip
its rows are left out.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from pathlib import Path

import numpy as np
import shapely

from benchmarks.machine import machine
from pipeline.layout.ingest import pack_into
from sample_layouts.rings import write_rings
from stages.clips import place_grid_clips
from stages.contracts import Box, Clips, Int64s, Layer, PackedLayer
from stages.geometry.window_query import query, split_polygons
from stages.layout.pack import NO_PLACEMENTS, LayerBuilder
from stages.patterns import canonicalize, compute_keys
from stages.raster import draw_clips
from stages.tiles import cut_tiles

PIXEL_DBU, CLIP_PX, CORE_DBU = 40, 64, 1280
TILE_DBU = 156 * CORE_DBU
CLIPS_PER_DRAW = 1024
CORNERS = 100_000


def main() -> None:
    """Print the costs, the ratio, and the largest difference from shapely's areas."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("chip", type=Path, nargs="?")
    parser.add_argument("--layer", type=Layer.parse, default=Layer(68, 20))
    parser.add_argument("--roi-um", type=float, nargs=4, default=(1500, 1000, 1780, 1280))
    asked = parser.parse_args()
    rows: list[tuple[str, PackedLayer, Box]] = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "rings.gds")
        write_rings(path)
        rings = pack_into(path, Path(folder, "rings"), [Layer(68, 20)]).packed[0]
        rows.append(("ring resonators", rings, _box_of(rings)))
        if asked.chip is not None:
            chip = pack_into(asked.chip, Path(folder, "chip"), [asked.layer])
            roi = Box(*(round(value * 1000 / chip.dbu_nm) for value in asked.roi_um))
            rows.append((f"met1 of {asked.chip.name}", chip.packed[0], roi))
        for name, depth in (("a circle", 1.0), ("a star", 0.98)):
            large = _packed(star(CORNERS, 50_000, round(50_000 * depth)))
            rows.append((f"{name} of {CORNERS:,} corners", large, _box_of(large)))
        costs = [_measure(packed, box) for _, packed, box in rows]
        worst = _worst_difference(rings)
    print(
        "| from window query to key, every clip drawn | clips | s | us a clip |\n|---|--:|--:|--:|"
    )
    for (name, _, _), (clips, seconds) in zip(rows, costs, strict=True):
        print(f"| {name} | {clips:,} | {seconds:.2f} | {seconds / clips * 1e6:.1f} |")
    if asked.chip is not None:
        (rings_n, rings_s), (chip_n, chip_s) = costs[:2]
        print(f"\nratio: {rings_s / rings_n / (chip_s / chip_n):.2f} (at most 3)")
    print(f"\nlargest difference from shapely: {worst:.3f} / 255 (at most 1)\n\n{machine()}")


def star(corners: int, outer_dbu: int, inner_dbu: int) -> Int64s:
    """Return an outline whose corners lie on two circles in turn, (corners, 2)."""
    angle = np.arange(corners) * (2 * math.pi / corners)
    radius = np.where(np.arange(corners) % 2, inner_dbu, outer_dbu)
    points: Int64s = np.stack((radius * np.cos(angle), radius * np.sin(angle)), axis=1)
    return np.rint(points).astype(np.int64)


def _packed(corners: Int64s) -> PackedLayer:
    builder = LayerBuilder()
    builder.add_cell("top", np.empty((0, 4), np.int64), [corners], NO_PLACEMENTS)
    return builder.build()


def _box_of(packed: PackedLayer) -> Box:
    box = packed.box
    assert box is not None  # something is drawn
    return box


def _measure(packed: PackedLayer, area: Box) -> tuple[int, float]:
    """Return how many clips show anything, and the least seconds of one core of three runs."""
    runs = [_cut(packed, area) for _ in range(3)]
    return runs[0][0], min(seconds for _, seconds in runs)


def _cut(packed: PackedLayer, area: Box) -> tuple[int, float]:
    shown, seconds = 0, 0.0
    for tile in cut_tiles(area, TILE_DBU):
        clips = place_grid_clips(tile.box, area, CORE_DBU, CORE_DBU)
        started = time.process_time()
        shapes = [query(packed, tile.box.grow(3 * CORE_DBU))]
        for first in range(0, len(clips), CLIPS_PER_DRAW):
            x, y = (axis[first : first + CLIPS_PER_DRAW] for axis in (clips.x_dbu, clips.y_dbu))
            pictures = draw_clips(shapes, x, y, clip_px=CLIP_PX, pixel_dbu=PIXEL_DBU)
            pictures = pictures[pictures.any(axis=(1, 2, 3))]
            shown += len(compute_keys(canonicalize(pictures)))
        seconds += time.process_time() - started
    return shown, seconds


def _worst_difference(packed: PackedLayer, count: int = 200) -> float:
    """Return by how many grey levels clips of the rings differ from exact areas, at most."""
    area = _box_of(packed)
    clips: Clips = place_grid_clips(area, area, CORE_DBU, CORE_DBU)
    chosen = np.random.default_rng(0).choice(len(clips), count, replace=False)
    half, worst = CLIP_PX // 2 * PIXEL_DBU, 0.0
    row, column = np.mgrid[:CLIP_PX, :CLIP_PX] * PIXEL_DBU
    for x, y in zip(clips.x_dbu[chosen].tolist(), clips.y_dbu[chosen].tolist(), strict=True):
        shapes = query(packed, Box(x, y, x, y).grow(half))
        drawn = draw_clips(
            [shapes], np.array([x]), np.array([y]), clip_px=CLIP_PX, pixel_dbu=PIXEL_DBU
        )[0, 0]
        parts = [shapely.make_valid(shapely.Polygon(corners)) for corners in split_polygons(shapes)]
        region = shapely.union_all([*parts, *shapely.box(*shapes.rects.T.astype(float))])
        left, low = x - half + column, y - half + row
        pixels = shapely.box(left, low, left + PIXEL_DBU, low + PIXEL_DBU)
        exact = 255 * shapely.area(shapely.intersection(region, pixels)) / PIXEL_DBU**2
        worst = max(worst, float(np.abs(drawn - exact).max()))
    return worst


if __name__ == "__main__":
    main()
