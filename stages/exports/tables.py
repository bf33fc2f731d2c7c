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
from itertools import repeat
from typing import Any

import pyarrow as pa

from stages.contracts import Hotspot, Verdict
from stages.errors import LayoutError
from stages.exports.columns import PREDICTED_COLUMNS, is_predicted, list_parts
from stages.findings import ClassReview, Finding, HotspotClass, Review
from stages.lengths import to_um, to_um_each
from stages.rows import HOTSPOT_COLUMNS, Rows, change_texts, list_values, make_hotspot, read_by_id
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
    kinds = list_columns(hotspots, verdicts, findings, reviews)
    schema = pa.schema([*kinds.items(), *_PLACES])
    parts = [
        pa.table([
            *(pa.array(columns[name], kind) for name, kind in kinds.items()),
            *(part[name].combine_chunks() for name in _DBU_COLUMNS),
        ], schema=schema)
        for part, columns in _list_columns(hotspots, dbu_nm, verdicts, findings, reviews)
    ]  # fmt: skip
    # What is in one piece is written to equal bytes.
    return pa.concat_tables([schema.empty_table(), *parts]).combine_chunks()


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
    columns = _describe_findings(read_by_id(findings, table["id"].to_numpy()), dbu_nm)
    for name, kind in FINDING_COLUMNS.items():
        table = table.append_column(name, pa.array(columns[name], kind))
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
    if is_predicted(hotspots):
        columns = columns | PREDICTED_COLUMNS
    return columns if verdicts is None else columns | VERDICT_COLUMNS


def format_csv(
    hotspots: Sequence[Hotspot],
    dbu_nm: float,
    verdicts: Verdicts = None,
    findings: Findings = None,
    reviews: Reviews = None,
) -> Iterator[str]:
    """Yield a table with a header, piece by piece; scores to six digits."""
    names = list(list_columns(hotspots, verdicts, findings, reviews))
    yield format_header(names)
    yield from format_lines(names, {}, hotspots, dbu_nm, verdicts, findings, reviews)


def format_header(names: Iterable[str]) -> str:
    """Return the first line of a table in CSV."""
    return _format_lines([names])


def format_lines(
    names: Sequence[str],
    added: Mapping[str, Any],
    hotspots: Sequence[Hotspot],
    dbu_nm: float,
    verdicts: Verdicts,
    findings: Findings,
    reviews: Reviews,
) -> Iterator[str]:
    """Yield the lines of a table in CSV, piece by piece.

    Parameters
    ----------
    names
        The columns, in order; those that these hotspots do not have are empty.
    added
        Columns of one value.
    """
    for part, columns in _list_columns(hotspots, dbu_nm, verdicts, findings, reviews):
        columns["score"] = [f"{score:.6f}" for score in columns["score"]]
        every = (columns.get(name) or repeat(added.get(name), len(part)) for name in names)
        yield _format_lines(zip(*every, strict=True))


def _format_lines(rows: Iterable[Iterable[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def format_classes(
    classes: Iterable[HotspotClass], dbu_nm: float, reviews: Mapping[int, ClassReview]
) -> str:
    """Return the table of classes as CSV."""
    rows = (_format_class(row, dbu_nm, reviews[row.id]) for row in classes)
    return format_rows(CLASS_COLUMNS, rows)


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


def format_rows(columns: Mapping[str, Any], rows: Iterable[Mapping[str, Any]]) -> str:
    """Return rows as CSV, with the names of their columns."""
    return _format_lines([columns, *([row[name] for name in columns] for row in rows)])


def format_json(
    hotspots: Sequence[Hotspot],
    dbu_nm: float,
    verdicts: Verdicts = None,
    findings: Findings = None,
    reviews: Reviews = None,
) -> str:
    """Return a JSON list of objects with the columns as keys."""
    names = list(list_columns(hotspots, verdicts, findings, reviews))
    rows = [
        dict(zip(names, row, strict=True))
        for _, columns in _list_columns(hotspots, dbu_nm, verdicts, findings, reviews)
        for row in zip(*(columns[name] for name in names), strict=True)
    ]
    return json.dumps(rows, indent=1) + "\n"


def _list_columns(
    hotspots: Sequence[Hotspot],
    dbu_nm: float,
    verdicts: Verdicts,
    findings: Findings,
    reviews: Reviews,
) -> Iterator[tuple[pa.Table, dict[str, list[Any]]]]:
    """Yield parts of the hotspots, and the values of the columns of each."""
    for part in list_parts(hotspots, findings, reviews):
        columns = {
            name: list_values(part[name])
            for name in (*COLUMNS, *PREDICTED_COLUMNS)
            if name in part.column_names
        }
        for name in _IN_UM:
            places = part[name.replace("_um", "_dbu")].to_numpy()
            columns[name] = to_um_each(places, dbu_nm).tolist()
        if findings is not None:
            columns |= _describe_findings(part, dbu_nm)
        if reviews is not None:
            columns |= _describe_reviews(part)
        if verdicts is not None:
            cells = [_format_verdict(verdicts.get(spot), dbu_nm) for spot in columns["id"]]
            columns |= {name: [row[name] for row in cells] for name in VERDICT_COLUMNS}
        yield part, columns


def _describe_findings(part: pa.Table, dbu_nm: float) -> dict[str, list[Any]]:
    """Return the values of `FINDING_COLUMNS`."""
    moved = list_values(part["moved_dbu"])
    return {
        "class": list_values(part["class_id"]),
        "place_x_um": to_um_each(part["place_x_dbu"].to_numpy(), dbu_nm).tolist(),
        "place_y_um": to_um_each(part["place_y_dbu"].to_numpy(), dbu_nm).tolist(),
        "feature": list_values(part["feature"]),
        "measured_nm": (part["measured_dbu"].to_numpy() * dbu_nm).tolist(),
        "moved_nm": [None if value is None else value * dbu_nm for value in moved],
        "differs": list_values(part["differs"]),
        "cell_kind": list_values(part["cell_kind"]),
        "cell": change_texts(part["cell"], escape_text),
        "cell_path": change_texts(part["cell_path"], escape_text),
    }


def _describe_reviews(part: pa.Table) -> dict[str, list[Any]]:
    """Return the values of `REVIEW_COLUMNS`."""
    return {
        "level": list_values(part["level"]),
        "level_by": list_values(part["level_by"]),
        "waived": change_texts(part["waiver"], bool),
        "waiver": change_texts(part["waiver"], lambda text: escape_text(text) or None),
        "waiver_reason": change_texts(part["reason"], lambda text: escape_text(text) or None),
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
