"""Make ``krf130-met1``: label, train, measure on area that it never saw.

python -m benchmarks.default_model [--work DIR] [--ship]

Training, validation and test are three separate strips of one real chip (TinyTapeout 02, sky130,
Apache-2.0), each simulated in full; they do not touch. Prints what docs/models/krf130-met1.md
states. Everything is kept in the work folder: a stopped run goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.cli.progress import Progress
from pipeline.config import Resources
from pipeline.datasets.from_simulation import LabelRequest, label_layout
from pipeline.evaluate.model import EvaluateRequest, evaluate_model
from pipeline.train.model import TrainRequest, train_model
from pipeline.train.network_jobs import Machine
from stages.contracts import RasterSpec
from stages.detector import checkpoint

CHIP = "layouts/tt02_user_project_wrapper.gds.gz"
SPEC = RasterSpec(pixel_nm=40.0, clip_px=64, core_px=32)
STRIPS_UM = {
    # name: region, step of the grid; hotspots are rare, so training looks four times as closely
    "train": ((0.0, 0.0, 450.0, 3510.0), 640.0),
    "validation": ((750.0, 0.0, 950.0, 3510.0), None),
    "test": ((1500.0, 0.0, 1800.0, 3510.0), None),
}
TRAINING = {"epochs": 40, "recall": 0.99, "seed": 0}
THREADS = 2


def main() -> None:
    """Run every step that is not done, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("build/krf130-met1"))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--ship", action="store_true", help="put the weights into the package")
    asked = parser.parse_args()
    chip = Path(os.environ.get("HOTSCAN_DATA", "../shared/data")) / CHIP
    asked.work.mkdir(parents=True, exist_ok=True)
    sets = {name: asked.work / name for name in STRIPS_UM}
    for name, (roi, stride) in STRIPS_UM.items():
        if not sets[name].exists():
            with Progress() as progress:
                label_layout(LabelRequest(
                    layout=chip, out=sets[name], layers=("68/20",), roi_um=roi, spec=SPEC,
                    stride_nm=stride,
                ), Resources(workers=asked.workers), progress)  # fmt: skip
    model = asked.work / "krf130-met1.pt"
    if not model.exists():
        started = time.monotonic()
        # The core is not pooled separately: with so many hotspots that was no gain (decision 11).
        train_model(TrainRequest(
            datasets=(sets["train"],), out=model, validation=(sets["validation"],),
            shape={"core_px": 0}, training=TRAINING,
        ), Machine(threads=THREADS), print)  # fmt: skip
        print(f"trained in {time.monotonic() - started:.0f} s")
    request = EvaluateRequest(
        model=str(model), datasets=(sets["test"],), trained_on=(sets["train"],)
    )
    figures = evaluate_model(request)
    alone = evaluate_model(replace(request, prefiltered=False))
    print(json.dumps({"with its prefilter": figures, "without": alone}, indent=1))
    prefilter = checkpoint.load(model).prefilter
    if prefilter is not None:
        print(f"the prefilter: {prefilter.about()}")
    if asked.ship:
        checkpoint.save(checkpoint.WEIGHTS / model.name, measured(model, figures))


def measured(model: Path, figures: dict[str, Any]) -> checkpoint.Checkpoint:
    """Return the model with what it does on the test strip, at the threshold of validation."""
    trained = checkpoint.load(model)
    point = replace(
        trained.operating_point,
        recall=figures["recall"],
        false_alarms=figures["false_alarms"],
        false_alarm_rate=figures["false_alarm_rate"],
        hotspots=figures["hotspots"],
        clips=figures["clips"],
    )
    on = f"{figures['clips']:,} simulated clips of area that it never saw"
    return replace(
        trained, operating_point=point, layers=("met1",),
        provenance={**trained.provenance, "measured_on": on},
    )  # fmt: skip


if __name__ == "__main__":
    main()
