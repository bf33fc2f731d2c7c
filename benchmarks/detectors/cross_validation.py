"""What a recipe says of training clips that it did not learn from: how decision 9 chooses.

python -m benchmarks.detectors.cross_validation DATASET ... [--rim PX] [--seed N ...]
    [--set NAME=VALUE ...] [--shape NAME=VALUE ...]

The training clips of marked datasets are divided into parts, and some of these are scored, each
by a network trained on the others; test clips are never used. Prints how many hotspots
are missed where 0.1, 0.2 and 0.5 % of the other clips are flagged, of all and of the cores alone,
with the area under the precision-recall curve, for each seed and for the mean of all.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.machine import machine
from pipeline.datasets.store import load_dataset
from pipeline.engine.memory import keep_freed_memory
from pipeline.train.committee_plan import few_shape
from pipeline.train.model import FEW_TRAINING
from pipeline.train.training_set import Patterns, assign_parts, merge_datasets
from stages.contracts import Floats, RasterSpec
from stages.detector.catalogue import FitRequest, find_kind, fit
from stages.detector.networks.committee import Committee
from stages.detector.networks.shapes import Rules
from stages.detector.training.loop import TrainingConfig, score
from stages.detector.training.thresholds import pr_auc
from stages.patterns import KeyIndex
from stages.scores import NetworkScorer, score_rasters

RATES = (0.001, 0.002, 0.005)
SEED_STEP = 1000
"""From the seed of one network to that of the next, as `COMMITTEE` has it."""

DOUBTFUL = 0.05
"""Share of the non-hotspots scored in all orientations; the others are scored once."""


def main() -> None:
    """Learn, judge, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("datasets", type=Path, nargs="+")
    parser.add_argument("--parts", type=int, default=3)
    parser.add_argument("--parts-scored", type=int, default=2)
    parser.add_argument(
        "--rim", type=int, default=0, help="outer pixels hidden in half the pictures"
    )
    parser.add_argument("--seed", type=int, nargs="+", default=[0])
    parser.add_argument("--set", nargs="*", default=[], help="of TrainingConfig, as name=value")
    parser.add_argument("--shape", nargs="*", default=[], help="of DetectorConfig, as name=value")
    asked = parser.parse_args()
    patterns, core, spec = training_clips(asked.datasets)
    part = assign_parts(patterns, asked.parts)
    tasks = [
        (
            patterns,
            part == number,
            spec,
            values(asked.shape),
            {"rim_px": asked.rim, "seed": first + number * SEED_STEP, **values(asked.set)},
        )
        for first in asked.seed
        for number in range(asked.parts_scored)
    ]
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        found = pool.starmap(score_alone, tasks, chunksize=1)
    seen = part < asked.parts_scored
    rows: dict[str, Floats] = {}
    for at, seed in enumerate(asked.seed):
        rows[f"seed {seed}"] = odds = np.empty(len(part))
        for number in range(asked.parts_scored):
            odds[part == number] = found[at * asked.parts_scored + number]
    if len(rows) > 1:
        rows["the mean of these"] = np.mean(list(rows.values()), axis=0)
    hot = patterns.hotspots[seen] > 0
    passing_cores = core[seen] & ~hot
    print(f"{hot.sum()} hotspots, {(~hot).sum():,} others, {passing_cores.sum():,} of them cores")
    print("\n| | scan | area | core | area |\n|---|--:|--:|--:|--:|")
    for name, odds in rows.items():
        among = [misses(odds[seen], hot, which) for which in (~hot, passing_cores)]
        print(f"| {name} | {' | '.join(among)} |")
    print(f"\n{machine()}")


def values(chosen: list[str]) -> dict[str, Any]:
    """Return what was chosen as name=value, the values in JSON."""
    pairs = (one.split("=", 1) for one in chosen)
    return {name: json.loads(value) for name, value in pairs}


def training_clips(paths: list[Path]) -> tuple[Patterns, npt.NDArray[np.bool_], RasterSpec]:
    """Return the distinct training clips, which of them are marked cores, and their raster."""
    datasets = [load_dataset(path).subset("train") for path in paths]
    patterns = merge_datasets(datasets)
    keys = np.unique(np.concatenate([one.key for one in datasets]), axis=0)  # as `merge_datasets`
    cores = [one.subset("train", "core").key for one in datasets]
    core = KeyIndex(np.unique(np.concatenate(cores), axis=0)).locate(keys) >= 0
    return patterns, core, datasets[0].spec


def score_alone(
    patterns: Patterns,
    mine: npt.NDArray[np.bool_],
    spec: RasterSpec,
    chosen: dict[str, Any],
    settings: dict[str, Any],
) -> Floats:
    """Return log odds of some patterns, by a network trained on the others."""
    torch.set_num_threads(1)
    keep_freed_memory()
    config = TrainingConfig(**(FEW_TRAINING | settings))
    shape = find_kind("attention").shape(spec, **(few_shape(spec) | chosen))
    request = FitRequest("attention", shape, config)
    network = fit(request, patterns.select(~mine).to_clips(), None).detector
    some = patterns.select(mine)
    quick = score(network, some.raster)
    cut = float(np.quantile(quick[some.hotspots == 0], 1 - DOUBTFUL))
    ensemble_from = min(cut, float(quick[some.hotspots > 0].min()))
    rules = Rules(ensemble_from=float(np.log(ensemble_from / (1 - ensemble_from))))
    scorer = NetworkScorer(Committee([network], rules), spec)
    scores = np.clip(score_rasters(some.raster, scorer).score.astype(np.float64), 1e-12, 1 - 1e-9)
    odds: Floats = np.log(scores / (1 - scores))
    return odds


def misses(odds: Floats, hot: npt.NDArray[np.bool_], others: npt.NDArray[np.bool_]) -> str:
    """Return the hotspots missed at each of `RATES`, and the area, as cells of a table."""
    falling = np.sort(odds[others])[::-1]
    missed = [int((odds[hot] <= falling[int(rate * len(falling))]).sum()) for rate in RATES]
    kept = hot | others
    return (
        f"{' / '.join(map(str, missed))} | {pr_auc(odds[kept].astype(np.float32), hot[kept]):.3f}"
    )


if __name__ == "__main__":
    main()
