"""How many clips a second the network judges, on all cores, and how much of the machine that is.

python -m benchmarks.speed.network [--processes N] [--clips N]

Pictures are random rectangles; each process judges its own, in batches, in float32, on one thread.
The share of the matrix rate is that of the network's multiplications and additions, a second, in
those of a product of two 2,048 x 2,048 matrices on one thread in each of as many processes.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import time

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.machine import machine
from pipeline.engine.memory import keep_freed_memory
from pipeline.train.committee_plan import COMMITTEE
from stages.contracts import RasterSpec
from stages.detector.networks.committee import Committee
from stages.detector.networks.detector import Detector
from stages.detector.networks.network import Network
from stages.detector.networks.prefilter_network import PrefilterNetwork
from stages.detector.networks.shapes import DetectorConfig, PrefilterConfig, Rules
from stages.scores import BATCH, NetworkScorer, score_rasters

SIDES_PX = (64, 88, 128)
MEMBERS = len(COMMITTEE)
MATRIX = 2048


def main() -> None:
    """Print a table of clips a second."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--clips", type=int, default=8192, help="of each process")
    asked = parser.parse_args()
    print(
        "| pixels | prefilter, clips/s | single pass, clips/s | GFLOP/s | share of the matrix rate "
        f"| in bfloat16, clips/s | {MEMBERS} networks, eight orientations, clips/s |\n"
        "|---|" + "--:|" * 6
    )
    with multiprocessing.get_context("spawn").Pool(
        asked.processes, initializer=keep_freed_memory
    ) as pool:
        matrix = sum(pool.starmap(matrix_rate, [()] * asked.processes))
        for side in SIDES_PX:
            rates = {}
            for kind, clips in (
                ("prefilter", 4 * asked.clips), ("one", asked.clips), ("half", asked.clips),
                ("careful", asked.clips // 16),
            ):  # fmt: skip
                took = pool.starmap(time_scoring, [(kind, side, clips)] * asked.processes)
                rates[kind] = sum(clips / seconds for seconds in took)
            speed = rates["one"] * flops(side)
            print(
                f"| {side} x {side} | {rates['prefilter']:,.0f} | {rates['one']:,.0f} "
                f"| {speed / 1e9:.0f} | {speed / matrix:.0%} | {rates['half']:,.0f} "
                f"| {rates['careful']:,.0f} |"
            )
    print(
        f"\nMatrix rate {matrix / 1e9:.0f} GFLOP/s; batches of {BATCH}, {asked.processes} "
        f"processes; {machine()}"
    )


def network(kind: str, side_px: int) -> Network:
    """Return a network of drawn weights: a prefilter, or several of ours."""
    torch.manual_seed(0)
    if kind == "prefilter":
        return PrefilterNetwork(PrefilterConfig(core_px=side_px // 2))
    rules = Rules(MEMBERS, ensemble_from=-50.0 if kind == "careful" else math.inf)
    config = DetectorConfig(core_px=side_px // 2)
    return Committee([Detector(config) for _ in range(MEMBERS)], rules)


def time_scoring(kind: str, side_px: int, clips: int) -> float:
    """Return how long it takes to judge clips, in seconds."""
    scorer = NetworkScorer(network(kind, side_px), RasterSpec(40.0, side_px, side_px // 2))
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 2, (clips, 1, side_px // 8, side_px // 8), np.uint8) * 255
    pictures = np.kron(blocks, np.ones((8, 8), np.uint8))
    with torch.autocast("cpu", torch.bfloat16, enabled=kind == "half"):
        score_rasters(pictures[:256], scorer)
        started = time.perf_counter()
        score_rasters(pictures, scorer)
        return time.perf_counter() - started


def flops(side_px: int) -> float:
    """Return the multiplications and additions of one look at a clip."""
    one = network("one", side_px).for_inference()
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        one(torch.zeros(1, 1, side_px, side_px))
    return float(counter.get_total_flops())


def matrix_rate() -> float:
    """Return the multiplications and additions a second of a product of matrices, on one thread."""
    torch.set_num_threads(1)
    one, other = torch.rand(2, MATRIX, MATRIX)
    one @ other
    started = time.perf_counter()
    for _ in range(5):
        one @ other
    return 5 * 2 * MATRIX**3 / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
