"""What labels are worth: clips chosen by ``hotscan select`` beside random clips.

python -m benchmarks.detectors.selection [--work DIR] [--start N] [--more N]

The labelled strips of `benchmarks.detectors.default_model` play the layout: a model learns from a
few clips drawn at random, more are chosen with it or at random, and another model is trained on
both. Measured on the strip that none of them saw.
"""

from __future__ import annotations

import argparse
import multiprocessing
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.detectors.results import alarms_at, put
from benchmarks.machine import machine
from pipeline.datasets.store import Dataset, load_dataset
from stages.contracts import Int64s
from stages.detector.catalogue import FitRequest, find_kind, fit
from stages.detector.networks.network import Network
from stages.detector.training.active_learning import choose, preselect
from stages.detector.training.loop import LabelledClips, TrainingConfig, likeness, score
from stages.detector.training.thresholds import choose_threshold, pr_auc
from stages.scores import NetworkScorer, score_rasters

SEEDS = (0, 1, 2)
TRAINING: dict[str, Any] = {"epochs": 2, "batch": 64}


def main() -> None:
    """Measure both ways for several draws, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("build/krf130-met1"))
    parser.add_argument("--start", type=int, default=2000)
    parser.add_argument("--more", type=int, default=1000)
    parser.add_argument(
        "--write", action="store_true", help="put the table into docs/explanation/results.md"
    )
    asked = parser.parse_args()
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        tasks = [(asked.work, asked.start, asked.more, seed) for seed in SEEDS]
        found = pool.starmap(compared, tasks, chunksize=1)
    lines = [
        f"{asked.start:,} random patterns, then {asked.more:,} more.\n",
        "| labelled | hotspots among them | PR AUC | false alarms at 99 % recall |",
        "|---|--:|--:|--:|",
    ]
    for name in found[0]:
        figures = np.array([one[name] for one in found])
        mean, spread = figures.mean(0), figures.std(0, ddof=1)
        lines.append(
            f"| {name} | {mean[0]:.0f} ± {spread[0]:.0f} | {mean[1]:.4f} ± {spread[1]:.4f} "
            f"| {mean[2]:,.0f} ± {spread[2]:,.0f} |"
        )
    table = "\n".join([*lines, "", machine()])
    print(table)
    if asked.write:
        put("selection", table)


def compared(work: Path, start: int, more: int, seed: int) -> dict[str, tuple[float, float, float]]:
    """Return, for each way of choosing, its hotspots, PR AUC, and false alarms at 99 % recall."""
    torch.set_num_threads(1)
    pool, test = load_dataset(work / "train"), load_dataset(work / "test")
    failing = pool.counts()[0] > 0
    order = np.random.default_rng(seed).permutation(len(failing))
    first, rest = order[:start], np.sort(order[start:])
    shape = find_kind("attention").shape(pool.spec)
    found = {}

    def measured(name: str, which: Int64s) -> Network:
        config = TrainingConfig(**TRAINING, seed=seed)
        clips = LabelledClips(pool.raster[which], failing[which])
        network = fit(FitRequest("attention", shape, config), clips, None).detector
        found[name] = (float(failing[which].sum()), *_on(network, test))
        return network

    network = measured("at the start", first)
    scores = score_rasters(pool.raster[rest], NetworkScorer(network, pool.spec))
    known = score(network, pool.raster[first])
    threshold = choose_threshold(known, failing[first], 0.99).threshold
    doubtful = preselect(scores.score, threshold, more)
    places = likeness(network, pool.raster[rest[doubtful]])
    chosen = doubtful[choose(scores.score[doubtful], places, threshold, more)]
    measured("with clips that hotscan select chose", np.concatenate([first, rest[chosen]]))
    measured("with random clips", order[: start + more])
    return found


def _on(network: Network, test: Dataset) -> tuple[float, float]:
    scores = score(network, test.raster)[test.pattern]
    return pr_auc(scores, test.label), alarms_at(scores, test.label, 0.99)


if __name__ == "__main__":
    main()
