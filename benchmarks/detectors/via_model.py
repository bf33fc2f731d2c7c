"""Make ``arfi45-via``: train on the open benchmark's vias, measure on its regions to test on.

python -m benchmarks.detectors.via_model [--data DIR] [--work DIR] [--epochs N] [--ship]

The four densities are merged. The last region to train on of each density sets the threshold; the
regions to test on have other seeds. Prints what docs/models/arfi45-via.md states.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from benchmarks.detectors.default_model import measured
from benchmarks.machine import machine
from benchmarks.open_benchmark.detectors import RECALL, find_sets
from pipeline.evaluate.model import EvaluateRequest, evaluate_model
from pipeline.train.model import TrainRequest, train_model
from pipeline.train.network_jobs import Machine
from stages.detector.models import checkpoint

SHIPPED = "arfi45-via"
THREADS = 1


def main() -> None:
    """Train unless that is done, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("build/open_benchmark"))
    parser.add_argument("--work", type=Path, default=Path("build/arfi45-via"))
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--ship", action="store_true", help="put the weights into the package")
    asked = parser.parse_args()
    asked.work.mkdir(parents=True, exist_ok=True)
    sets, model = find_sets(asked.data), asked.work / f"{SHIPPED}.pt"
    if not model.exists():
        train_model(TrainRequest(
            datasets=sets["train"], out=model, validation=sets["validation"],
            shape={"core_px": 0},
            training={"recall": RECALL, "seed": 0, "epochs": asked.epochs},
        ), Machine(threads=THREADS), print)  # fmt: skip
    for prefiltered in (True, False):
        figures = evaluate_model(EvaluateRequest(
            model=str(model), datasets=sets["test"], prefiltered=prefiltered
        ))  # fmt: skip
        print(json.dumps({"prefiltered": prefiltered, **figures}, indent=1))
    print(machine())
    if asked.ship:
        checkpoint.save(checkpoint.WEIGHTS / model.name, measured(model, figures, "via"))


if __name__ == "__main__":
    main()
