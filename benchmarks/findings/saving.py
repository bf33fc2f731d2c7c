"""Full simulation against scan and confirm, on the same area, in one run.

python -m benchmarks.findings.saving [--case CASE ...] [--area MM2] [--work DIR] [--workers N]
                                    [--certify]

For each case something that no shipped model was trained on is simulated in full. A clip surely
fails, or surely passes, where the worst place of its core is further than `MARGINAL` from its
limit; the others are marginal, and counted apart. Then it is scanned, and what the scan
flags is confirmed. The threshold is the highest at which the scan finds 99 % of what surely fails,
or the model's own where that is lower: what a scan saves is measured, not how well its threshold
was chosen. Times are of the whole commands, from the layout's file to the report, wall and
processor; full simulation draws no contours. With ``--certify`` the area is scanned once more, from
the same model at its own threshold, until a recall of 99 % is certified within two points.
"""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import Spent, machine, time_work
from benchmarks.open_benchmark.layouts import WIDTH_NM, shrink_metal, write_layout
from benchmarks.open_benchmark.regions import CHIP, CHIP_ADDRESS, MET1, Metal, Region
from pipeline.audit.rounds import find_failing
from pipeline.cli.progress import Progress
from pipeline.config import Resources, load_config
from pipeline.engine.storage.run_directory import Run
from pipeline.engine.storage.tables import read_table
from pipeline.passes.arrays import read_pattern_clips, read_patterns
from pipeline.report.run_results import make_confirmation
from pipeline.report.run_view import open_view
from pipeline.scan.request import ScanRequest
from pipeline.scan.scan import scan
from pipeline.simulate import confirm
from pipeline.simulate.region import SimulateRequest, simulate_region
from pipeline.simulate.tiles import MARGINS
from sample_layouts.vias import DENSITIES, LAYERS, write_vias
from stages.contracts import Clips, Float32s, Floats, Layer
from stages.detector.models import checkpoint
from stages.lithography.measure.margins import (
    Bools,
    CellMargins,
    find_worst_margin,
    split_by_margin,
    take_clip_margins,
)
from stages.lithography.process import load_process

RECALL = 0.99
VIAS, SEED = "via2", 5000
"""Vias are drawn as on this layer, from a seed of which nothing was trained on."""


@dataclass(frozen=True, slots=True)
class Strip:
    """Metal of the chip, as it is or shrunk."""

    place_um: tuple[float, float]
    """Lower left corner on the chip."""
    width_um: float
    least_nm: float | None = None
    """The chip's least width is shrunk to this; None as it is."""
    layer: str = str(MET1)

    def make(self, area_mm2: float, work: Path) -> tuple[Path, tuple[float, ...] | None]:
        """Return the layout of so much and its region in it; None for all of it."""
        (x, y), shrink = self.place_um, (self.least_nm or WIDTH_NM) / WIDTH_NM
        height = area_mm2 * 1e6 / shrink**2 / self.width_um
        on_chip = (x, y, x + self.width_um, y + height)
        if self.least_nm is None:
            return Path(os.environ.get("HOTSCAN_DATA", "../shared/data")) / CHIP, on_chip
        source = Metal(CHIP, CHIP_ADDRESS, box_um=on_chip, least_nm=self.least_nm)
        path = work / "strip.gds"
        write_layout(path, Region("metal", "test", 0, source), shrink_metal(source, work))
        return path, None


@dataclass(frozen=True, slots=True)
class ViaSquare:
    """Drawn vias."""

    groups: float
    """Groups off the tracks, of which some fail, for each of the layer that was trained on."""
    layer: str = str(Layer(*LAYERS[VIAS]))

    def make(self, area_mm2: float, work: Path) -> tuple[Path, None]:
        """Return the layout of so much; all of it is printed."""
        dense, path = DENSITIES[VIAS], work / "vias.gds"
        density = replace(dense, groups=dense.groups * self.groups)
        write_vias(path, layer=VIAS, side_um=1000 * area_mm2**0.5, seed=SEED, density=density)
        return path, None


@dataclass(frozen=True, slots=True)
class Case:
    """What is printed, the process that it is printed with, and the model that scans it."""

    process: str
    model: str
    opc: str
    source: Strip | ViaSquare


CASES = {
    "krf130": Case("krf130", "krf130-met1", "none", Strip((1500.0, 0.0), 600.0)),
    **{
        f"arfi45-{least_nm:g}": Case(
            "arfi45", "arfi45", "model", Strip((2200.0, 0.0), 704.0, least_nm)
        )
        for least_nm in (46.0, 45.0, 44.5, 44.0)
    },
    **{
        name: Case("arfi45-via", "arfi45-via", "model", ViaSquare(groups))
        for name, groups in (("vias", 1.0), ("vias-half", 0.5), ("vias-tenth", 0.1))
    },
}


