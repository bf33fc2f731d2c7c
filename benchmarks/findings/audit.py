"""Whether the intervals of an audit hold: 2,000 audits by look-up in fully simulated areas.

python -m benchmarks.findings.audit [--work DIR] [--audits N] [--share SHARE]
    [--workers N] [NAME ...]

Labels each area by full simulation and scans it with the default model, once; then draws and
estimates with the functions of `hotscan audit`, and looks the verdicts up. Prints how often the
true recall lies in the interval of 95 %, how wide the interval is, and how wide it would be with
the best allocation to the same strata, which needs the truth. A stopped run resumes.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import zarr

from benchmarks.machine import machine
from pipeline.cli.progress import Progress
from pipeline.config import Resources, load_config
from pipeline.datasets.from_simulation import LabelRequest, label_layout
from pipeline.engine.storage.run_directory import Run
from pipeline.engine.storage.run_record import read_record
from pipeline.passes.arrays import read_pattern_clips, read_patterns
from pipeline.passes.scan_settings import ScanSettings
from pipeline.scan.request import ScanRequest
from pipeline.scan.scan import scan
from stages.audit.draw import STRATA, allocate, choose_first, place_in_strata, rank_clips
from stages.audit.estimate import Estimate, Sampled, estimate_recall
from stages.contracts import Floats, Int64s

LAYER, MODEL = "68/20", "krf130-met1"
SEARCHED = 40
"""Samples by which an allocation is judged in the search for the best."""


@dataclass(frozen=True, slots=True)
class Area:
    """An area to simulate in full."""

    layout: str
    roi_um: tuple[float, float, float, float] | None = None


CHIP = "layouts/tt02_user_project_wrapper.gds.gz"
AREAS = {
    "chip": Area(CHIP, (1500.0, 0.0, 1850.0, 3510.0)),
    "sram": Area("layouts/mpw1_sram_32x256.gds.gz"),
    "quiet": Area(CHIP, (1650.0, 2040.0, 1800.0, 2190.0)),
    "block": Area("layouts/tt02_jar_pi.gds"),
}
"""Over 5,000 hotspots; a recall under 60 %; under 50 hotspots; a small block."""


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """The clips of an area, all simulated."""

    x_dbu: Int64s
    y_dbu: Int64s
    stratum: Int64s
    hot: npt.NDArray[np.bool_]

    def count(self, which: npt.NDArray[np.bool_] | None = None) -> Int64s:
        """Return the clips of each stratum, or those of a mask."""
        placed = self.stratum if which is None else self.stratum[which]
        return np.bincount(placed, minlength=len(STRATA))


FLAGGED = np.array([each.flagged for each in STRATA])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(AREAS))
    parser.add_argument("--work", type=Path, default=Path("build/audit"))
    parser.add_argument("--audits", type=int, default=2000)
    parser.add_argument("--share", type=float, default=0.03)
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    print(machine(), flush=True)
    print(
        "\n| area | clips | hotspots | recall | flagged ones | simulated | truth inside | "
        "mean width, points | best allocation | ratio |\n|---|--:|--:|--:|---|--:|--:|--:|--:|--:|"
    )
    for name in asked.names or AREAS:
        truth = make_truth(AREAS[name], asked.work / name, Resources(workers=asked.workers))
        for confirmed in (True, False):
            row = study(truth, asked.audits, asked.share, confirmed=confirmed)
            print(f"| {name} | {row} |", flush=True)


def make_truth(area: Area, work: Path, resources: Resources) -> Truth:
    """Simulate and scan an area, where that is not done."""
    layout = Path(os.environ.get("HOTSCAN_DATA", "../shared/data")) / area.layout
    work.mkdir(parents=True, exist_ok=True)
    with Progress() as progress:
        if not (work / "truth").exists():
            label_layout(
                LabelRequest(
                    layout=layout, out=work / "truth", layers=(LAYER,), roi_um=area.roi_um
                ),
                resources, progress,
            )  # fmt: skip
        config = load_config(None, {
            "layout": {"layers": [LAYER], "roi_um": area.roi_um}, "scores": {"model": MODEL},
        })  # fmt: skip
        scan(ScanRequest(layout=layout, out=work / "scan", config=config), resources, progress)
    return read_truth(work / "truth", Run(work / "scan"))


def read_truth(dataset: Path, run: Run) -> Truth:
    """Return the clips of a scan with the labels of a dataset of the same area."""
    threshold = ScanSettings.of(read_record(run)).config.scores.threshold
    assert threshold is not None  # the resolved config holds the model's own
    (scores,) = read_patterns(run, "score")
    tiles = sorted(path.stem for path in (run.path / "clips").glob("*.parquet"))
    clips, pattern, _ = read_pattern_clips(run, tiles, np.ones(len(scores), bool))
    group = zarr.open_group(dataset, mode="r")
    x, y, hot = (np.asarray(group[name]) for name in ("x_dbu", "y_dbu", "label"))
    ours, theirs = np.lexsort((clips.x_dbu, clips.y_dbu)), np.lexsort((x, y))
    score = scores[pattern][ours]
    x, y = clips.x_dbu[ours], clips.y_dbu[ours]
    assert np.array_equal(x, np.asarray(group["x_dbu"])[theirs])
    return Truth(x, y, place_in_strata(score, score >= threshold, threshold), hot[theirs])


def study(truth: Truth, audits: int, share: float, *, confirmed: bool) -> str:
    """Return a row of the table."""
    sizes, hot = truth.count(), truth.count(truth.hot)
    recall = hot[FLAGGED].sum() / hot.sum()
    clips = round(share * len(truth.hot))
    drawn = allocate(np.where(FLAGGED & confirmed, 0, sizes).tolist(), clips)
    known = int(hot[FLAGGED].sum()) if confirmed else 0
    hits = [draw_hits(truth, drawn, seed) for seed in range(audits)]
    said = [estimate_hits(sizes, drawn, each, known) for each in hits]
    inside = sum(holds(each, recall) for each in said)
    width = np.mean([measure_width(each) for each in said])
    best = find_best_width(sizes, hot, drawn, known)
    flagged = "known" if confirmed else "sampled"
    return (
        f"{len(truth.hot):,} | {hot.sum():,} | {recall:.1%} | {flagged} | {drawn.sum():,} | "
        f"{inside:,} of {audits:,} | {100 * width:.2f} | {100 * best:.2f} | {width / best:.2f}"
    )


def draw_hits(truth: Truth, drawn: Int64s, seed: int) -> Int64s:
    """Return how many hotspots of each stratum a sample holds."""
    rank = rank_clips(truth.x_dbu, truth.y_dbu, seed)
    return truth.count(choose_first(rank, truth.stratum, drawn) & truth.hot)


def estimate_hits(sizes: Int64s, drawn: Int64s, hits: Int64s, known: int) -> Estimate:
    """Return what an audit says of a sample."""
    rows = zip(sizes.tolist(), drawn.tolist(), hits.tolist(), FLAGGED.tolist(), strict=True)
    return _estimate(tuple(row for row in rows if row[1]), known)


@lru_cache(maxsize=1 << 16)
def _estimate(rows: tuple[tuple[int, int, int, bool], ...], known: int) -> Estimate:
    strata = [
        Sampled(size, drawn, hits * flagged, hits * (not flagged), flagged, not flagged)
        for size, drawn, hits, flagged in rows
    ]
    return estimate_recall(strata, known)


def holds(said: Estimate, recall: float) -> bool:
    """Return whether an interval holds the true recall; one that is not given holds any."""
    if said.recall_low is None or said.recall_high is None:
        return True
    return bool(said.recall_low <= recall <= said.recall_high)


def measure_width(said: Estimate) -> float:
    """Return the width of an interval; 1 where it is not given."""
    if said.recall_low is None or said.recall_high is None:
        return 1.0
    return said.recall_high - said.recall_low


def find_best_width(sizes: Int64s, hot: Int64s, start: Int64s, known: int) -> float:
    """Return the least mean width of an interval over allocations of the same number of clips.

    Searched among those in proportion to the true deviations of the strata, Neyman's, with a floor
    below them, and from the best of these and from `start` by doubling and halving the share of one
    stratum after another for as long as that helps.
    """
    open_to = np.where(start > 0, sizes, 0)
    mean = partial(_average_width, sizes, hot, known)
    share = hot / np.maximum(sizes, 1)
    recall = (known + hot[FLAGGED & (start > 0)].sum()) / hot.sum()
    missed = np.where(FLAGGED, 1 - recall, recall)
    neyman = [
        _fit(open_to, np.sqrt(share * (1 - share) + floor) * missed, int(start.sum()))
        for floor in np.geomspace(1e-7, 1e-1, 13)
    ]
    first = min(neyman, key=lambda drawn: mean(tuple(drawn.tolist())))
    return min(_descend(mean, open_to, each) for each in (first, start))


def _fit(sizes: Int64s, weight: Floats, clips: int) -> Int64s:
    """Return a number of clips for each stratum in proportion to size and weight."""
    wanted = sizes * weight
    low, high = 0.0, clips / wanted[wanted > 0].min()
    for _ in range(60):
        scale = (low + high) / 2
        drawn = np.clip(scale * sizes * weight, np.minimum(sizes, 1), sizes).astype(np.int64)
        low, high = (scale, high) if drawn.sum() < clips else (low, scale)
    return np.asarray(drawn)


def _average_width(sizes: Int64s, hot: Int64s, known: int, drawn: tuple[int, ...]) -> float:
    rng = np.random.default_rng(0)
    hits = rng.hypergeometric(hot, sizes - hot, drawn, (SEARCHED, len(sizes)))
    said = [estimate_hits(sizes, np.array(drawn), each, known) for each in hits]
    return float(np.mean([measure_width(each) for each in said]))


def _descend(mean: Callable[[tuple[int, ...]], float], sizes: Int64s, drawn: Int64s) -> float:
    """Return the least value that doubling or halving the share of a stratum at a time reaches."""
    best, clips = mean(tuple(drawn.tolist())), int(drawn.sum())
    tried = True
    while tried:
        tried = False
        for stratum in np.flatnonzero(drawn).tolist():
            for factor in (0.5, 2.0):
                weight = drawn / np.maximum(sizes, 1)
                weight[stratum] *= factor
                other = _fit(sizes, weight, clips)
                width = mean(tuple(other.tolist()))
                if width < 0.995 * best:
                    best, drawn, tried = width, other, True
    return best


if __name__ == "__main__":
    main()
