"""The files that a run writes for people and other tools: the report, and one file of a format.

in       a `RunView`, its metrics, the regions without a verdict
out      the files of ``RUN/report``, or one file (or folder) of one of `FORMATS`
promise  every file can be written again from the run directory, and appears whole or not at all
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.engine.storage.run_directory import (
    write_cell,
    write_library,
    write_pieces,
    write_table,
    write_whole,
)
from pipeline.engine.storage.run_record import State
from pipeline.report.fix_table import FixRow
from pipeline.report.page.content import gather_page_data
from pipeline.report.run_view import MOST_REGIONS, RunView
from stages.contracts import Box, Layer
from stages.errors import UsageError
from stages.exports.calibre import format_calibre
from stages.exports.junit import JunitData, format_junit
from stages.exports.lyrdb import MarkedLayer, compress_lyrdb, format_lyrdb
from stages.exports.markers import (
    Drawing,
    build_clip,
    build_drawing,
    build_markers,
    find_free_layer,
    name_clip_file,
)
from stages.exports.pages.report import render_report
from stages.exports.pages.report_data import NotScanned
from stages.exports.tables import (
    format_classes,
    format_csv,
    format_json,
    format_rows,
    hotspots_to_table,
)
from stages.geometry.window_query import query
from stages.rows import PART
from stages.text import escape_text

CLASSES = "classes.csv"
"""Table of the classes of a report."""
FIXES, FIXED_SHAPES = "fixes.csv", "fixes.gds"
"""Table of the fixes of a report, and what they change as a layout."""
REMOVED, ADDED = 0, 1
"""Datatypes of the marker layer in that."""
TABLES = {"hotspots.csv": "csv", "hotspots.lyrdb.gz": "lyrdb", "markers.gds": "gds"}
"""Files of a report beside its page, and the format of each."""

FORMATS = ("gds", "oas", "lyrdb", "calibre", "junit", "csv", "json", "parquet", "clips")


def write_report(
    view: RunView, metrics: Mapping[str, Any], regions: tuple[NotScanned, ...]
) -> tuple[str, ...]:
    """Write the page, the tables and the markers of a run; return their names in it."""
    folder = view.run.report
    folder.mkdir(exist_ok=True)
    page = render_report(gather_page_data(view, metrics, regions))
    write_whole(folder / "index.html", page.encode())
    classes = format_classes(view.classes, view.layout.dbu_nm, view.class_reviews)
    write_whole(folder / CLASSES, classes.encode())
    for name, form in TABLES.items():
        export_hotspots(view, form, folder / name, [region.box for region in regions])
    names = ["index.html", CLASSES, *TABLES]
    if view.fixes is not None:
        names += _write_fixes(view, list(view.fixes.values()))
    return tuple(view.run.name_of(folder / name) for name in names)


def _write_fixes(view: RunView, rows: Sequence[FixRow]) -> tuple[str, ...]:
    """Write the table of fixes, and what they take away and add as a layer; return their names."""
    columns = ("hotspot", "class_id", "scope", "cell", "placements", "moves", "reason")
    values = [
        {name: getattr(row, name) for name in columns} | {"cell": escape_text(row.cell)}
        for row in rows
    ]
    write_whole(view.run.report / FIXES, format_rows(dict.fromkeys(columns), values).encode())
    drawings = [
        Drawing(Layer(_choose_marker_layer(view), datatype), np.array(rects, np.int64))
        for datatype, rects in (
            (REMOVED, [rect for row in rows for rect in row.change.removed]),
            (ADDED, [rect for row in rows for rect in row.change.added]),
        )
        if rects
    ]
    library = build_drawing(view.layout.top, view.layout.dbu_nm, drawings)
    write_library(view.run.report / FIXED_SHAPES, library)
    return FIXES, FIXED_SHAPES


def export_hotspots(view: RunView, form: str, path: Path, regions: list[Box]) -> None:
    """Write the hotspots of a run in one of `FORMATS`.

    Parameters
    ----------
    path
        The file; the folder for ``clips``.
    regions
        The regions without a verdict.

    Raises
    ------
    UsageError
        When there is no such format, or `path` cannot be written.
    """
    if form not in FORMATS:
        raise UsageError(f"format {form!r} is unknown; choose one of {', '.join(FORMATS)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(view, form, path, regions)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written ({error.strerror}); choose another --out"
        ) from error


def _write(view: RunView, form: str, path: Path, regions: list[Box]) -> None:
    table = view.shown, view.layout.dbu_nm, view.verdicts, view.findings, view.reviews
    if form == "csv":
        write_pieces(path, format_csv(*table))
    elif form == "json":
        write_whole(path, format_json(*table).encode())
    elif form == "parquet":
        write_table(path, hotspots_to_table(*table))
    elif form == "lyrdb":
        marked, layout = {"": mark_layer(view, regions)}, view.record.layout.name
        text = format_lyrdb(marked, top=view.layout.top, layout=layout)
        write_whole(path, compress_lyrdb(text))
    elif form == "calibre":
        write_pieces(path, _format_calibre(view, regions))
    elif form == "junit":
        write_whole(path, _format_junit(view, regions).encode())
    elif form == "clips":
        _write_clips(view, path)
    elif form == "gds":
        write_cell(path, _build_markers(view, regions, PART))
    else:
        (markers,) = _build_markers(view, regions, max(len(view.shown), 1))
        write_library(path, markers, oasis=True)


def _choose_marker_layer(view: RunView) -> int:
    return find_free_layer(view.layout.file_layers, view.config.markers.layer)


def _build_markers(view: RunView, regions: list[Box], part: int) -> Iterator[Any]:
    return build_markers(
        view.shown, top=view.layout.top, dbu_nm=view.layout.dbu_nm,
        core_dbu=view.job.core_dbu, layer=_choose_marker_layer(view),
        not_scanned=regions[:MOST_REGIONS], verdicts=view.verdicts, printed=view.printed,
        findings=view.findings, classes=view.shown_classes, reviews=view.reviews, part=part,
    )  # fmt: skip


def mark_layer(view: RunView, regions: Sequence[Box], shown: str = "") -> MarkedLayer:
    """Return what KLayout's marker browser shows of a run; `shown` is its layer in words."""
    return MarkedLayer(
        hotspots=view.shown, dbu_nm=view.layout.dbu_nm, core_dbu=view.job.core_dbu, shown=shown,
        not_scanned=regions[:MOST_REGIONS], verdicts=view.verdicts, findings=view.findings,
        classes=view.shown_classes, reviews=view.reviews,
    )  # fmt: skip