def main() -> None:
    """Simulate, scan and confirm each case, and print its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--area", type=float, default=1.05, help="mm2 of each case")
    parser.add_argument("--work", type=Path, default=Path("build/saving"))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--certify", action="store_true")
    asked = parser.parse_args()
    print(machine())
    for name in asked.case:
        work = asked.work / f"{name}-{asked.area:g}"
        resources = Resources(workers=asked.workers)
        _measure(name, CASES[name], asked.area, work, resources, certify=asked.certify)


def _measure(
    name: str, case: Case, area_mm2: float, work: Path, resources: Resources, *, certify: bool
) -> None:
    """Run a case from scratch and print what it took."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    layout, roi_um = case.source.make(area_mm2, work)
    request = SimulateRequest(
        layout, work / "full", case.source.layer, case.process, opc=case.opc, roi_um=roi_um,
        contours=False, core_nm=checkpoint.load(checkpoint.find(case.model)).raster.core_nm,
    )  # fmt: skip
    settings: dict[str, dict[str, Any]] = {
        "layout": {"layers": [case.source.layer], "roi_um": roi_um},
        "scores": {"model": case.model}, "confirm": {"enabled": True, "opc": case.opc},
    }  # fmt: skip
    with Progress() as progress:
        full, full_took = time_work(lambda: simulate_region(request, resources, progress))

        def scan_into(out: str, **changed: dict[str, Any]) -> Mapping[str, Any]:
            config = load_config(None, {
                table: settings.get(table, {}) | changed.get(table, {})
                for table in settings.keys() | changed.keys()
            })  # fmt: skip
            return scan(ScanRequest(layout=layout, out=work / out, config=config), resources,
                        progress).metrics  # fmt: skip

        scan_into("scores", confirm={"enabled": False})
        margin = _read_margins(work)
        threshold = _choose_threshold(work / "scores", margin)
        metrics, scan_took = time_work(lambda: scan_into("scan", scores={"threshold": threshold}))
        _print(name, full, full_took, dict(metrics), scan_took, margin, work / "scan", resources)
        if certify:
            metrics, took = time_work(lambda: scan_into("certified", certify={"recall": RECALL}))
            _print_certified(metrics, full_took, took, margin, work / "certified")


def _read_clips(path: Path) -> tuple[Clips, Floats, int]:
    """Return the clips with their cores in the area, the score of each, the core's side in dbu."""
    view = open_view(Run(path))
    names = sorted(file.stem for file in (path / "clips").glob("*.parquet"))
    (scores,) = read_patterns(view.run, "score")
    clips, pattern, _ = read_pattern_clips(view.run, names, np.ones(len(scores), bool))
    area, half = view.job.area, view.job.core_dbu // 2
    inside = (clips.x_dbu >= area.x_min + half) & (clips.x_dbu <= area.x_max - half)
    inside &= (clips.y_dbu >= area.y_min + half) & (clips.y_dbu <= area.y_max - half)
    return clips.select(inside), scores[pattern[inside]].astype(float), view.job.core_dbu


def _read_margins(work: Path) -> Float32s:
    """Return how far the worst place of every clip of the scan is past its limit, (n,)."""
    clips, _, core_dbu = _read_clips(work / "scores")
    table = read_table(work / "full" / "margins.parquet", MARGINS)
    x, y, *margin = (table[name].to_numpy() for name in MARGINS.names)
    cells = CellMargins(x, y, np.stack(margin, axis=1))
    of_clip = take_clip_margins(cells, core_dbu, clips.x_dbu, clips.y_dbu, core_dbu)
    return find_worst_margin(of_clip)


def _choose_threshold(path: Path, margin: Float32s) -> float:
    """Return the highest threshold that finds `RECALL` of what surely fails, or the model's own."""
    _, score, _ = _read_clips(path)
    sure = np.sort(score[split_by_margin(margin)[0]])[::-1]
    own = float(open_view(Run(path)).config.scores.threshold or 0)
    return min(own, float(sure[int(np.ceil(RECALL * len(sure))) - 1])) if len(sure) else own


def _read_verdicts(path: Path) -> dict[tuple[int, int], bool]:
    """Return whether each simulated clip of a scan fails, by its place."""
    view = open_view(Run(path))
    job = make_confirmation(view.job, view.config, load_process(view.model.process))
    names = [file.stem for file in sorted((path / "confirm").glob("*.parquet"))]
    margins = confirm.read_clip_margins(job, names)
    return {place: bool(margin.max() > 0) for place, margin in margins.items()}


