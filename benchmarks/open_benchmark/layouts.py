"""The layouts of the open benchmark: drawn from a seed, or real metal, shrunk.

in       a region; the data, or the network where they are not there
out      its rectangles, their digest, and a GDSII file of one layer
promise  the same rectangles at any time; another digest means another layout
"""

from __future__ import annotations

import hashlib
import os
import urllib.request
from functools import lru_cache
from pathlib import Path

import numpy as np

from benchmarks.open_benchmark.regions import MET1, Metal, Region
from pipeline.engine.storage.run_directory import write_library
from pipeline.layout.ingest import read_layout
from sample_layouts.vias import VIA, draw_vias
from stages.contracts import Box, Int64s, PackedLayout
from stages.exports.markers import Drawing, build_drawing
from stages.geometry.union import merge
from stages.geometry.window_query import query

SAMPLES = Path(__file__).parents[2] / "sample_layouts"
WIDTH_NM = 140
"""Least width of sky130's met1."""
DBU_NM = 0.5
"""Of all layouts: in whole nanometres some shrunk wires would be 44 nm wide and others 45."""


def draw_region(region: Region, downloads: Path) -> Int64s:
    """Return what a region draws, (n, 4) in dbu, as `stages.geometry.union.merge` returns it."""
    source = region.source
    if isinstance(source, Metal):
        return shrink_metal(source, downloads)
    corners = np.array(list(draw_vias(source.layer, source.side_um, source.seed)), np.int64)
    return merge(np.rint(np.hstack([corners, corners + VIA]) / DBU_NM).astype(np.int64))


def shrink_metal(source: Metal, downloads: Path) -> Int64s:
    """Return the metal of a layout, shrunk, with its corner at 0, (n, 4) in dbu."""
    layout = _read_metal(find_layout(source, downloads), source.cell)
    window = layout.extent
    if source.box_um:
        window = Box(*(round(value * 1000 / layout.dbu_nm) for value in source.box_um))
    corners = np.array(window.as_tuple())
    rects = query(layout.packed[0], window).rects
    rects = np.clip(rects, *corners[[[0, 1, 0, 1], [2, 3, 2, 3]]]) - np.tile(corners[:2], 2)
    scale = source.least_nm / WIDTH_NM * layout.dbu_nm / DBU_NM
    return merge(np.rint(rects * scale).astype(np.int64))


@lru_cache(maxsize=2)  # the chip has many regions, between which those of others are drawn
def _read_metal(path: Path, cell: str | None) -> PackedLayout:
    return read_layout(path, [MET1], cell)


def find_layout(source: Metal, downloads: Path) -> Path:
    """Return the file of a real layout, fetched once where it is not among the data."""
    if "/" not in source.file:
        return SAMPLES / source.file
    kept = Path(os.environ.get("HOTSCAN_DATA", "../shared/data")) / source.file
    if kept.exists():
        return kept
    fetched = downloads / Path(source.address).name
    if not fetched.exists():
        downloads.mkdir(parents=True, exist_ok=True)
        part = fetched.with_suffix(".part")
        print(f"fetching {source.address}", flush=True)
        with urllib.request.urlopen(source.address, timeout=60) as answer:
            part.write_bytes(answer.read())
        part.rename(fetched)
    return fetched


def compute_digest(rects: Int64s) -> str:
    """Return a digest of what is drawn, however its file cut it up into shapes."""
    return hashlib.sha256(rects.astype("<i8").tobytes()).hexdigest()[:16]


def write_layout(path: Path, region: Region, rects: Int64s) -> None:
    """Write what a region draws as GDSII, with one cell of the set's name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    drawing = build_drawing(region.set, DBU_NM, [Drawing(region.layer, rects)])
    write_library(path, drawing)
