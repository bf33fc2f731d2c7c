"""Whether a certified recall holds, and what it costs: loops by look-up in fully simulated areas.

python -m benchmarks.findings.certify [--work DIR] [--seeds N] [--recall R] [--within W]
    [--budget SHARE] [NAME ...]

Labels each area by full simulation, once; then runs the loop of `hotscan scan --certify` with the
functions it uses, and looks the verdicts up. Each area is certified from the shipped model and from
none. Prints, over the seeds, how often the true recall is at least what was certified, the lowest,
and the share of the clips that was simulated. A stopped run resumes.

The policy was chosen on `block` and `shuttle_west`.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import zarr

from benchmarks.findings.audit import AREAS as AUDITED
from benchmarks.findings.audit import LAYER, MODEL, Area
from benchmarks.machine import machine
from pipeline.audit.features import make_model_features, rank_features
from pipeline.cli.progress import Progress as Shown
from pipeline.config import Resources
from pipeline.datasets.from_simulation import LabelRequest, label_layout
from pipeline.passes.model_file import find_model
from pipeline.passes.print_model import PROCESS
from stages.audit.certify import Frame, Progress, choose_round, record_round
from stages.audit.looks import Aim

SHUTTLE = "layouts/tt05_tiles_shelfpacked.oas"
AREAS = {
    "block": AUDITED["block"],
    "shuttle_west": Area(SHUTTLE, (0.0, 0.0, 300.0, 1158.0)),
    "shuttle": Area(SHUTTLE, (1500.0, 0.0, 2370.0, 1158.0)),
    "sram": AUDITED["sram"],
}
"""Two that the policy was chosen on; 1 mm2 that the shipped model never saw; the hardest."""
CHOSEN_ON = ("block", "shuttle_west")
STARTS = {"model": MODEL, "none": f"{PROCESS}krf130"}
"""What a loop starts from: a shipped model, or the process alone."""
PICTURES = 4096
"""Pictures whose features are computed at once."""


@dataclass(frozen=True, slots=True)
class Loop:
    """How one loop ended."""

    certified: bool
    low: float
    recall: float
    """The true one."""
    share: float
    rounds: int
    looks: int


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(AREAS))
    parser.add_argument("--work", type=Path, default=Path("build/certify"))
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--recall", type=float, default=0.99)
    parser.add_argument("--within", type=float, default=0.02)
    parser.add_argument("--budget", type=float, default=1.0)
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    aim = Aim(asked.recall, asked.within)
    print(machine(), flush=True)
    print(
        "\n| area | clips | hotspots | start | certified | bound held | lowest recall | "
        "mean share simulated | largest | rounds | looks | seconds a loop |\n"
        "|---|--:|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|"
    )
    for name in asked.names or [each for each in AREAS if each not in CHOSEN_ON]:
        for start in STARTS:
            frame, hot = make_frame(AREAS[name], asked.work / name, start, asked.workers)
            row = study(frame, hot, aim, range(asked.seeds), asked.budget)
            print(f"| {name} | {len(hot):,} | {hot.sum():,} | {start} | {row} |", flush=True)


def make_frame(
    area: Area, work: Path, start: str, workers: int
) -> tuple[Frame, npt.NDArray[np.bool_]]:
    """Return the clips of an area and which of them fail; simulate it in full, where not done."""
    layout = Path(os.environ.get("HOTSCAN_DATA", "../shared/data")) / area.layout
    work.mkdir(parents=True, exist_ok=True)
    truth = work / "truth"
    if not truth.exists():
        with Shown() as shown:
            label_layout(
                LabelRequest(layout=layout, out=truth, layers=(LAYER,), roi_um=area.roi_um),
                Resources(workers=workers), shown,
            )  # fmt: skip
    group = zarr.open_group(truth, mode="r")
    x, y, pattern, hot = (
        np.asarray(group[name]) for name in ("x_dbu", "y_dbu", "pattern", "label")
    )
    rows = measure(truth, work / f"features_{start}.npy", start)
    frame = Frame(x, y, pattern, rows, rank_features(rows, find_model(STARTS[start])))
    return frame, hot.astype(bool)


def measure(truth: Path, kept: Path, start: str) -> npt.NDArray[np.float32]:
    """Return the features of the pictures of a dataset, computed once."""
    if not kept.exists():
        features = make_model_features(find_model(STARTS[start]))
        raster = zarr.open_group(truth, mode="r")["raster"]
        assert isinstance(raster, zarr.Array)
        parts = [
            features.measure(np.asarray(raster[at : at + PICTURES]))
            for at in range(0, raster.shape[0], PICTURES)
        ]
        np.save(kept, np.concatenate(parts))
    return np.asarray(np.load(kept))


def run_loop(
    frame: Frame, hot: npt.NDArray[np.bool_], aim: Aim, seed: int, budget: float = 1.0
) -> Loop:
    """Run one loop, looking up the verdict on each clip that it simulates."""
    progress = Progress.of(frame)
    while not progress.meets(aim):
        following = choose_round(frame, progress, aim, int(budget * len(frame)), seed)
        if following is None:
            break
        progress = record_round(progress, following, hot[following.clips])
    return Loop(
        progress.meets(aim), progress.low, progress.hotspots / hot.sum(), progress.share,
        progress.rounds, progress.looks,
    )  # fmt: skip


def study(
    frame: Frame, hot: npt.NDArray[np.bool_], aim: Aim, seeds: Sequence[int], budget: float = 1.0
) -> str:
    """Return a row of the table."""
    started = time.perf_counter()
    loops = [run_loop(frame, hot, aim, seed, budget) for seed in seeds]
    spent_s = (time.perf_counter() - started) / len(loops)
    held = sum(each.recall >= each.low for each in loops)
    shares = [each.share for each in loops]
    return (
        f"{sum(each.certified for each in loops)} of {len(loops)} | {held} of {len(loops)} | "
        f"{min(each.recall for each in loops):.2%} | {np.mean(shares):.1%} | {max(shares):.1%} | "
        f"{np.mean([each.rounds for each in loops]):.1f} | "
        f"{np.mean([each.looks for each in loops]):.1f} | {spent_s:.1f}"
    )


if __name__ == "__main__":
    main()
