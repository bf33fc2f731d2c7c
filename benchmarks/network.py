"""How many clips a second the network judges, quickly and with care, on all cores.

python -m benchmarks.network [--processes N] [--clips N]

Pictures are random rectangles; each process judges its own, in batches, in float32, on one thread.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import time

import numpy as np
import torch

from benchmarks.machine import machine
from pipeline.training import JUDGED, WHOLE
from stages.contracts import RasterSpec
from stages.detector.committee import Committee, Rules
from stages.detector.model import Detector, DetectorConfig
from stages.scores import NetworkScorer, score_rasters

SIDES_PX = (64, 88, 128)
MEMBERS = JUDGED + WHOLE


def main() -> None:
    """Print a table of clips a second."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--clips", type=int, default=8192, help="of each process")
    asked = parser.parse_args()
    print(
        f"| pixels | one look, clips/s | {MEMBERS} networks, eight orientations, clips/s |\n"
        "|---|--:|--:|"
    )
    with multiprocessing.get_context("spawn").Pool(asked.processes) as pool:
        for side in SIDES_PX:
            rates = []
            for careful, clips in ((False, asked.clips), (True, asked.clips // 16)):
                took = pool.starmap(judged, [(side, clips, careful)] * asked.processes)
                rates.append(sum(clips / seconds for seconds in took))
            print(f"| {side} x {side} | {rates[0]:,.0f} | {rates[1]:,.0f} |")
    print(f"\n{asked.processes} processes; {machine()}")


def judged(side_px: int, clips: int, careful: bool) -> float:
    """Return how long it takes to judge clips, in seconds."""
    torch.manual_seed(0)
    rules = Rules(MEMBERS, careful_from=-50.0 if careful else math.inf)
    config = DetectorConfig(core_px=side_px // 2)
    committee = Committee([Detector(config) for _ in range(MEMBERS)], rules)
    scorer = NetworkScorer(committee, RasterSpec(40.0, side_px, side_px // 2))
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 2, (clips, 1, side_px // 8, side_px // 8), np.uint8) * 255
    pictures = np.kron(blocks, np.ones((8, 8), np.uint8))
    score_rasters(pictures[:256], scorer)
    started = time.perf_counter()
    score_rasters(pictures, scorer)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
