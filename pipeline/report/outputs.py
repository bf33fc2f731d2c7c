"""What a run gives away: metrics, tables, markers, the page, and exports of them.

in       a run directory and what its session knows
out      the files of ``RUN/report``, or one file of a chosen format
promise  everything here can be made again from the run directory; what has no verdict is named
         in the page, in the markers and in the metrics
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from pipeline.config import ScanConfig
from pipeline.engine.ledger import Ledger
from pipeline.engine.memory import peak_rss_mb
from pipeline.engine.run_directory import Run, write_table, write_whole
from pipeline.engine.run_record import has_record, read_record
from pipeline.passes.arrays import clips_of, read_patterns
from pipeline.passes.job import Job
from pipeline.report.page_data import report_data
from pipeline.report.run_view import MOST_REGIONS, RunView
from pipeline.simulate import confirm
from stages.contracts import (
    Box,
    Clips,
    Hotspot,
    Verdict,
)
from stages.errors import IncompleteError, UsageError
from stages.exports.lyrdb import lyrdb, write_lyrdb_gz
from stages.exports.markers import free_layer, write_clips, write_markers
from stages.exports.pages.report import NotScanned, render_report
from stages.exports.tables import hotspots_csv, hotspots_json, hotspots_to_table, table_to_hotspots
from stages.geometry.window_query import query
from stages.lithography.process import Process

FORMATS = ("gds", "oas", "lyrdb", "csv", "json", "parquet", "clips")


def read_hotspots(run: Run) -> tuple[Hotspot, ...]:
    """Return the hotspots of a run.

    Raises
    ------
    IncompleteError
        When the run has not come to its hotspots.
    """
    if not run.hotspots.exists():
        finish = f"finish the scan with: hotscan resume {run.path}"
        if has_record(run) and (shard := read_record(run).settings.get("shard")):
            finish = f"it is part {shard}: put the parts together with hotscan merge"
        raise IncompleteError(f"{run.path} has no hotspots yet; {finish}")
    return table_to_hotspots(pq.read_table(run.hotspots))


def confirmation(job: Job, config: ScanConfig, process: Process) -> confirm.Confirmation:
    """Return how hotspots are simulated."""
    asked = config.confirm
    assert asked.opc is not None  # resolve_config put the model's in
    return confirm.confirmation(Run(job.run), job.core_dbu, process, asked.opc, asked.batch_fields)


def read_confirmed(
    job: Job, config: ScanConfig, process: Process, ledger: Ledger
) -> confirm.Confirmed | None:
    """Return what simulation says of the hotspots; None when none was to be simulated."""
    if not config.confirm.enabled:
        return None
    finished = sorted(ledger.finished("confirm"))
    return confirm.read_confirmed(confirmation(job, config, process), finished)


def unanswered_clips(view: RunView, ledger: Ledger) -> Clips:
    """Return the clips whose pattern has no score."""
    finished = ledger.finished("clips")
    tiles = [tile.name for tile in view.job.tiles if tile.name in finished]
    (scores,) = read_patterns(view.run, "score")
    return clips_of(view.run, tiles, np.isnan(scores))[0]


def not_scanned(view: RunView, ledger: Ledger) -> tuple[NotScanned, ...]:
    """Return every region without a verdict, in the area that was to be scanned."""
    finished, failed = ledger.finished("clips"), ledger.failed("clips")
    regions = []
    for tile in view.job.tiles:
        box = tile.box.intersect(view.job.area)
        if tile.name not in finished and box is not None:
            why = failed[tile.name].error if tile.name in failed else "not run"
            regions.append(NotScanned(box, why))
    lost = unanswered_clips(view, ledger)
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
    stages = ("clips", "patterns", "scores", "hotspots", "confirm")
    totals = {stage: ledger.totals(stage) for stage in stages}
    failed = totals["clips"].failed + totals["scores"].failed
    simulated = {}
    if view.simulated is not None:
        failed += totals["confirm"].failed
        simulated = {
            "hotspots_confirmed": sum(v.confirmed for v in view.simulated.verdicts.values()),
            "hotspots_not_simulated": view.unconfirmed,
            "hotspots_not_asked": len(view.hotspots) - len(view.to_simulate),
            "clips_simulated": view.simulated.clips_simulated,
            "clips_confirmed": view.simulated.clips_failing,
            "fields_simulated": int(totals["confirm"].counts.get("fields", 0)),
        }
    return {
        "complete": not regions and not failed and not view.unconfirmed,
        "hotspots": len(view.hotspots),
        "hotspots_sure": sum(spot.answer == "hot" for spot in view.hotspots),
        "hotspots_unique": len({spot.pattern for spot in view.hotspots}),
        "clips": int(totals["clips"].counts.get("clips", 0)),
        "patterns": int(totals["patterns"].counts.get("patterns", 0)),
        "tiles_taken_over": int(totals["clips"].counts.get("taken_over", 0)),
        "patterns_taken_over": int(totals["scores"].counts.get("taken_over", 0)),
        "hot_clips": int(totals["hotspots"].counts.get("hot_clips", 0)),
        **simulated,
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


def write_metrics(run: Run, metrics: Mapping[str, Any]) -> None:
    """Write ``metrics.json``."""
    write_whole(run.report / "metrics.json", json.dumps(metrics, indent=1).encode() + b"\n")


def write_report(
    view: RunView, metrics: Mapping[str, Any], regions: tuple[NotScanned, ...]
) -> None:
    """Write the page, the tables and the markers of a run."""
    folder = view.run.report
    folder.mkdir(exist_ok=True)
    page = render_report(report_data(view, metrics, regions))
    write_whole(folder / "index.html", page.encode())
    for name, form in (
        ("hotspots.csv", "csv"), ("hotspots.lyrdb.gz", "lyrdb"), ("markers.gds", "gds"),
    ):  # fmt: skip
        export(view, form, folder / name, [region.box for region in regions])


def export(view: RunView, form: str, path: Path, regions: list[Box]) -> None:
    """Write the hotspots of a run in one of `FORMATS`.

    Raises
    ------
    UsageError
        When there is no such format, or `path` cannot be written.
    """
    writers: dict[str, Callable[[Path], object]] = {
        "csv": lambda p: write_whole(p, hotspots_csv(*_table(view)).encode()),
        "json": lambda p: write_whole(p, hotspots_json(*_table(view)).encode()),
        "parquet": lambda p: write_table(p, hotspots_to_table(*_table(view))),
        "lyrdb": lambda p: write_lyrdb_gz(p, _lyrdb(view, regions)),
        "gds": lambda p: _write_markers(view, p, regions, ".gds"),
        "oas": lambda p: _write_markers(view, p, regions, ".oas"),
        "clips": lambda p: _write_clips(view, p),
    }
    if form not in writers:
        raise UsageError(f"format {form!r} is unknown; choose one of {', '.join(FORMATS)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        writers[form](path)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written ({error.strerror}); choose another --out"
        ) from error


def _table(view: RunView) -> tuple[tuple[Hotspot, ...], float, Mapping[int, Verdict] | None]:
    return view.hotspots, _dbu(view), view.verdicts


def _dbu(view: RunView) -> float:
    return view.layout.dbu_nm


def _marker_layer(view: RunView) -> int:
    return free_layer(view.layout.file_layers, view.config.markers.layer)


def _write_markers(view: RunView, path: Path, regions: list[Box], suffix: str) -> None:
    # The suffix tells the writer the format; the file appears whole.
    unfinished = path.with_name(f".{path.name}.part{suffix}")
    write_markers(
        unfinished, view.hotspots, top=view.layout.top, dbu_nm=_dbu(view),
        core_dbu=view.job.core_dbu, layer=_marker_layer(view), not_scanned=regions[:MOST_REGIONS],
        verdicts=view.verdicts, printed=view.printed,
    )  # fmt: skip
    unfinished.replace(path)


def _lyrdb(view: RunView, regions: list[Box]) -> Iterator[str]:
    return lyrdb(
        view.hotspots, top=view.layout.top, dbu_nm=_dbu(view), core_dbu=view.job.core_dbu,
        layout=view.record.layout.name, not_scanned=regions[:MOST_REGIONS],
        verdicts=view.verdicts,
    )  # fmt: skip


def _write_clips(view: RunView, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    clip = view.job.clip_dbu
    around = (
        (
            spot,
            {
                layer: query(packed, spot.core(clip))
                for layer, packed in zip(view.layout.layers, view.layout.packed, strict=True)
            },
        )
        for spot in view.hotspots
    )
    write_clips(
        folder, around, dbu_nm=_dbu(view), core_dbu=view.job.core_dbu, clip_dbu=clip,
        core_layer=_marker_layer(view),
    )  # fmt: skip
