"""Make ``arfi45-via``: train on the open benchmark's vias, measure on its regions to test on.

python -m benchmarks.detectors.via_model [--data DIR] [--work DIR] [--epochs N] [--ship]

The four densities are merged. The last region to train on of each density sets the threshold; the
regions to test on have other seeds. Prints what docs/models/arfi45-via.md states.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.detectors.shipped_model import make_model
from benchmarks.open_benchmark.detectors import RECALL, find_sets

TRAINING = {"recall": RECALL, "seed": 0}
SHIPPED = "arfi45-via"


def main() -> None:
    """Train unless that is done, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("build/open_benchmark"))
    parser.add_argument("--work", type=Path, default=Path("build/arfi45-via"))
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--ship", action="store_true", help="put the weights into the package")
    asked = parser.parse_args()
    asked.work.mkdir(parents=True, exist_ok=True)
    training = TRAINING | {"epochs": asked.epochs}
    model = asked.work / f"{SHIPPED}.pt"
    make_model(model, find_sets(asked.data), training, "via", ship=asked.ship)


if __name__ == "__main__":
    main()
