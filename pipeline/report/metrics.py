"""The regions that a run has no verdict for, and the figures of ``metrics.json``.

in       a run directory and its ledger
out      `NotScanned` regions; one flat object of numbers
promise  every place that was asked for and has no verdict is counted and named
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from pipeline.audit.result import Audited
from pipeline.audit.rounds import Certified
from pipeline.engine.memory import peak_rss_mb
from pipeline.engine.storage.ledger import Ledger, Totals
from pipeline.engine.storage.run_directory import Run, write_whole
from pipeline.passes.arrays import read_pattern_clips, read_patterns
from pipeline.report.run_view import RunView
from stages.contracts import Box, Clips
from stages.exports.pages.report_data import NotScanned
from stages.review.levels import count_levels
from stages.rows import read_field

_COUNTED = (
    "clips", "patterns", "scores", "features", "hotspots", "confirm", "frame", "audit", "classes",
    "fix", "fixes",
)  # fmt: skip
"""Stages whose counts are among the metrics."""


def find_unscored_clips(view: RunView, ledger: Ledger) -> Clips:
    """Return the clips whose pattern has no score."""
    finished = ledger.finished("clips")
    tiles = [tile.name for tile in view.job.tiles if tile.name in finished]
    (scores,) = read_patterns(view.run, "score")
    return read_pattern_clips(view.run, tiles, np.isnan(scores))[0]


def list_unscanned_regions(view: RunView, ledger: Ledger) -> tuple[NotScanned, ...]:
    """Return every region of the scanned area that has no verdict."""
    finished, failed = ledger.finished("clips"), ledger.failed("clips")
    regions = []
    for tile in view.job.tiles:
        box = tile.box.intersect(view.job.area)
        if tile.name not in finished and box is not None:
            why = failed[tile.name].error if tile.name in failed else "not run"
            regions.append(NotScanned(box, why))
    lost = find_unscored_clips(view, ledger)
    half = view.job.core_dbu // 2
    for x, y in zip(lost.x_dbu.tolist(), lost.y_dbu.tolist(), strict=True):
        core = Box(x - half, y - half, x + half, y + half).intersect(view.job.area)
        if core is not None:
            regions.append(NotScanned(core, "its pattern was not scored"))
    return tuple(regions)


def gather_metrics(
    view: RunView, ledger: Ledger, regions: tuple[NotScanned, ...]
) -> dict[str, Any]:
    """Return the flat, stable content of ``metrics.json``."""
    area = view.job.area.area
    # Cores of neighbouring clips may overlap: their sum bounds the area without a verdict.
    missed = min(sum(region.box.area for region in regions), area)
    um2 = (view.layout.dbu_nm / 1000) ** 2
    totals = {stage: ledger.totals(stage) for stage in _COUNTED}
    failed = totals["clips"].failed + totals["scores"].failed
    if view.simulated is not None:
        failed += totals["confirm"].failed
    unaudited = view.config.audit.size is not None and view.audited is None
    if unaudited:
        failed += totals["frame"].failed + totals["audit"].failed
    if view.config.fix.enabled:
        failed += totals["fix"].failed
    uncertified = view.config.certify.recall is not None and not (
        view.certified and view.certified.reached
    )
    if uncertified and view.certified is None:
        failed += totals["features"].failed + totals["audit"].failed
    return {
        "complete": not (regions or failed or view.unconfirmed or unaudited or uncertified),
        "hotspots": len(view.hotspots),
        "hotspots_sure": int((read_field(view.hotspots, "answer") == "hot").sum()),
        "hotspots_unique": len(np.unique(read_field(view.hotspots, "pattern"))),
        **{
            f"hotspots_level{level}": number for level, number in count_levels(view.reviews).items()
        },
        "hotspots_waived": len(view.waived.by),
        "waivers": len(view.waived.uses),
        "waivers_expired": len(view.waived.expired),
        "classes": int(totals["classes"].counts.get("classes", 0)),
        "clips": int(totals["clips"].counts.get("clips", 0)),
        "patterns": int(totals["patterns"].counts.get("patterns", 0)),
        "tiles_taken_over": int(totals["clips"].counts.get("taken_over", 0)),
        "patterns_taken_over": int(totals["scores"].counts.get("taken_over", 0)),
        "hot_clips": int(totals["hotspots"].counts.get("hot_clips", 0)),
        **_count_simulated(view, int(totals["confirm"].counts.get("windows", 0))),
        **({} if view.unfamiliar is None else {"unfamiliar_share": view.unfamiliar}),
        **_describe_audit(view.audited),
        **_count_fixed(view, totals),
        **_describe_certified(view.certified),
        "units_failed": failed,
        "regions_not_scanned": len(regions),
        "area_um2": area * um2,
        "area_covered_um2": (area - missed) * um2,
        "coverage_fraction": 1 - missed / area,
        "threshold": view.config.scores.threshold,
        "warnings": len(view.warnings),
        **{f"seconds_{stage}": spent for stage, spent in view.record.seconds.items()},
        "peak_rss_mb": round(max(view.record.peak_rss_mb, peak_rss_mb()), 1),
    }


def _count_simulated(view: RunView, windows: int) -> dict[str, int]:
    """Return the counts of the simulation of the hotspots; none if it was not asked for."""
    if view.simulated is None:
        return {}
    return {
        "hotspots_confirmed": sum(v.confirmed for v in view.simulated.verdicts.values()),
        "hotspots_not_simulated": view.unconfirmed,
        "hotspots_not_asked": len(view.hotspots) - len(view.to_simulate),
        "clips_simulated": view.simulated.clips_simulated,
        "clips_confirmed": view.simulated.clips_failing,
        "windows_simulated": windows,
    }


def _count_fixed(view: RunView, totals: Mapping[str, Totals]) -> dict[str, int]:
    """Return the counts of the fixes; none if none were searched."""
    if not view.config.fix.enabled:
        return {}
    return {
        "hotspots_fixed": int(totals["fixes"].counts.get("fixed", 0)),
        "classes_to_fix": totals["fix"].done,
        "classes_fixed": int(totals["fix"].counts.get("classes_fixed", 0)),
    }


def _describe_audit(audited: Audited | None) -> dict[str, Any]:
    """Return what an audit says of the scan, each limit at one end of an interval of 95 %."""
    if audited is None:
        return {}
    said = audited.estimate
    return {
        "audit_recall": said.recall,
        "audit_recall_low": said.recall_low,
        "audit_recall_high": said.recall_high,
        "audit_clips": audited.clips,
        "audit_hotspots_missed": said.missed,
        "audit_hotspots_missed_low": said.missed_low,
        "audit_hotspots_missed_high": said.missed_high,
    }


def _describe_certified(certified: Certified | None) -> dict[str, Any]:
    """Return what certifying says of the scan; the lower bound holds at 95 %."""
    if certified is None:
        return {}
    said = certified.stated
    return {
        "certified": certified.reached,
        "certified_recall": said.recall if said else None,
        "certified_recall_low": certified.low,
        "certify_recall": certified.aim.recall,
        "certify_within": certified.aim.within,
        "rounds": certified.rounds,
        "looks": certified.looks,
        "certify_clips": certified.simulated,
        "simulated_share": certified.share,
    }


def write_metrics(run: Run, metrics: Mapping[str, Any]) -> str:
    """Write ``metrics.json``, and return its name in the run."""
    path = run.report / "metrics.json"
    write_whole(path, json.dumps(metrics, indent=1).encode() + b"\n")
    return run.name_of(path)
