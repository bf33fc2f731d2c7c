"""Gathering the content of the report page.

in       a run, its metrics, the regions without a verdict
out      `ReportData`, plain values
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import numpy as np
import tomli_w
from shapely import Polygon

from pipeline.config import ScanConfig
from pipeline.engine.storage.run_directory import Run
from pipeline.engine.storage.run_record import State, has_record
from pipeline.passes.arrays import read_pattern_rows
from pipeline.passes.job import load_model_process
from pipeline.passes.scan_settings import ScanSettings
from pipeline.passes.units import draw_places
from pipeline.report.compare import Comparison, compare_views
from pipeline.report.page.class_cards import gather_cells, gather_class_cards
from pipeline.report.page.fix_cards import gather_fixes
from pipeline.report.run_view import MOST_REGIONS, RunView, describe_measurement, open_view
from stages.contracts import Bytes, Float32s, Hotspot, Int64s
from stages.detector.models.scan_model import USER_FILE
from stages.errors import HotscanError
from stages.exports.pages.kinds import interleave_kinds
from stages.exports.pages.report_data import (
    MANY,
    CertifiedRecall,
    ChangedSpot,
    ChangeSummary,
    KnownHotspot,
    MeasuredRecall,
    ModelCard,
    NotScanned,
    ReportData,
    WaiverRow,
)
from stages.patterns import canonicalize
from stages.review.changes import FIXED, NEW
from stages.review.levels import count_levels
from stages.scores import build_explainer

_MOST_CELLS = 12
"""Cells at fault that the page lists."""


def gather_page_data(
    view: RunView, metrics: Mapping[str, Any], regions: tuple[NotScanned, ...]
) -> ReportData:
    """Return the content of the report page."""
    config, layout, record = view.config, view.layout, view.record
    order = interleave_kinds(view.order, view.verdicts) if view.verdicts else view.order
    shown = order[: config.report.top]
    pictures = _draw_clips(view, shown)
    cells = gather_cells(view)
    return ReportData(
        layout=record.layout.name,
        layout_digest=record.layout.sha256,
        top=layout.top,
        dbu_nm=layout.dbu_nm,
        layers=tuple(map(config.layout.layer_names.show, config.layout.channels)),
        extent=layout.extent,
        roi=view.job.area if config.layout.roi_um else None,
        raster=view.job.spec,
        model=_describe_model(view),
        sampling=_describe_sampling(config),
        threshold=float(config.scores.threshold or 0),
        hotspots=view.hotspots,
        pictures=pictures,
        evidence=_map_evidence(view, pictures),
        known=_find_known(view, pictures),
        occurrences=_count_occurrences(view, shown),
        clips=metrics["clips"],
        patterns=metrics["patterns"],
        clips_not_scored=len([region for region in regions if "not scored" in region.why]),
        complete=metrics["complete"],
        coverage_fraction=metrics["coverage_fraction"],
        area_covered_um2=metrics["area_covered_um2"],
        not_scanned=regions[:MOST_REGIONS],
        seconds=record.seconds,
        config=format_config(config),
        version=record.hotscan,
        finished=_format_time(record.finished),
        warnings=view.warnings,
        shown=config.report.top,
        verdicts=view.verdicts,
        to_simulate=None if view.verdicts is None else frozenset(view.to_simulate),
        order=order,
        measured=_describe_audit(view),
        certified=_describe_certified(view),
        contours=_draw_contours(view, shown),
        reviews=view.reviews,
        levels=count_levels(view.reviews),
        waived=len(view.waived.by),
        waivers=_list_waivers(view),
        findings=view.findings,
        classes=gather_class_cards(view, load_model_process(view.model)),
        class_count=len(view.classes),
        cells=cells[:_MOST_CELLS],
        cell_count=len(cells),
        in_largest=sum(row.hotspots for row in view.classes[:MANY]),
        fixes=gather_fixes(view),
        changes=_find_changes(view),
        unasked=_list_unasked(view),
    )


def _describe_model(view: RunView) -> ModelCard:
    point = view.model.operating_point
    measured = point.clips > 0 and view.config.scores.threshold == view.model.threshold
    return ModelCard(
        name=view.config.scores.model,
        digest=view.model.digest,
        process=view.model.process,
        recall=point.recall if measured else None,
        false_alarm_rate=point.false_alarm_rate if measured else None,
        measured_on=describe_measurement(view.model),
    )


def _describe_audit(view: RunView) -> MeasuredRecall | None:
    if view.audited is None:
        return None
    said = view.audited.estimate
    return MeasuredRecall(
        view.audited.clips, said.recall, said.recall_low, said.recall_high, said.missed,
        said.missed_low, said.missed_high,
    )  # fmt: skip


def _describe_certified(view: RunView) -> CertifiedRecall | None:
    if view.certified is None:
        return None
    said = view.certified
    return CertifiedRecall(
        said.reached, said.stated.recall if said.stated else None, said.low, said.aim.recall,
        said.aim.within, said.simulated, said.share,
    )  # fmt: skip


def _list_waivers(view: RunView) -> list[WaiverRow]:
    return [
        WaiverRow(
            use.waiver.id, use.state, use.hotspots, use.waiver.reason, use.waiver.by,
            str(use.waiver.given), str(use.waiver.expires or ""),
        )
        for use in view.waived.uses
    ]  # fmt: skip


def _find_changes(view: RunView) -> ChangeSummary | None:
    """Compare with the scan that this one is `--since`; None where there is none."""
    runs = [Run(path) for path in ScanSettings.of(view.record).since]
    if len(runs) == 1 and not has_record(runs[0]):
        name = runs[0].path.name
        return ChangeSummary(name, f"{name} is not there any more")
    # The parts that a scan was merged from are no scans of their own: they have no hotspots.
    scans = [run for run in runs if run.hotspots.exists()]
    if not scans:
        return None
    run = scans[-1]
    try:
        own = view.model if view.model.file_name == USER_FILE else None
        earlier = open_view(run, own)
        earlier = replace(earlier, waivers=view.waivers, today=view.today)
        found = compare_views(earlier, view)
    except HotscanError as error:
        return ChangeSummary(run.path.name, str(error))
    return _describe_changes(found)


def _describe_changes(found: Comparison) -> ChangeSummary:
    rows = [(row["change"], ChangedSpot(
        f"H{row['id'] or row['id_before']}", row["x_um"], row["y_um"], row["level"], row["waived"],
        row["class"], row["cell"],
    )) for row in found.list_rows()]  # fmt: skip
    new = [spot for change, spot in rows if change == NEW]
    return ChangeSummary(
        found.before.run.path.name, complete=found.before.record.state == State.COMPLETE,
        counts=found.count(),
        new=sorted(new, key=lambda spot: spot.level or 9),
        fixed=[spot for change, spot in rows if change == FIXED],
    )  # fmt: skip


def _list_unasked(view: RunView) -> list[str]:
    """Return the layers of the file that were not scanned, with their names."""
    show, scanned = view.config.layout.layer_names.show, set(view.config.layout.channels)
    return [show(str(layer)) for layer in view.layout.file_layers if str(layer) not in scanned]


def _count_occurrences(view: RunView, shown: Sequence[Hotspot]) -> dict[int, int]:
    """Return how many clips of the scan have the pattern of each hotspot, by pattern."""
    patterns: Int64s = np.array([spot.pattern for spot in shown], np.int64)
    (count,) = read_pattern_rows(view.run, patterns, "count")
    return dict(zip(patterns.tolist(), count.tolist(), strict=True))


def _draw_clips(view: RunView, shown: Sequence[Hotspot]) -> dict[int, Bytes]:
    places: Int64s = np.array([(s.x_dbu, s.y_dbu) for s in shown], np.int64).reshape(-1, 2)
    drawn = draw_places(places[:, 0], places[:, 1], view.job)
    return {spot.id: picture for spot, picture in zip(shown, drawn, strict=True)}


def _draw_contours(view: RunView, shown: Sequence[Hotspot]) -> dict[int, Sequence[Polygon]]:
    """Return what prints in the clips of the shown hotspots that fail in simulation, by id."""
    return {
        spot.id: view.draw_print(spot, (spot.x_dbu, spot.y_dbu)).contours
        for spot in shown
        if view.worst(spot)
    }


def _map_evidence(view: RunView, pictures: Mapping[int, Bytes]) -> dict[int, Float32s]:
    """Return what each place of the shown clips adds to their log odds, by id."""
    if not pictures:
        return {}
    found = build_explainer(view.model).activation_map(np.stack(list(pictures.values())))
    return {} if found is None else dict(zip(pictures, found, strict=True))


def _find_known(view: RunView, pictures: Mapping[int, Bytes]) -> dict[int, KnownHotspot]:
    """Return the most similar hotspot that the model was trained on, by id of the shown ones."""
    examples = view.model.examples
    if examples is None or not pictures:
        return {}
    explainer = build_explainer(view.model)
    shown = canonicalize(np.stack(list(pictures.values())), view.job.symmetries)
    mine, theirs = (explainer.likeness(rasters) for rasters in (shown, examples))
    apart = np.linalg.norm(mine[:, None] - theirs[None], axis=2)
    nearest = apart.argmin(1)
    alike = explainer.resemblance_map(examples[nearest], shown, view.job.symmetries)
    return {
        number: KnownHotspot(
            examples[at], float(apart[row, at]), None if alike is None else alike[row]
        )
        for row, (number, at) in enumerate(zip(pictures, nearest.tolist(), strict=True))
    }


def _describe_sampling(config: ScanConfig) -> str:
    clips = config.clips
    if clips.mode == "grid":
        return f"every clip of a grid of {clips.stride_nm:g} nm that shows any geometry"
    return (
        f"clips at spaces up to {clips.space_nm:g} nm, tip to tip up to {clips.tip_to_tip_nm:g} nm,"
        f" line end to side up to {clips.line_end_to_side_nm:g} nm, and where wires up to "
        f"{clips.width_nm:g} nm begin or end at wider ones"
    )


def _format_time(moment: str) -> str:
    """Return a moment of a run record, ISO 8601 in UTC, to the minute; nothing for none."""
    return f"{datetime.fromisoformat(moment):%Y-%m-%d %H:%M} UTC" if moment else ""


def format_config(config: ScanConfig) -> str:
    """Return the resolved config as TOML; settings that are not set are left out."""
    tables = {
        name: {key: value for key, value in settings.items() if value is not None}
        for name, settings in config.model_dump(mode="json").items()
    }
    return tomli_w.dumps({name: table for name, table in tables.items() if table})
