"""Hotspots with their classes and levels, as columns: what tables and markers are written from.

in       hotspots; their findings and reviews, by id
out      tables with the fields of all three
unit     `PART` hotspots
promise  no value is made for a row that is columns already
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa

from stages.contracts import Hotspot, Int64s, require_even
from stages.findings import Finding, Review
from stages.rows import HOTSPOT_COLUMNS, PART, Row, Rows, as_row, make_hotspot, read_by_id

PREDICTED_COLUMNS = {"predicted_kind": pa.string(), "predicted_margin": pa.float64()}
"""Further fields of a hotspot where the model predicts margins."""
_KINDS = {
    "score": pa.float64(), "rule": pa.string(), "pattern_key": pa.string(), "answer": pa.string(),
}  # fmt: skip
_FIELDS = {name: _KINDS.get(name, pa.int64()) for name in HOTSPOT_COLUMNS}


def is_predicted(hotspots: Sequence[Hotspot]) -> bool:
    """Return whether the model predicts margins: then every hotspot has one."""
    return bool(hotspots) and hotspots[0].predicted_margin is not None


def tabulate_hotspots(hotspots: Sequence[Hotspot]) -> Rows[Hotspot]:
    """Return hotspots as rows of a table."""
    if isinstance(hotspots, Rows):
        return hotspots
    fields = _FIELDS | PREDICTED_COLUMNS if is_predicted(hotspots) else _FIELDS
    rows = list(map(_split, hotspots))
    return Rows(pa.Table.from_pylist(rows, pa.schema(fields.items())), make_hotspot)


def _split(spot: Hotspot) -> Row:
    """Return the row of a hotspot, for `make_hotspot`."""
    return as_row(spot) | {f"{name}_dbu": side for name, side in as_row(spot.box).items()}


def list_parts(
    hotspots: Sequence[Hotspot],
    findings: Mapping[int, Finding] | None,
    reviews: Mapping[int, Review] | None,
    part: int = PART,
) -> Iterator[pa.Table]:
    """Yield the fields of hotspots, of their findings and of their reviews, where there are any."""
    table = tabulate_hotspots(hotspots).table
    for first in range(0, table.num_rows, part):
        rows = table.slice(first, part)
        ids: Int64s = rows["id"].to_numpy()
        for values in (findings, reviews):
            if values is not None:
                said = read_by_id(values, ids)
                for name in said.column_names:
                    if name != "id":
                        rows = rows.append_column(name, said[name])
        yield rows


def cut_cores(part: pa.Table, core_dbu: int) -> tuple[Int64s, Int64s, Int64s, Int64s]:
    """Return the sides of the core of each hotspot, as `Hotspot.core` does."""
    require_even(core_dbu)
    half, (x, y) = core_dbu // 2, (part[name].to_numpy() for name in ("x_dbu", "y_dbu"))
    return x - half, y - half, x + half, y + half
