"""Tables with what simulation says: a verdict that is not there is an empty cell, never a no."""

from __future__ import annotations

import csv
import io
import json

from stages.contracts import Box, Defect, Hotspot, Verdict
from stages.exports.tables import (
    COLUMNS,
    VERDICT_COLUMNS,
    format_csv,
    format_json,
    hotspots_to_table,
)

SPOTS = [
    Hotspot(i, 1000 * i, -500, 0.9, "grid", 1, 0, "00", 1, Box(0, 0, 10, 10)) for i in (1, 2, 3)
]
VERDICTS = {1: Verdict(3, Defect("pinch", 1100, -480, "under", 0.25)), 2: Verdict(0, None)}


def test_the_three_answers_are_told_apart() -> None:
    rows = list(csv.DictReader(io.StringIO(format_csv(SPOTS, 0.5, VERDICTS))))
    assert list(rows[0]) == [*COLUMNS, *VERDICT_COLUMNS]
    told = [{name: row[name] for name in VERDICT_COLUMNS} for row in rows]
    assert told[0] == {
        "confirmed": "True", "defects": "3", "defect": "pinch", "corner": "under",
        "severity": "0.25", "defect_x_um": "0.55", "defect_y_um": "-0.24",
    }  # fmt: skip
    assert (told[1]["confirmed"], told[1]["defects"], told[1]["defect"]) == ("False", "0", "")
    assert set(told[2].values()) == {""}


def test_every_form_says_the_same() -> None:
    rows = json.loads(format_json(SPOTS, 0.5, VERDICTS))
    table = hotspots_to_table(SPOTS, 0.5, VERDICTS)
    for name in VERDICT_COLUMNS:
        assert table[name].to_pylist() == [row[name] for row in rows]
    assert table["confirmed"].to_pylist() == [True, False, None]


def test_without_simulation_there_are_no_such_columns() -> None:
    assert next(csv.reader(io.StringIO(format_csv(SPOTS, 1.0)))) == list(COLUMNS)
    assert not set(VERDICT_COLUMNS) & set(hotspots_to_table(SPOTS, 1.0).column_names)
