"""Layouts in memory, against KLayout and shapely."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import gdstk
import klayout.db as kdb
import numpy as np
import pytest

import hotscan
from tests.support.small_scan import DENSE, TINY


def test_what_a_layout_holds() -> None:
    layout = hotscan.read_layout(DENSE, layers=["68/20"])
    oracle = kdb.Layout()
    oracle.read(str(DENSE))
    region = kdb.Region(oracle.top_cell().begin_shapes_rec(oracle.layer(68, 20))).merged()
    box = region.bbox()
    assert (layout.top, layout.dbu_um) == (oracle.top_cell().name, oracle.dbu)
    assert layout.bbox_dbu("68/20") == (box.left, box.bottom, box.right, box.top)
    assert layout.area_dbu2("68/20") == region.area()
    assert layout.layers == ("68/20",)
    assert layout.warnings == ()


def test_an_area_is_of_the_merged_region_and_of_any_angle() -> None:
    cell = gdstk.Cell("C")
    cell.add(
        gdstk.rectangle((0, 0), (2, 1), layer=1), gdstk.rectangle((1, 0), (3, 1), layer=1),
        gdstk.Polygon([(0, 0), (1, 0), (0, 1)], layer=2),
    )  # fmt: skip
    layout = hotscan.read_layout(cell, layers=["1/0", "2/0"])
    assert layout.area_dbu2("1/0") == 3_000_000
    assert layout.area_dbu2("2/0") == 500_000


def test_pictures_are_exact_coverage() -> None:
    cell = gdstk.Cell("C")
    cell.add(gdstk.rectangle((0, 0), (0.1, 0.06), layer=1))
    layout = hotscan.read_layout(cell, layers="1/0")
    (picture,) = layout.rasters("1/0", [(0.0, 0.0)], pixel_nm=40, clip_px=8)
    expected = np.zeros((1, 8, 8))
    expected[0, 4:6, 4:7] = np.outer([1, 0.5], [1, 1, 0.5])
    assert np.abs(picture / 255 - expected).max() <= 0.5 / 255
    with pytest.raises(hotscan.ConfigError, match="layer 2/0 was not read"):
        layout.rasters("2/0", [(0, 0)], pixel_nm=40, clip_px=8)
    with pytest.raises(hotscan.ConfigError, match="a whole number of database units"):
        layout.rasters("1/0", [(0, 0)], pixel_nm=0.5, clip_px=8)


def test_info_and_validate(tmp_path: Path) -> None:
    assert hotscan.info(TINY)["top_cells"]
    assert isinstance(hotscan.validate(TINY), tuple)
    (tmp_path / "bad.gds").write_bytes(b"no layout")
    with pytest.raises(hotscan.LayoutError, match=r"bad\.gds"):
        hotscan.validate(tmp_path / "bad.gds")


def test_limits_on_reading_can_be_given() -> None:
    for read in (hotscan.info, hotscan.validate, partial(hotscan.read_layout, layers="68/20")):
        with pytest.raises(hotscan.LayoutError, match="--reader-seconds"):
            read(TINY, reader={"seconds": 1e-6})
    with pytest.raises(hotscan.ConfigError, match="secnds is not a setting"):
        hotscan.info(TINY, reader={"secnds": 1})
