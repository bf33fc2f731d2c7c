"""Whether OPC ends with a worse mask, at settings from sane to absurd.

python -m benchmarks.opc_settings [--clips N]

Takes random clips of 2.56 um (1 um of the 45 nm cells) of five layouts, corrects each at ten
settings of damping and rounds, and measures the edge placement errors of drawn and corrected masks
at every corner with all kernels, at places of their own. A mask is worse when the mean square of
its errors, over corners, is over that of the drawn one. Prints for each setting how many masks are
worse, mean and 99th percentile of the worst corner's error, and seconds of one core a clip.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.machine import machine
from pipeline.layout.ingest import open_packed, pack_into
from pipeline.simulate.tiles import read_target
from stages.contracts import Box, Floats, Int64s, Layer
from stages.geometry.window_query import query
from stages.lithography.correction.opc import correct
from stages.lithography.correction.placement import measure_edge_errors
from stages.lithography.optics.fields import compute_halo_nm, make_lattice
from stages.lithography.process import Process, load_process

LAYOUTS = (
    ("tt02_user_project_wrapper.gds.gz", "68/20", "krf130"),
    ("mpw1_sram_32x256.gds.gz", "68/20", "krf130"),
    ("tt05_tiles_shelfpacked.oas", "68/20", "krf130"),
    ("ihp_sram_2048x64.gds", "8/0", "krf130"),
    ("nangate45_gcd_metal1.gds", "11/0", "arfi45"),
)
SETTINGS = (
    (0.6, 8), (0.3, 4), (1.0, 1), (1.0, 8), (1.0, 50), (0.01, 1), (0.05, 100), (0.9, 3), (0.5, 24),
    (0.1, 160),
)  # fmt: skip
"""Damping and rounds."""


@dataclass(frozen=True)
class Clip:
    """A piece of a layout."""

    target: Int64s
    box: Box
    dbu_nm: float
    process: Process


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=1000)
    asked = parser.parse_args()
    folder = Path(os.environ.get("HOTSCAN_DATA", "../shared/data"), "layouts")
    share = -(-asked.clips // len(LAYOUTS))
    clips = [
        clip
        for name, layer, process in LAYOUTS
        for clip in choose(folder / name, layer, process, share)
    ][: asked.clips]
    print(machine() + "\n")
    print("| damping | rounds | masks | worse | worst corner, mean nm | 99 % under | s a clip |")
    print("|--:|--:|--:|--:|--:|--:|--:|")
    drawn = [measure(clip, None) for clip in clips]
    report("as drawn", "", drawn, drawn, 0.0)
    for damping, rounds in SETTINGS:
        started = time.process_time()
        masks = [correct_at(clip, damping, rounds) for clip in clips]
        seconds = (time.process_time() - started) / len(clips)
        found = [measure(clip, mask) for clip, mask in zip(clips, masks, strict=True)]
        report(f"{damping:g}", f"{rounds}", drawn, found, seconds)


def choose(path: Path, layer: str, name: str, count: int) -> Iterator[Clip]:
    """Yield random clips that show anything."""
    process, rng = load_process(name), np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        pack_into(path, Path(folder, "l"), [Layer.parse(layer)])
        layout = open_packed(Path(folder, "l"))
        side = round((2560 if name == "krf130" else 1000) / layout.dbu_nm)
        reach = 2 * int(compute_halo_nm(process) / layout.dbu_nm) + 1
        while count:
            extent = layout.extent
            x = int(rng.integers(extent.x_min, extent.x_max))
            y = int(rng.integers(extent.y_min, extent.y_max))
            box = Box(x, y, x + side, y + side)
            if not len(query(layout.packed[0], box).rects):
                continue
            count -= 1
            target = read_target(layout.packed[0], box.grow(reach), layout.dbu_nm, process)
            yield Clip(target, box, layout.dbu_nm, process)


def correct_at(clip: Clip, damping: float, rounds: int) -> Int64s:
    """Return the mask of a clip, corrected as far as the optics see past it."""
    assert clip.process.opc is not None
    opc = replace(clip.process.opc, damping=damping, iterations=rounds)
    seen = clip.box.grow(make_lattice(clip.process, clip.dbu_nm).guard_dbu)
    return correct(clip.target, seen, clip.dbu_nm, replace(clip.process, opc=opc))


def measure(clip: Clip, mask: Int64s | None) -> Floats:
    """Return the edge placement errors, (corners, places) in nm."""
    return np.stack(
        [
            measure_edge_errors(
                clip.target, clip.box, clip.dbu_nm, replace(clip.process, corners=(corner,)), mask
            )[1]
            for corner in clip.process.corners
        ]
    )


def report(
    damping: str, rounds: str, drawn: list[Floats], found: list[Floats], seconds: float
) -> None:
    """Print a line of the table."""
    worse = sum(
        np.square(now).sum() > np.square(then).sum() for then, now in zip(drawn, found, strict=True)
    )
    worst = np.concatenate([np.abs(errors).max(axis=0) for errors in found])
    print(
        f"| {damping} | {rounds} | {len(found)} | {worse} | {worst.mean():.2f} "
        f"| {np.percentile(worst, 99):.1f} | {seconds:.3f} |", flush=True
    )  # fmt: skip


if __name__ == "__main__":
    main()