def _format_calibre(view: RunView, regions: list[Box]) -> Iterator[str]:
    return format_calibre(
        view.order, view.shown_classes, top=view.layout.top, dbu_nm=view.layout.dbu_nm,
        core_dbu=view.job.core_dbu, finished=view.record.finished, findings=view.findings,
        reviews=view.reviews, verdicts=view.verdicts or {}, not_scanned=regions[:MOST_REGIONS],
    )  # fmt: skip


def _format_junit(view: RunView, regions: list[Box]) -> str:
    gaps = [f"{len(regions)} regions have no verdict"] if regions else []
    gaps += [f"{view.unconfirmed} hotspots are not simulated"] if view.unconfirmed else []
    if view.record.state != State.COMPLETE:
        gaps.append(f"finish it with: hotscan resume {view.run.path}")
    data = JunitData(
        view.record.layout.name, view.record.finished, sum(view.record.seconds.values()), gaps,
        [use.describe() for use in view.waived.uses], view.layout.dbu_nm, view.order,
        view.verdicts or {}, view.findings, view.reviews, view.shown_classes, view.class_reviews,
    )  # fmt: skip
    return format_junit(data)


def _write_clips(view: RunView, folder: Path) -> None:
    """Write one GDSII file per hotspot."""
    folder.mkdir(parents=True, exist_ok=True)
    layout, core_layer = view.layout, _choose_marker_layer(view)
    for spot in view.shown:
        window = spot.core(view.job.clip_dbu)
        shapes = {
            layer: query(packed, window)
            for layer, packed in zip(layout.layers, layout.packed, strict=True)
        }
        library = build_clip(
            spot, shapes, dbu_nm=layout.dbu_nm, core_dbu=view.job.core_dbu,
            clip_dbu=view.job.clip_dbu, core_layer=core_layer,
        )  # fmt: skip
        write_library(folder / name_clip_file(spot), library)
