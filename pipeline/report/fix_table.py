"""The table of fixes: what is changed so that a hotspot prints, or why nothing is.

in       rows
out      ``fixes.parquet``, and the rows again
unit     a hotspot that fails in simulation
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.config import ScanConfig
from pipeline.engine.storage.ledger import Ledger
from pipeline.engine.storage.run_directory import Run, write_table
from pipeline.engine.storage.tables import explain_damage, read_table
from stages.contracts import Int64s
from stages.fixes.moves import UNCHANGED, Change, Rects

TABLE = "fixes.parquet"
IN_CELL, FLAT, NOT_FIXED = "cell", "flat", ""
"""How a hotspot is fixed: in its cell, for all placements; in this placement alone; not at all."""
_RECTS = pa.list_(pa.int64())
FIXES = pa.schema(
    [
        ("hotspot", pa.int64()), ("class_id", pa.int64()), ("scope", pa.string()),
        ("cell", pa.string()), ("placements", pa.int64()), ("moves", pa.string()),
        ("reason", pa.string()), ("x_dbu", pa.int64()), ("y_dbu", pa.int64()),
        ("removed", _RECTS), ("added", _RECTS), ("cell_removed", _RECTS), ("cell_added", _RECTS),
    ]
)  # fmt: skip
"""Rectangles are listed as four numbers each, in dbu of the top cell, and of the cell."""


@dataclass(frozen=True, slots=True)
class FixRow:
    """What is said of a hotspot."""

    hotspot: int
    class_id: int
    origin: tuple[int, int]
    """The place that its moves count from."""
    reason: str = ""
    """Why it is not fixed; empty where it is."""
    moves: str = ""
    """In words."""
    change: Change = UNCHANGED
    """In the top cell."""
    scope: str = NOT_FIXED
    cell: str = ""
    placements: int = 0
    in_cell: Change = UNCHANGED
    """The change of the cell, in its coordinates."""

    def as_dict(self) -> dict[str, object]:
        """Return the row of a table."""
        return {
            "hotspot": self.hotspot, "class_id": self.class_id, "scope": self.scope,
            "cell": self.cell, "placements": self.placements, "moves": self.moves,
            "reason": self.reason, "x_dbu": self.origin[0], "y_dbu": self.origin[1],
            "removed": _flatten(self.change.removed), "added": _flatten(self.change.added),
            "cell_removed": _flatten(self.in_cell.removed),
            "cell_added": _flatten(self.in_cell.added),
        }  # fmt: skip

    @classmethod
    def of(cls, row: Mapping[str, object]) -> FixRow:
        """Return what `as_dict` stored."""
        change, in_cell = (
            Change(_unflatten(row[before + "removed"]), _unflatten(row[before + "added"]))
            for before in ("", "cell_")
        )
        return cls(
            row["hotspot"], row["class_id"], (row["x_dbu"], row["y_dbu"]), row["reason"],  # type: ignore[arg-type]
            row["moves"], change, row["scope"], row["cell"], row["placements"], in_cell,  # type: ignore[arg-type]
        )  # fmt: skip


def _flatten(rects: Rects) -> list[int]:
    return [value for rect in rects for value in rect]


def _unflatten(values: object) -> Rects:
    rows: Int64s = np.array(values, np.int64).reshape(-1, 4)
    return tuple((a, b, c, d) for a, b, c, d in rows.tolist())


def write_rows(path: Path, rows: Iterable[FixRow]) -> None:
    """Write rows by hotspot."""
    ordered = sorted(rows, key=lambda row: row.hotspot)
    write_table(path, pa.Table.from_pylist([row.as_dict() for row in ordered], FIXES))


def read_rows(path: Path) -> list[FixRow]:
    """Return the rows that were written.

    Raises
    ------
    IncompleteError
        When they are missing or damaged.
    """
    table = read_table(path, FIXES)
    with explain_damage(path):
        return [FixRow.of(row) for row in table.to_pylist()]


def read_fixes(run: Run, config: ScanConfig, ledger: Ledger) -> Mapping[int, FixRow] | None:
    """Return the fix of each hotspot by its id; None where none were searched."""
    if not (config.fix.enabled and ledger.finished("fixes")):
        return None
    return {row.hotspot: row for row in read_rows(run.path / TABLE)}
