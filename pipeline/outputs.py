"""What a run gives away: metrics, tables, markers, the page, and exports of them.

in       a run directory and what its session knows
out      the files of ``RUN/report``, or one file of a chosen format
promise  everything here can be made again from the run directory; what has no verdict is named
         in the page, in the markers and in the metrics
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from shapely import Polygon

from pipeline import confirm
from pipeline.config import ScanConfig
from pipeline.ledger import Ledger
from pipeline.plan import Job, process_behind
from pipeline.simulation import print_window
from pipeline.steps import draw_places, peak_rss_mb
from pipeline.store import Run, read_clips, read_patterns, write_table, write_whole
from stages.contracts import Box, Bytes, Clips, Defect, Hotspot, Int64s, PackedLayout, Verdict
from stages.detector.checkpoint import Checkpoint
from stages.errors import IncompleteError, UsageError
from stages.geometry.walk import query
from stages.hotspots import worst_first
from stages.lithography.process import Process
from stages.lyrdb import lyrdb, write_lyrdb_gz
from stages.markers import Printed, free_layer, write_clips, write_markers
from stages.pages.report import ModelCard, NotScanned, ReportData, render_report
from stages.patterns import distinct
from stages.tables import hotspots_csv, hotspots_json, hotspots_to_table, table_to_hotspots

FORMATS = ("gds", "oas", "lyrdb", "csv", "json", "parquet", "clips")

MOST_REGIONS = 10_000
"""Regions without a verdict that are named one by one; their number is always told in full."""


@dataclass(frozen=True)
class RunView:
    """A run, with all that describes it."""

    run: Run
    job: Job
    config: ScanConfig
    layout: PackedLayout
    model: Checkpoint
    hotspots: tuple[Hotspot, ...]
    about: Mapping[str, Any]
    """What ``run.json`` holds."""
    simulated: confirm.Confirmed | None = None
    """What simulation says of the hotspots; None when none was to be simulated."""

    @property
    def verdicts(self) -> Mapping[int, Verdict] | None:
        """What simulation says of each hotspot, by id."""
        return None if self.simulated is None else self.simulated.verdicts

    @cached_property
    def order(self) -> tuple[Hotspot, ...]:
        """The hotspots in the order of the report."""
        return worst_first(self.hotspots, self.verdicts) if self.verdicts else self.hotspots

    @cached_property
    def printed(self) -> list[Printed]:
        """What prints around the worst defects of the worst hotspots."""
        failing = [(spot, defect) for spot in self.order if (defect := self.worst(spot))]
        return [
            self._printed(defect, Box(*(defect.x_dbu, defect.y_dbu) * 2).grown(self.job.core_dbu))
            for _, defect in failing[: self.config.report.contours]
        ]

    @cached_property
    def contours(self) -> dict[int, Sequence[Polygon]]:
        """Id of each hotspot that the report shows to what prints of its clip."""
        return {
            spot.id: self._printed(defect, spot.core(self.job.clip_dbu)).contours
            for spot in self.order[: self.config.report.top]
            if (defect := self.worst(spot))
        }

    def worst(self, spot: Hotspot) -> Defect | None:
        """Return the worst defect of a hotspot that was simulated."""
        verdict = (self.verdicts or {}).get(spot.id)
        return verdict.worst if verdict else None

    def _printed(self, defect: Defect, window: Box) -> Printed:
        opc = self.config.confirm.opc or "none"
        layer, dbu_nm = self.layout.packed[0], self.layout.dbu_nm
        process = process_behind(self.model)
        target, prints = print_window(layer, window, dbu_nm, process, opc, defect.corner)
        return Printed(window, target, prints)

    @property
    def unconfirmed(self) -> int:
        """How many hotspots were to be simulated and are not."""
        return 0 if self.verdicts is None else len(self.hotspots) - len(self.verdicts)


def read_hotspots(run: Run) -> tuple[Hotspot, ...]:
    """Return the hotspots of a run.

    Raises
    ------
    IncompleteError
        When the run has not come to its hotspots.
    """
    if not run.hotspots.exists():
        raise IncompleteError(
            f"{run.path} has no hotspots yet; finish the scan with: hotscan resume {run.path}"
        )
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
    clips, keys = read_clips(view.run, tiles)
    (scores,) = read_patterns(view.run, "score")
    if not np.isnan(scores).any():
        return Clips(clips.x_dbu[:0], clips.y_dbu[:0], clips.rule[:0])
    lost = np.isnan(scores)[distinct(keys, clips.x_dbu, clips.y_dbu).pattern]
    return Clips(clips.x_dbu[lost], clips.y_dbu[lost], clips.rule[lost])


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
            "clips_simulated": view.simulated.clips_simulated,
            "clips_confirmed": view.simulated.clips_failing,
            "fields_simulated": int(totals["confirm"].counts.get("fields", 0)),
        }
    return {
        "complete": not regions and not failed and not view.unconfirmed,
        "hotspots": len(view.hotspots),
        "hotspots_unique": len({spot.pattern for spot in view.hotspots}),
        "clips": int(totals["clips"].counts.get("clips", 0)),
        "patterns": int(totals["patterns"].counts.get("patterns", 0)),
        "hot_clips": int(totals["hotspots"].counts.get("hot_clips", 0)),
        **simulated,
        "units_failed": failed,
        "regions_not_scanned": len(regions),
        "area_um2": area * um2,
        "area_covered_um2": (area - missed) * um2,
        "coverage_fraction": 1 - missed / area,
        "threshold": view.config.scores.threshold,
        "warnings": len(all_warnings(view)),
        **{f"seconds_{stage}": spent for stage, spent in view.about["seconds"].items()},
        "peak_rss_mb": round(max(view.about.get("peak_rss_mb", 0.0), peak_rss_mb()), 1),
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
    page = render_report(_report_data(view, metrics, regions))
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


def _lyrdb(view: RunView, regions: list[Box]) -> str:
    return lyrdb(
        view.hotspots, top=view.layout.top, dbu_nm=_dbu(view), core_dbu=view.job.core_dbu,
        layout=Path(view.about["layout"]["path"]).name, not_scanned=regions[:MOST_REGIONS],
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


def _report_data(
    view: RunView, metrics: Mapping[str, Any], regions: tuple[NotScanned, ...]
) -> ReportData:
    config, layout, about = view.config, view.layout, view.about
    (count,) = read_patterns(view.run, "count")
    at_default = config.scores.threshold == view.model.threshold
    point = view.model.operating_point
    return ReportData(
        layout=Path(about["layout"]["path"]).name,
        layout_digest=about["layout"]["sha256"],
        top=layout.top,
        dbu_nm=layout.dbu_nm,
        layers=config.layout.layers,
        extent=layout.extent,
        roi=view.job.area if config.layout.roi_um else None,
        raster=view.job.spec,
        model=ModelCard(
            name=config.scores.model,
            digest=view.model.digest,
            process=view.model.process,
            recall=point.recall if at_default else None,
            false_alarm_rate=point.false_alarm_rate if at_default else None,
            measured_on=str(view.model.provenance.get("measured_on", "its validation clips")),
        ),
        sampling=_sampling_words(config),
        threshold=float(config.scores.threshold or 0),
        hotspots=view.hotspots,
        pictures=_pictures(view, view.order[: config.report.top]),
        occurrences={spot.pattern: int(count[spot.pattern]) for spot in view.hotspots},
        clips=metrics["clips"],
        patterns=metrics["patterns"],
        clips_not_scored=len([region for region in regions if "not scored" in region.why]),
        complete=metrics["complete"],
        coverage_fraction=metrics["coverage_fraction"],
        area_covered_um2=metrics["area_covered_um2"],
        not_scanned=regions[:MOST_REGIONS],
        seconds=about["seconds"],
        config=config_toml(config),
        version=about["hotscan"],
        finished=about.get("finished", ""),
        warnings=all_warnings(view),
        shown=config.report.top,
        verdicts=view.verdicts,
        order=view.order,
        contours=view.contours,
    )


def all_warnings(view: RunView) -> tuple[str, ...]:
    """Return what the reader noticed, and how the layers differ from those the model knows."""
    trained = tuple(view.model.provenance.get("trained_on_layers", ()))
    if not trained or trained == view.config.layout.layers:
        return view.layout.warnings
    return (
        *view.layout.warnings,
        f"model {view.config.scores.model} was trained on {', '.join(trained)} "
        f"({', '.join(view.model.layers)} of {view.model.process}); "
        f"{', '.join(view.config.layout.layers)} is judged as if it were that",
    )


def _pictures(view: RunView, shown: tuple[Hotspot, ...]) -> dict[int, Bytes]:
    places: Int64s = np.array([(s.x_dbu, s.y_dbu) for s in shown], np.int64).reshape(-1, 2)
    drawn = draw_places(places[:, 0], places[:, 1], view.job)
    return {spot.id: picture for spot, picture in zip(shown, drawn, strict=True)}


def _sampling_words(config: ScanConfig) -> str:
    clips = config.clips
    if clips.mode == "grid":
        return f"every clip of a grid of {clips.stride_nm:g} nm that shows any geometry"
    return (
        f"clips at spaces up to {clips.space_nm:g} nm, tip to tip up to {clips.tip_to_tip_nm:g} nm,"
        f" line end to side up to {clips.line_end_to_side_nm:g} nm, and where wires up to "
        f"{clips.width_nm:g} nm begin or end at wider ones"
    )


def config_toml(config: ScanConfig) -> str:
    """Return the resolved config as TOML; settings that are not set are left out."""
    lines = []
    for table, settings in config.model_dump(mode="json").items():
        given = {key: value for key, value in settings.items() if value is not None}
        if given:
            lines.append(f"[{table}]")
            # JSON's scalars and lists are TOML's.
            lines.extend(f"{key} = {json.dumps(value)}" for key, value in given.items())
            lines.append("")
    return "\n".join(lines)
