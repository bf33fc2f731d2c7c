"""Make ``arfi45``: train on metal of one chip as the open benchmark has it, measure on others.

python -m benchmarks.detectors.arfi45_model [--data DIR] [--work DIR] [--workers N] [--epochs N]
                                            [--label-only] [--ship]

Trained on the squares of a shrunk chip that the open benchmark trains on, and on more of them,
shrunk by more or less and labelled here after OPC; some of these set the epoch and the threshold.
Measured on the metal that the benchmark tests on: blocks of another shuttle, each by another
author. A stopped run resumes. Prints what docs/models/arfi45.md states.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from benchmarks.detectors.shipped_model import make_model
from benchmarks.open_benchmark.labels import label_region, read_record
from benchmarks.open_benchmark.regions import (
    CHIP,
    CHIP_ADDRESS,
    CHIP_CORNERS_UM,
    Metal,
    Region,
    list_regions,
)
from pipeline.cli.progress import Progress
from pipeline.config import Resources

MORE_CORNERS_UM = (
    (1800, 1800), (1800, 1400), (1400, 400), (1400, 2000), (0, 2000), (1600, 1000), (200, 2000),
    (1200, 1200), (1600, 200), (1000, 1600), (400, 800), (800, 1000), (1400, 1000), (1600, 0),
    (600, 1000), (1000, 200),
)  # fmt: skip
"""The next sixteen squares of the chip by number of shapes, left of 2,000 um: what lies right of
2,200 um is for `benchmarks.findings.saving`."""
LEAST_NM = (44.0, 44.5, 45.0, 46.0)
"""Widths that these are shrunk to, in turn, so that the model sees more than one."""
ANY, SEED = 44, 0
"""So many of the others, drawn from a seed: what is sparse fails in ways of its own."""
VALIDATION = 5
"""Every fifth sets the epoch and the threshold: of each width, dense ones and sparse ones."""
TRAINING = {"recall": 0.99, "seed": 0}
SHIPPED = "arfi45"


def main() -> None:
    """Run every step that is not done, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("build/open_benchmark"))
    parser.add_argument("--work", type=Path, default=Path("build/arfi45"))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=28)
    parser.add_argument("--label-only", action="store_true")
    parser.add_argument("--ship", action="store_true", help="put the weights into the package")
    asked = parser.parse_args()
    asked.work.mkdir(parents=True, exist_ok=True)
    more = list_more()
    with Progress() as progress:
        for region in more:
            label_region(region, asked.work, None, Resources(workers=asked.workers), progress)
    if asked.label_only:
        return
    there = [
        each for each in list_regions() if each.set == "metal" and read_record(asked.data, each)
    ]
    train, test = (
        tuple(asked.data / each.name for each in there if each.split == split)
        for split in ("train", "test")
    )
    validation = tuple(asked.work / each.name for each in more[::VALIDATION])
    added = (asked.work / each.name for n, each in enumerate(more) if n % VALIDATION)
    sets = {"train": (*train, *added), "validation": validation, "test": test}
    training = TRAINING | {"epochs": asked.epochs}
    model = asked.work / f"{SHIPPED}.pt"
    make_model(model, sets, training, "met1", ship=asked.ship, cut_out=True)


def list_more() -> list[Region]:
    """Return the squares that are labelled here; they are numbered after the benchmark's."""
    known = {*CHIP_CORNERS_UM, *MORE_CORNERS_UM}
    others = [
        (x, y) for x in range(0, 2000, 200) for y in range(0, 2200, 200) if (x, y) not in known
    ]
    drawn = [others[n] for n in np.random.default_rng(SEED).permutation(len(others))[:ANY]]
    return [
        Region("metal", "train", len(CHIP_CORNERS_UM) + n, Metal(
            CHIP, CHIP_ADDRESS, box_um=(x, y, x + 200, y + 200),
            least_nm=LEAST_NM[n % len(LEAST_NM)],
        ))
        for n, (x, y) in enumerate((*MORE_CORNERS_UM, *drawn))
    ]  # fmt: skip


if __name__ == "__main__":
    main()