def _print(
    name: str, full: Mapping[str, Any], full_took: Spent, metrics: Mapping[str, Any],
    scan_took: Spent, margin: Float32s, path: Path, resources: Resources,
) -> None:  # fmt: skip
    clips, _, _ = _read_clips(path)
    verdicts = _read_verdicts(path)
    places = list(zip(clips.x_dbu.tolist(), clips.y_dbu.tolist(), strict=True))
    flagged = np.array([place in verdicts for place in places])
    confirmed = np.array([verdicts.get(place, False) for place in places])
    fails, passes = split_by_margin(margin)
    near = ~(fails | passes)
    windows = max(int(metrics["windows_simulated"]), 1)
    seconds = {key: value for key, value in metrics.items() if key.startswith("seconds_")}
    confirm_s = seconds.get("seconds_confirm", 0.0)  # nothing is flagged where nothing fails
    window_ms = 1000 * confirm_s * max(resources.workers, 1) / windows
    perfect_s = (
        scan_took.wall_s
        - seconds["seconds_scores"]
        - confirm_s * (1 - (fails.sum() + (near & (margin > 0)).sum()) / max(flagged.sum(), 1))
    )
    area_mm2 = full["area_um2"] / 1e6
    lines = {
        "area, mm2": f"{area_mm2:.4f}",
        "clips": f"{len(clips):,}",
        "surely fail, by full simulation": f"{fails.sum():,} ({fails.mean():.2%})",
        "marginal": f"{near.sum():,}, of which {(near & (margin > 0)).sum():,} fail",
        "flagged": f"{flagged.sum():,} ({flagged.mean():.2%})",
        "windows simulated": f"{windows:,}",
        "recall of what surely fails": f"{_share(confirmed, fails):.2%}",
        "recall of the scan, before confirming": f"{_share(flagged, fails):.2%}",
        "recall with the marginal": f"{_share(confirmed, margin > 0):.2%}",
        "sure false alarms after confirming": f"{(confirmed & passes).sum():,}",
        "of the flagged: surely failing and confirmed": f"{_share(confirmed, flagged & fails):.2%}",
        "of the flagged: surely passing and not confirmed":
            f"{_share(~confirmed, flagged & passes):.2%}",
        "of the flagged: marginal, with the same verdict":
            f"{_share(confirmed == (margin > 0), flagged & near):.2%}",
        "full simulation, s": f"{full_took.wall_s:.0f} (processors {full_took.processor_s:.0f})",
        "scan and confirm, s": f"{scan_took.wall_s:.0f} (processors {scan_took.processor_s:.0f}): "
        + ", ".join(f"{key.removeprefix('seconds_')} {s:.1f}" for key, s in seconds.items()),
        "a confirmed window, ms of a worker": f"{window_ms:.1f}",
        "full simulation takes, times as long": _compare(full_took, scan_took),
        "with a perfect detector that costs nothing": f"{full_took.wall_s / perfect_s:.2f}",
    }  # fmt: skip
    _print_table(name, lines)


def _print_certified(
    metrics: Mapping[str, Any], full: Spent, took: Spent, margin: Float32s, path: Path
) -> None:
    """Print what a certified scan claims, what is true of it, and what it took."""
    clips, _, _ = _read_clips(path)
    confirmed = find_failing(Run(path), clips)
    _print_table("certified", {
        "certified": str(metrics["certified"]),
        "recall at least": f"{metrics['certified_recall_low'] or 0:.2%}",
        "recall of what surely fails": f"{_share(confirmed, split_by_margin(margin)[0]):.2%}",
        "recall with the marginal": f"{_share(confirmed, margin > 0):.2%}",
        "rounds; clips simulated": f"{metrics['rounds']}; {metrics['simulated_share']:.2%}",
        "scan and certify, s": f"{took.wall_s:.0f} (processors {took.processor_s:.0f})",
        "full simulation takes, times as long": _compare(full, took),
    })  # fmt: skip


def _print_table(name: str, lines: Mapping[str, str]) -> None:
    print(f"\n| {name} | |\n|---|--:|")
    for line, value in lines.items():
        print(f"| {line} | {value} |", flush=True)


def _compare(full: Spent, took: Spent) -> str:
    processors = full.processor_s / took.processor_s
    return f"{full.wall_s / took.wall_s:.2f} (processors {processors:.2f})"


def _share(holds: Bools, of: Bools) -> float:
    return float((holds & of).sum() / max(of.sum(), 1))


if __name__ == "__main__":
    main()
