"""Tables of the hotspots: CSV, JSON, Arrow.

In: hotspots, and what simulation says of them. Out: a table with a row for each, by rank.
Unit of work: a whole scan.
Promise: equal input gives equal bytes; what is not simulated has empty cells, never a "no".
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from stages.contracts import Box, Hotspot, Verdict, um
from stages.errors import LayoutError

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
"""What the CSV, JSON and Parquet tables hold of a hotspot, in this order."""

VERDICT_COLUMNS: dict[str, Any] = {
    "confirmed": pa.bool_(),
    "defects": pa.int64(),
    "defect": pa.string(),
    "corner": pa.string(),
    "severity": pa.float64(),
    "defect_x_um": pa.float64(),
    "defect_y_um": pa.float64(),
}
"""What follows where hotspots were simulated; all empty for one that was to be and is not."""

Verdicts = Mapping[int, Verdict] | None
"""Id of a hotspot to what simulation says of it; None when none was to be simulated."""

_PART = 4096
"""Hotspots whose rows are held at once as objects, which take ten times the room of a column."""

_DBU_COLUMNS = ("x_dbu", "y_dbu", *(f"{side}_dbu" for side in _SIDES))


def hotspots_to_table(hotspots: Sequence[Hotspot], dbu_nm: float, verdicts: Verdicts = None) -> Any:
    """Return a ``pyarrow.Table`` of all columns and of the same places as integers in dbu."""
    parts = [
        _part(hotspots[first : first + _PART], dbu_nm, verdicts)
        for first in range(0, max(len(hotspots), 1), _PART)
    ]
    return pa.concat_tables(parts).combine_chunks()


def _part(hotspots: Sequence[Hotspot], dbu_nm: float, verdicts: Verdicts) -> Any:
    rows = list(_rows(hotspots, dbu_nm, verdicts))
    columns = {
        name: pa.array([row[name] for row in rows], kind)
        for name, kind in columns_of(verdicts).items()
    }
    places = [(spot.x_dbu, spot.y_dbu, *spot.box.as_tuple()) for spot in hotspots]
    for at, name in enumerate(_DBU_COLUMNS):
        columns[name] = pa.array([place[at] for place in places], pa.int64())
    return pa.table(columns)


def table_to_hotspots(table: Any) -> tuple[Hotspot, ...]:
    """Return the hotspots that `hotspots_to_table` put into `table`.

    Raises
    ------
    LayoutError
        When a column is missing, that is, when the table is not one of hotspots.
    """
    plain = (
        "id", "score", "answer", "rule", "clips", "pattern", "pattern_key", "group", "x_dbu",
        "y_dbu",
    )  # fmt: skip
    missing = {*plain, *_DBU_COLUMNS} - set(table.column_names)
    if missing:
        raise LayoutError(
            f"the table of hotspots has no column {', '.join(sorted(missing))}; "
            "it was not written by this version: scan into a new run directory"
        )
    return tuple(
        Hotspot(**{name: row[name] for name in plain}, box=Box(*(row[n] for n in _DBU_COLUMNS[2:])))
        for part in table.to_batches(_PART)
        for row in part.to_pylist()
    )


def columns_of(verdicts: Verdicts) -> dict[str, Any]:
    """Return the columns of a scan's tables with their types."""
    return COLUMNS if verdicts is None else COLUMNS | VERDICT_COLUMNS


def hotspots_csv(hotspots: Sequence[Hotspot], dbu_nm: float, verdicts: Verdicts = None) -> str:
    """Return a table with a header; scores to six digits."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns_of(verdicts), lineterminator="\n")
    writer.writeheader()
    rows = _rows(hotspots, dbu_nm, verdicts)
    writer.writerows(row | {"score": f"{row['score']:.6f}"} for row in rows)
    return text.getvalue()


def hotspots_json(hotspots: Sequence[Hotspot], dbu_nm: float, verdicts: Verdicts = None) -> str:
    """Return a JSON list of objects with the columns as keys."""
    return json.dumps(list(_rows(hotspots, dbu_nm, verdicts)), indent=1) + "\n"


def _verdict(verdict: Verdict | None, dbu_nm: float) -> dict[str, Any]:
    """Return the columns of a verdict."""
    if verdict is None:
        return dict.fromkeys(VERDICT_COLUMNS)
    worst = verdict.worst
    return {
        "confirmed": verdict.confirmed,
        "defects": verdict.defects,
        "defect": worst and worst.kind,
        "corner": worst and worst.corner,
        "severity": worst and worst.severity,
        "defect_x_um": worst and um(worst.x_dbu, dbu_nm),
        "defect_y_um": worst and um(worst.y_dbu, dbu_nm),
    }


def _rows(
    hotspots: Sequence[Hotspot], dbu_nm: float, verdicts: Verdicts
) -> Iterator[dict[str, Any]]:
    for spot in hotspots:
        edges = zip(_SIDES, spot.box.as_tuple(), strict=True)
        values: dict[str, Any] = {f"{side}_um": um(edge, dbu_nm) for side, edge in edges}
        values["x_um"], values["y_um"] = um(spot.x_dbu, dbu_nm), um(spot.y_dbu, dbu_nm)
        row = {name: values[name] if name in values else getattr(spot, name) for name in COLUMNS}
        yield row if verdicts is None else row | _verdict(verdicts.get(spot.id), dbu_nm)
