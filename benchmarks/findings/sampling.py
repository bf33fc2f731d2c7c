"""How many simulated defects the sampling of ``sites`` covers: it caps all that follows.

python -m benchmarks.findings.sampling DATASET LAYOUT

The dataset (`hotscan label`) holds every defect of a fully simulated region. A defect is covered
when it lies in the core of a clip that the rule checks name.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from pipeline.config import load_config
from pipeline.layout.ingest import pack_into
from pipeline.passes.job import make_sampling_limits
from stages.clips import RULES, compute_halo_dbu, place_site_clips
from stages.contracts import Box, Clips, Int64s, Layer, RasterSpec
from stages.geometry.window_query import query
from stages.lithography.process import load_process
from stages.tiles import cut_tiles


def main() -> None:
    """Print the recall of the sampling, and how many clips it takes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("layout", type=Path, help="the layout that was labelled")
    asked = parser.parse_args()
    group = zarr.open_group(asked.dataset, mode="r")
    attributes: dict[str, Any] = dict(group.attrs)
    about = attributes["provenance"]
    spec = RasterSpec(**attributes["raster"])
    process = load_process(about["process"])
    limits_nm = {f: getattr(process.sampling, f) for f in type(process.sampling).__slots__}
    config = load_config(None, {"clips": {"mode": "sites", **limits_nm}})
    with tempfile.TemporaryDirectory() as folder:
        layers = [Layer.parse(name) for name in about["layers"]]
        layout = pack_into(asked.layout, Path(folder, "layout"), layers)
        core = spec.core_px * spec.pixel_dbu(layout.dbu_nm)
        limits = make_sampling_limits(config, layout.dbu_nm)
        area = Box(*(round(v * 1000 / layout.dbu_nm) for v in about["roi_um"]))
        found = []
        for tile in cut_tiles(area, 78 * core):
            shapes = [
                query(p, tile.box.grow(compute_halo_dbu(core, limits))) for p in layout.packed
            ]
            found.append(place_site_clips(shapes, tile.box, area, core, limits))
    sites = Clips(*(np.concatenate([getattr(c, n) for c in found]) for n in Clips.__slots__))
    x, y = np.asarray(group["defect_x_dbu"]), np.asarray(group["defect_y_dbu"])
    kinds = np.array(attributes["kinds"])[np.asarray(group["defect_kind"])]
    covered = is_covered(x, y, sites, core)
    print(f"clips: {about['clips']:,} on the grid, {len(sites):,} at sites")
    by_rule = np.bincount(sites.rule, minlength=len(RULES))
    print("by rule: " + ", ".join(f"{n} {c:,}" for n, c in zip(RULES, by_rule, strict=True) if c))
    print(f"defects: {len(x):,}, covered {covered.mean():.2%}")
    for kind in np.unique(kinds):
        of_kind = kinds == kind
        print(f"  {kind}: {of_kind.sum():,}, covered {covered[of_kind].mean():.2%}")


def is_covered(x: Int64s, y: Int64s, sites: Clips, core_dbu: int) -> npt.NDArray[np.bool_]:
    """Say which places lie in a core, half-open, (n,) bool."""
    half = core_dbu // 2
    order = np.argsort(sites.x_dbu)
    sx, sy = sites.x_dbu[order], sites.y_dbu[order]
    first, last = np.searchsorted(sx, x - half, "right"), np.searchsorted(sx, x + half, "right")
    return np.array(
        [
            bool(((yy >= sy[a:b] - half) & (yy < sy[a:b] + half)).any())
            for yy, a, b in zip(y, first, last, strict=True)
        ]
    )


if __name__ == "__main__":
    main()
