"""Tables with what simulation says: a verdict that is not there is an empty cell, never a no."""

from __future__ import annotations

import csv
import io
import json

from stages.contracts import Box, Defect, Hotspot, Verdict
from stages.exports.tables import (
    CLASS_COLUMNS,
    COLUMNS,
    FINDING_COLUMNS,
    REVIEW_COLUMNS,
    VERDICT_COLUMNS,
    add_findings,
    format_classes,
    format_csv,
    format_json,
    hotspots_to_table,
)
from stages.findings import ClassReview, Review
from tests.support.found import make_class, make_finding

SPOTS = [
    Hotspot(i, 1000 * i, -500, 0.9, "grid", 1, 0, "00", 1, Box(0, 0, 10, 10)) for i in (1, 2, 3)
]
FINDINGS = {i: make_finding(i, 1 + i // 3) for i in (1, 2, 3)}
VERDICTS = {
    1: Verdict(3, Defect("pinch", 1100, -480, "under", 0.25), 0.25, "pinch"),
    2: Verdict(0, None),
}


def test_the_three_answers_are_told_apart() -> None:
    rows = list(csv.DictReader(io.StringIO("".join(format_csv(SPOTS, 0.5, VERDICTS)))))
    assert list(rows[0]) == [*COLUMNS, *VERDICT_COLUMNS]
    told = [{name: row[name] for name in VERDICT_COLUMNS} for row in rows]
    assert told[0] == {
        "confirmed": "True", "defects": "3", "defect": "pinch", "corner": "under",
        "severity": "0.25", "margin": "0.25", "margin_kind": "pinch", "defect_x_um": "0.55",
        "defect_y_um": "-0.24",
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
    assert next(csv.reader(io.StringIO("".join(format_csv(SPOTS, 1.0))))) == list(COLUMNS)
    assert not set(VERDICT_COLUMNS) & set(hotspots_to_table(SPOTS, 1.0).column_names)


def test_classes_and_cells_are_in_every_form() -> None:
    rows = list(csv.DictReader(io.StringIO("".join(format_csv(SPOTS, 0.5, VERDICTS, FINDINGS)))))
    assert list(rows[0]) == [*COLUMNS, *FINDING_COLUMNS, *VERDICT_COLUMNS]
    assert {name: rows[2][name] for name in FINDING_COLUMNS} == {
        "class": "2", "place_x_um": "0.50025", "place_y_um": "-1.0", "feature": "space",
        "measured_nm": "70.0", "moved_nm": "1.75", "differs": "", "cell_kind": "cell",
        "cell": "inv_1", "cell_path": "block(1,2,r0)/inv_1(3,4,m90)",
    }  # fmt: skip
    table = hotspots_to_table(SPOTS, 0.5, None, FINDINGS)
    listed = json.loads(format_json(SPOTS, 0.5, None, FINDINGS))
    added = add_findings(hotspots_to_table(SPOTS, 0.5), FINDINGS, 0.5)
    for name in FINDING_COLUMNS:
        assert table[name].to_pylist() == [row[name] for row in listed] == added[name].to_pylist()


def test_the_table_of_classes() -> None:
    reviews = {1: ClassReview(2, 7), 2: ClassReview(None)}
    text = format_classes([make_class(1, 12, 30), make_class(2, 4, 1)], 0.5, reviews)
    rows = list(csv.DictReader(io.StringIO(text)))
    assert list(rows[0]) == list(CLASS_COLUMNS)
    assert [(row["class"], row["representative"], row["hotspots"]) for row in rows] == [
        ("1", "12", "30"), ("2", "4", "1"),
    ]  # fmt: skip
    assert (rows[0]["moved_nm"], rows[0]["fails"]) == ("1.75", "")
    assert [(row["level"], row["waived"]) for row in rows] == [("2", "7"), ("", "0")]


def test_levels_are_in_every_form() -> None:
    """What prints has none: an empty cell, not a 0."""
    waived = Review(3, "score", "w-1 w-2", "seen; \x1b")
    reviews = {1: Review(1, "simulation"), 2: Review(None, "simulation"), 3: waived}
    rows = list(
        csv.DictReader(io.StringIO("".join(format_csv(SPOTS, 0.5, VERDICTS, FINDINGS, reviews))))
    )
    assert list(rows[0]) == [*COLUMNS, *FINDING_COLUMNS, *REVIEW_COLUMNS, *VERDICT_COLUMNS]
    assert [(row["level"], row["level_by"]) for row in rows] == [
        ("1", "simulation"), ("", "simulation"), ("3", "score"),
    ]  # fmt: skip
    assert [(row["waived"], row["waiver"], row["waiver_reason"]) for row in rows] == [
        ("False", "", ""), ("False", "", ""), ("True", "w-1 w-2", r"seen; \x1b"),
    ]  # fmt: skip
    table = hotspots_to_table(SPOTS, 0.5, None, None, reviews)
    listed = json.loads(format_json(SPOTS, 0.5, None, None, reviews))
    for name in REVIEW_COLUMNS:
        assert table[name].to_pylist() == [row[name] for row in listed]
    assert table["level"].to_pylist() == [1, None, 3]
