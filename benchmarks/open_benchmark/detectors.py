"""Detectors on the open benchmark's vias, the four densities merged, as in Geng et al.

python -m benchmarks.open_benchmark.detectors [--data DIR] [--work DIR] [--row NAME ...]
                                              [--seeds N] [--epochs N] [--measured] [--write]

Each row is one network, or one model of another kind, trained on the training regions but the last
of each density, which sets its threshold: the highest that finds 99 % there. All that learn by
gradient descent take the same number of steps. Tested in a single pass on the regions to test on,
whose seeds no training has. What is measured is kept in the work folder, training by training.
Seconds of detection are for all clips to test on, extrapolated from the same 4,096 pictures for
each row, timed one right after the other.
"""

from __future__ import annotations

import argparse
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.detectors.margins_against_bits import VARIANTS, spread
from benchmarks.detectors.results import TIMED, NotMeasuredError, Work, put
from benchmarks.machine import machine
from benchmarks.open_benchmark.labels import read_record
from benchmarks.open_benchmark.regions import list_regions
from pipeline.datasets.store import load_dataset
from pipeline.evaluate.model import EvaluateRequest, evaluate_model
from pipeline.train.model import TrainRequest, train_model
from pipeline.train.network_jobs import Machine
from stages.detector.catalogue import DETECTORS
from stages.detector.models import checkpoint
from stages.scores import build_scorer, choose_arithmetic, score_rasters

ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    # name: detector, training
    "attention, margins": ("attention", {}),
    "attention, bits": ("attention", VARIANTS["bits"]),
    "attention, without metric loss": ("attention", {"metric": "none"}),
    **{name: (name, {}) for name in DETECTORS if name not in ("attention", "prefilter")},
}
RECALL = 0.99
FITTED = ("density", "exact", "fuzzy")
"""Detectors that do not go through the clips in epochs."""
COLUMNS = {
    # figure: heading, how it is written
    "recall": ("recall", ".2%"),
    "false_alarm_rate": ("false alarms", ".2%"),
    "recall_at_0.01": ("recall at 1 %", ".2%"),
    "recall_at_0.02": ("at 2 %", ".2%"),
    "recall_at_0.05": ("at 5 %", ".2%"),
    "recall_with_marginal": ("recall with the marginal", ".2%"),
    "kind_named_rightly": ("kind named rightly", ".1%"),
    "pr_auc": ("PR AUC", ".3f"),
    "seconds": ("detection, s", ",.0f"),
}
THREADS = 1


def main() -> None:
    """Train and test what is not measured, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("build/open_benchmark"))
    parser.add_argument("--work", type=Path, default=Path("build/open_detectors"))
    parser.add_argument("--row", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--measured", action="store_true", help="measure nothing more")
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    asked.work.mkdir(parents=True, exist_ok=True)
    work = Work(asked.data, asked.work, not asked.measured)
    sets = find_sets(asked.data)
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in asked.row}
    for seed in range(asked.seeds):
        for name in asked.row:
            if seed and ROWS[name][0] in FITTED:
                continue
            kept = f"{name}-{asked.epochs}-{seed}"
            with suppress(NotMeasuredError):
                found[name].append(work.kept(kept, partial(
                    measure, name, sets, asked.work / f"{kept}.pt",
                    {"epochs": asked.epochs, "seed": seed},
                )))  # fmt: skip
    for name, seeds in found.items():
        if seeds:
            took = time_detection(asked.work / f"{name}-{asked.epochs}-0.pt", sets["test"])
            seeds[0]["seconds"] = took * seeds[0]["clips"]
    counts = f"{len(sets['train'])} regions to train on, {len(sets['test'])} to test on"
    text = f"{write_table(found)}\n\n{counts}; {asked.epochs} epochs. {machine()}"
    print(text)
    if asked.write:
        put("open", text)


def find_sets(data: Path) -> dict[str, tuple[Path, ...]]:
    """Return the labelled regions of vias to train on, to set thresholds with, and to test on."""
    regions = [region for region in list_regions(small=False) if region.set != "metal"]
    there = [region for region in regions if read_record(data, region)]
    trained = [region for region in there if region.split == "train"]
    last = {region.set: region for region in trained}.values()
    parts = {
        "train": [region for region in trained if region not in last],
        "validation": list(last),
        "test": [region for region in there if region.split == "test"],
    }
    return {part: tuple(data / each.name for each in found) for part, found in parts.items()}


def measure(
    name: str, sets: dict[str, tuple[Path, ...]], model: Path, length: dict[str, int]
) -> dict[str, Any]:
    """Train a detector and return what it does on the regions to test on."""
    detector, training = ROWS[name]
    train_model(TrainRequest(
        datasets=sets["train"], out=model, validation=sets["validation"], detector=detector,
        training={"recall": RECALL} | ({} if detector in FITTED else length) | training,
        prefilter=False,
    ), Machine(threads=THREADS), partial(print, model.stem, flush=True))  # fmt: skip
    return evaluate_model(EvaluateRequest(
        model=str(model), datasets=sets["test"], prefiltered=False, one_look=True
    ))  # fmt: skip


def time_detection(model: Path, test: tuple[Path, ...]) -> float:
    """Return the seconds of a processor that a model takes for a clip, in a single pass."""
    parts = [load_dataset(path).raster for path in test]
    step = max(1, sum(map(len, parts)) // TIMED)
    chosen = np.concatenate([part[::step] for part in parts])
    trained = checkpoint.load(model)
    arithmetic = choose_arithmetic(trained, "cpu", None)
    scorer = build_scorer(trained, one_look=True, arithmetic=arithmetic)
    score_rasters(chosen[:64], scorer)
    started = time.process_time()
    score_rasters(chosen, scorer)
    return (time.process_time() - started) / len(chosen)


def write_table(found: dict[str, list[dict[str, Any]]]) -> str:
    """Return mean and standard deviation of each row's figures over its seeds."""
    lines = [
        f"| detector | seeds | {' | '.join(heading for heading, _ in COLUMNS.values())} |",
        "|---|--:|" + "--:|" * len(COLUMNS),
    ]
    for name, seeds in found.items():
        cells = [spread(seeds, key, form) for key, (_, form) in COLUMNS.items()]
        lines.append(f"| {name} | {len(seeds)} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
