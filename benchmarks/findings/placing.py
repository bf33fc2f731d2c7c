"""How near to the defect the report places a hotspot, beside the middle of its core.

python -m benchmarks.findings.placing RUN

RUN is a scan with --confirm. Counted are its hotspots of one clip in which simulation finds one
defect. Beside the map of what adds to the score stands that of where a clip is like its nearest
known failure (Dist-CAM), which needs no verdict.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from benchmarks.machine import machine
from pipeline.engine.storage.run_directory import Run
from pipeline.passes.units import draw_places
from pipeline.report.run_view import open_view
from stages.contracts import Bytes, Int64s
from stages.detector.networks.network import Network
from stages.detector.training.loop import likeness
from stages.exports.pages.pictures import locate_evidence
from stages.patterns import canonicalize
from stages.scores import NetworkScorer

PART = 256


def main() -> None:
    """Print the distances to the defect."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    view = open_view(Run(parser.parse_args().run))
    verdicts = view.verdicts or {}
    found = [
        (spot, verdicts[spot.id].worst)
        for spot in view.hotspots
        if spot.clips == 1 and spot.id in verdicts and verdicts[spot.id].defects == 1
    ]
    raster, dbu_nm = view.job.spec, view.layout.dbu_nm
    scorer = NetworkScorer(view.model.detector(), raster)
    examples = view.model.examples
    centre: list[float] = []
    placed: list[float] = []
    alike: list[float] = []
    for first in range(0, len(found), PART):
        part = found[first : first + PART]
        x, y = (np.array([getattr(s, name) for s, _ in part]) for name in ("x_dbu", "y_dbu"))
        rasters = draw_places(x, y, view.job)
        maps = scorer.activation_map(rasters)
        if maps is None or examples is None:
            raise SystemExit("this detector does not tell where its verdicts come from")
        shown = canonicalize(rasters, view.job.symmetries)
        near = find_nearest(view.model.detector(), shown, examples)
        like = scorer.resemblance_map(rasters, examples[near], view.job.symmetries)
        assert like is not None  # a detector has both maps or none
        for (spot, defect), adds, same in zip(part, maps, like, strict=True):
            assert defect is not None  # it counts one
            off = np.array([defect.x_dbu - spot.x_dbu, defect.y_dbu - spot.y_dbu]) * dbu_nm
            centre.append(np.hypot(*off))
            for found_by, distances in ((adds, placed), (same, alike)):
                at = locate_evidence(found_by, raster.clip_px, raster.core_px) or (0.0, 0.0)
                distances.append(np.hypot(*(off - np.array(at) * raster.pixel_nm)))
    print("| distance to the defect, nm | mean | median | 90 % |\n|---|--:|--:|--:|")
    for name, distance in (
        ("middle of the core", centre), ("where the map says", placed),
        ("where it is like its nearest known failure", alike),
    ):  # fmt: skip
        print(
            f"| {name} | {np.mean(distance):.0f} | {np.median(distance):.0f} "
            f"| {np.quantile(distance, 0.9):.0f} |"
        )
    print(f"\n{len(found)} hotspots; {machine()}")


def find_nearest(detector: Network, rasters: Bytes, known: Bytes) -> Int64s:
    """Return which of the known pictures each is most like, (n,)."""
    mine, theirs = (likeness(detector, each) for each in (rasters, known))
    nearest: Int64s = (mine @ theirs.T).argmax(axis=1)
    return nearest


if __name__ == "__main__":
    main()
