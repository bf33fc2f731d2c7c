"""Tables of the hotspots: CSV, JSON, Arrow.

in       hotspots, their verdicts by simulation, their classes and cells
out      a table with a row for each hotspot, by rank
unit     a whole scan
promise  equal input gives equal bytes; a hotspot that was not simulated has empty cells, never "no"
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pyarrow as pa

from stages.contracts import Hotspot, Verdict, to_um
from stages.errors import LayoutError
from stages.findings import ClassReview, Finding, HotspotClass, Review
from stages.rows import HOTSPOT_COLUMNS, Row, Rows, cut_parts, make_hotspot
from stages.text import escape_text

_SIDES = ("x_min", "y_min", "x_max", "y_max")

COLUMNS: dict[str, Any] = {
    "id": pa.int64(),
    "x_um": pa.float64(),
    "y_um": pa.float64(),
    "score": pa.float64(),
    "answer": pa.string(),
    "rule": pa.string(),
    "clips": pa.int64(),
    "pattern": pa.int64(),
    "pattern_key": pa.string(),
    "group": pa.int64(),
    **{f"{side}_um": pa.float64() for side in _SIDES},
}
"""Columns of the CSV, JSON and Parquet tables, in order."""

PREDICTED_COLUMNS: dict[str, Any] = {
    "predicted_kind": pa.string(),
    "predicted_margin": pa.float64(),
}
"""Further columns where the model predicts margins."""

VERDICT_COLUMNS: dict[str, Any] = {
    "confirmed": pa.bool_(),
    "defects": pa.int64(),
    "defect": pa.string(),
    "corner": pa.string(),
    "severity": pa.float64(),
    "margin": pa.float64(),
    "margin_kind": pa.string(),
    "defect_x_um": pa.float64(),
    "defect_y_um": pa.float64(),
}
"""Further columns where hotspots are simulated; all empty for a hotspot whose simulation failed."""

FINDING_COLUMNS: dict[str, Any] = {
    "class": pa.int64(),
    "place_x_um": pa.float64(),
    "place_y_um": pa.float64(),
    "feature": pa.string(),
    "measured_nm": pa.float64(),
    "moved_nm": pa.float64(),
    "differs": pa.float64(),
    "cell_kind": pa.string(),
    "cell": pa.string(),
    "cell_path": pa.string(),
}
"""Further columns where hotspots are grouped into classes."""

REVIEW_COLUMNS: dict[str, Any] = {
    "level": pa.int64(),
    "level_by": pa.string(),
    "waived": pa.bool_(),
    "waiver": pa.string(),
    "waiver_reason": pa.string(),
}
"""Further columns of what a reader is to do; the level is empty where nothing fails."""

CLASS_COLUMNS: dict[str, Any] = {
    "class": pa.int64(),
    "level": pa.int64(),
    "representative": pa.int64(),
    "hotspots": pa.int64(),
    "waived": pa.int64(),
    "patterns": pa.int64(),
    "kind": pa.string(),
    "worst_score": pa.float64(),
    "median_score": pa.float64(),
    "fails": pa.int64(),
    "worst_severity": pa.float64(),
    "median_severity": pa.float64(),
    "moved_nm": pa.float64(),
    "differs": pa.float64(),
    "cells": pa.int64(),
    "cell": pa.string(),
}
"""Columns of the table of classes."""

Findings = Mapping[int, Finding] | None
"""Id of a hotspot to its class and cell; None in the table that the hotspots are found into."""

Reviews = Mapping[int, Review] | None
"""Id of a hotspot to its level; None in the table that a run stores."""

Verdicts = Mapping[int, Verdict] | None
"""Id of a hotspot to its verdict by simulation; None when simulation was not asked for."""

_DBU_COLUMNS = ("x_dbu", "y_dbu", *(f"{side}_dbu" for side in _SIDES))
_IN_UM = tuple(name for name in COLUMNS if name.endswith("_um"))


_PLACES = tuple((name, pa.int64()) for name in _DBU_COLUMNS)
HOTSPOTS = pa.schema([*COLUMNS.items(), *_PLACES])
"""Columns of the table without verdicts, which a run stores."""
PREDICTED_HOTSPOTS = pa.schema([*COLUMNS.items(), *PREDICTED_COLUMNS.items(), *_PLACES])
"""The same where the model predicts margins."""


def hotspots_to_table(
    hotspots: Sequence[Hotspot],
    dbu_nm: float,
    verdicts: Verdicts = None,
    findings: Findings = None,
    reviews: Reviews = None,
) -> Any:
    """Return a ``pyarrow.Table`` of all columns, and the same coordinates as integers in dbu."""
    if not isinstance(hotspots, Rows):
        rows = [_split(spot) for spot in hotspots]
        stored = pa.Table.from_pylist(rows, schema=_choose_schema(hotspots))
        hotspots = Rows(stored, make_hotspot)
    stored = hotspots.table
    kinds = list_columns(hotspots, verdicts, findings, reviews)
    columns = {name: stored[name] for name in kinds if name in stored.column_names}
    for name in _IN_UM:
        places = stored[name.replace("_um", "_dbu")].to_numpy().tolist()
        columns[name] = pa.array([to_um(place, dbu_nm) for place in places], pa.float64())
    if left := {name: kind for name, kind in kinds.items() if name not in columns}:
        cells = _make_rows(hotspots, dbu_nm, verdicts, findings, reviews)
        parts = [
            pa.table([pa.array([row[name] for row in part], kind) for name, kind in left.items()],
                     list(left))
            for part in cut_parts(cells)
        ] or [pa.schema(left.items()).empty_table()]  # fmt: skip
        more = pa.concat_tables(parts).combine_chunks()
        columns |= {name: more[name] for name in left}
    names = [*kinds, *_DBU_COLUMNS]
    table = pa.table([columns[name] if name in columns else stored[name] for name in names], names)
    return table.combine_chunks()  # what is in one piece is written to equal bytes


def _choose_schema(hotspots: Sequence[Hotspot]) -> pa.Schema:
    names = (*HOTSPOT_COLUMNS, *PREDICTED_COLUMNS) if _is_predicted(hotspots) else HOTSPOT_COLUMNS
    return pa.schema([PREDICTED_HOTSPOTS.field(name) for name in names])


def _split(spot: Hotspot) -> Row:
    """Return the row of a hotspot, for `make_hotspot`."""
    values = {name: getattr(spot, name) for name in (*COLUMNS, *PREDICTED_COLUMNS) if
              not name.endswith("_um")}  # fmt: skip
    places = (spot.x_dbu, spot.y_dbu, *spot.box.as_tuple())
    return values | dict(zip(_DBU_COLUMNS, places, strict=True))


def table_to_hotspots(table: Any) -> Rows[Hotspot]:
    """Return the hotspots of a table that `hotspots_to_table` made.

    Raises
    ------
    LayoutError
        When a column is missing.
    """
    missing = set(HOTSPOT_COLUMNS) - set(table.column_names)
    if missing:
        raise LayoutError(
            f"the table of hotspots has no column {', '.join(sorted(missing))}; "
            "another version of hotscan wrote it: scan into a new run directory"
        )
    names = (*HOTSPOT_COLUMNS, *(name for name in PREDICTED_COLUMNS if name in table.column_names))
    return Rows(table.select(list(names)), make_hotspot)


def add_findings(table: Any, findings: Mapping[int, Finding], dbu_nm: float) -> Any:
    """Return a table of hotspots with `FINDING_COLUMNS` at its end."""
    rows = [_format_finding(findings[spot], dbu_nm) for spot in table["id"].to_pylist()]
    for name, kind in FINDING_COLUMNS.items():
        table = table.append_column(name, pa.array([row[name] for row in rows], kind))
    return table


def list_columns(
    hotspots: Sequence[Hotspot],
    verdicts: Verdicts,
    findings: Findings = None,
    reviews: Reviews = None,
) -> dict[str, Any]:
    """Return the columns of the tables with their types."""
    columns = COLUMNS if findings is None else COLUMNS | FINDING_COLUMNS
    columns = columns if reviews is None else columns | REVIEW_COLUMNS
    if _is_predicted(hotspots):
        columns = columns | PREDICTED_COLUMNS
    return columns if verdicts is None else columns | VERDICT_COLUMNS


def _is_predicted(hotspots: Sequence[Hotspot]) -> bool:
    """Return whether the model predicts margins: then every hotspot has one."""
    return bool(hotspots) and hotspots[0].predicted_margin is not None


def format_csv(
    hotspots: Sequence[Hotspot],
    dbu_nm: float,
    verdicts: Verdicts = None,
    findings: Findings = None,
    reviews: Reviews = None,
) -> Iterator[str]:
    """Yield a table with a header, piece by piece; scores to six digits."""
    rows = _make_rows(hotspots, dbu_nm, verdicts, findings, reviews)
    return format_rows(
        list_columns(hotspots, verdicts, findings, reviews),
        (row | {"score": f"{row['score']:.6f}"} for row in rows),
    )


def format_classes(
    classes: Iterable[HotspotClass], dbu_nm: float, reviews: Mapping[int, ClassReview]
) -> str:
    """Return the table of classes as CSV."""
    rows = (_format_class(row, dbu_nm, reviews[row.id]) for row in classes)
    return "".join(format_rows(CLASS_COLUMNS, rows))


def _format_class(row: HotspotClass, dbu_nm: float, review: ClassReview) -> dict[str, Any]:
    """Return the values of `CLASS_COLUMNS`."""
    values = (
        asdict(row)
        | asdict(review)
        | {
            "class": row.id,
            "moved_nm": None if row.moved_dbu is None else row.moved_dbu * dbu_nm,
            "cell": escape_text(row.cell),
        }
    )
    return {name: values[name] for name in CLASS_COLUMNS}


def format_rows(columns: Mapping[str, Any], rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield rows as CSV, with the names of their columns, piece by piece."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for part in cut_parts(rows):
        writer.writerows(part)
        yield text.getvalue()
        text.seek(0)
        text.truncate()
    yield text.getvalue()


def format_json(
    hotspots: Sequence[Hotspot],
    dbu_nm: float,
    verdicts: Verdicts = None,
    findings: Findings = None,
    reviews: Reviews = None,
) -> str:
    """Return a JSON list of objects with the columns as keys."""
    rows = _make_rows(hotspots, dbu_nm, verdicts, findings, reviews)
    return json.dumps(list(rows), indent=1) + "\n"


def _format_finding(row: Finding, dbu_nm: float) -> dict[str, Any]:
    """Return the values of `FINDING_COLUMNS`."""
    return {
        "class": row.class_id,
        "place_x_um": to_um(row.place_x_dbu, dbu_nm),
        "place_y_um": to_um(row.place_y_dbu, dbu_nm),
        "feature": row.feature,
        "measured_nm": row.measured_dbu * dbu_nm,
        "moved_nm": None if row.moved_dbu is None else row.moved_dbu * dbu_nm,
        "differs": row.differs,
        "cell_kind": row.cell_kind,
        "cell": escape_text(row.cell),
        "cell_path": escape_text(row.cell_path),
    }


def _format_review(row: Review) -> dict[str, Any]:
    """Return the values of `REVIEW_COLUMNS`."""
    return {
        "level": row.level,
        "level_by": row.level_by,
        "waived": bool(row.waiver),
        "waiver": escape_text(row.waiver) or None,
        "waiver_reason": escape_text(row.reason) or None,
    }


def _format_verdict(verdict: Verdict | None, dbu_nm: float) -> dict[str, Any]:
    """Return the values of `VERDICT_COLUMNS`."""
    if verdict is None:
        return dict.fromkeys(VERDICT_COLUMNS)
    worst = verdict.worst
    return {
        "confirmed": verdict.confirmed,
        "defects": verdict.defects,
        "defect": worst and worst.kind,
        "corner": worst and escape_text(worst.corner),
        "severity": worst and worst.severity,
        "margin": verdict.margin,
        "margin_kind": verdict.margin_kind,
        "defect_x_um": worst and to_um(worst.x_dbu, dbu_nm),
        "defect_y_um": worst and to_um(worst.y_dbu, dbu_nm),
    }


def _make_rows(
    hotspots: Sequence[Hotspot],
    dbu_nm: float,
    verdicts: Verdicts,
    findings: Findings,
    reviews: Reviews,
) -> Iterator[dict[str, Any]]:
    names = [*COLUMNS, *(PREDICTED_COLUMNS if _is_predicted(hotspots) else ())]
    for spot in hotspots:
        edges = zip(_SIDES, spot.box.as_tuple(), strict=True)
        values: dict[str, Any] = {f"{side}_um": to_um(edge, dbu_nm) for side, edge in edges}
        values["x_um"], values["y_um"] = to_um(spot.x_dbu, dbu_nm), to_um(spot.y_dbu, dbu_nm)
        row = {name: values[name] if name in values else getattr(spot, name) for name in names}
        if findings is not None:
            row |= _format_finding(findings[spot.id], dbu_nm)
        if reviews is not None:
            row |= _format_review(reviews[spot.id])
        yield row if verdicts is None else row | _format_verdict(verdicts.get(spot.id), dbu_nm)
