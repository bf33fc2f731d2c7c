"""Small GDSII files after public reports, one trap each, against what KLayout reads of them."""

from __future__ import annotations

import csv
import time
from pathlib import Path

import klayout.db as kdb
import numpy as np
import pytest

from stages.contracts import Box, Layer
from stages.errors import ConfigError, LayoutError
from stages.geometry.window_query import query, split_polygons
from stages.layout.builder import pack_layout
from stages.layout.gdsii.grammar import SMALL_LIBRARY
from stages.layout.gdsii.stream_check import check_stream
from tests.conftest import data_folder

REPORTS = data_folder() / "reports"
EVERYWHERE = Box(-(2**31), -(2**31), 2**31, 2**31)
SECONDS = 5.0
SPECIFIED = {"libdirsize.gds", "strclass.gds"}
"""Files that KLayout refuses, though the format allows what is in them: read, with a warning."""


def rows() -> dict[str, dict[str, str]]:
    """Return the table of what is expected, by file; nothing where the folder is absent."""
    if not REPORTS.is_dir():
        return {}
    with (REPORTS / "expected.csv").open(newline="") as file:
        return {row["file"]: row for row in csv.DictReader(file) if row["file"].endswith(".gds")}


ROWS = rows()


@pytest.fixture(scope="module", autouse=True)
def _warm(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("warm") / "small.gds"
    path.write_bytes(SMALL_LIBRARY)
    merged(path, Layer(0, 0), None)


def merged(path: Path, layer: Layer, cell: str | None) -> tuple[kdb.Region, tuple[str, ...]]:
    """Return what hotscan reads of one layer, merged by KLayout, and the warnings."""
    report = check_stream(np.fromfile(path, np.uint8))
    shapes = query(pack_layout(path, [layer], cell).packed[0], EVERYWHERE)
    region = kdb.Region()
    for rect in shapes.rects.tolist():
        region.insert(kdb.Box(*rect))
    for corners in split_polygons(shapes):
        region.insert(kdb.Polygon([kdb.Point(x, y) for x, y in corners.tolist()], True))
    return region.merged(), report.warnings


@pytest.mark.skipif(not ROWS, reason="needs reports, which is not shipped; set HOTSCAN_DATA")
def test_the_table_is_all_there() -> None:
    assert len(ROWS) == 113
    assert {row["klayout"] for row in ROWS.values()} == {"read", "refused", "ambiguous top"}


@pytest.mark.parametrize("name", ROWS)
def test_reads_what_klayout_reads(name: str) -> None:
    row, path = ROWS[name], REPORTS / name
    layer, cell = Layer.parse(row["layer"]), row["cell"] or None
    begun = time.monotonic()
    if row["klayout"] == "ambiguous top":
        with pytest.raises(ConfigError, match=f"has {len(row['tops'].split())} top cells") as told:
            merged(path, layer, cell)
        assert all(top in str(told.value) for top in row["tops"].split())
    elif row["klayout"] == "refused" and name not in SPECIFIED:
        with pytest.raises(LayoutError):
            merged(path, layer, cell)
    else:
        region, warnings = merged(path, layer, cell)
        if name in SPECIFIED:
            assert "other readers refuse" in warnings[0]
        else:
            box = region.bbox()
            assert region.area() == int(row["area_dbu2"])
            assert f"{box.left} {box.bottom} {box.right} {box.top}" == row["bbox_dbu"]
    assert time.monotonic() - begun < SECONDS
