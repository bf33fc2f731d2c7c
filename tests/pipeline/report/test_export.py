"""Exports hold every hotspot, and keep off the layers of the layout."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import gdstk
import numpy as np
import pytest

from pipeline.engine.storage.run_directory import Run
from pipeline.passes.units import draw_places
from pipeline.report.export import export_hotspots
from pipeline.report.run_view import RunView, open_view
from stages.contracts import Box, Layer
from stages.errors import UsageError


@pytest.fixture(scope="module")
def view(reference: Run) -> RunView:
    return open_view(reference)


def test_markers_keep_off_every_layer_of_the_file(view: RunView, tmp_path: Path) -> None:
    """Also off layers that were not scanned."""
    layers = {Layer(number, 0) for number in range(1, 256)} - {Layer(17, 0)}
    crowded = replace(view, layout=replace(view.layout, file_layers=tuple(layers)))
    export_hotspots(crowded, "gds", tmp_path / "m.gds", [Box(0, 0, 1000, 2000)])
    (cell,) = gdstk.read_gds(str(tmp_path / "m.gds")).cells
    assert {polygon.layer for polygon in cell.polygons} == {17}
    (region,) = [polygon for polygon in cell.polygons if polygon.datatype == 2]
    assert region.bounding_box() == ((0, 0), (1, 2))
    assert [path.name for path in tmp_path.iterdir()] == ["m.gds"]


def test_a_clip_file_holds_the_clip(view: RunView, tmp_path: Path) -> None:
    """Its area of the scanned layer is what the picture shows, to the rounding of a pixel."""
    export_hotspots(view, "clips", tmp_path, [])
    spot = view.hotspots[0]
    cell = gdstk.read_gds(str(next(tmp_path.glob(f"*{spot.id:04d}*.gds")))).cells[0]
    drawn = [p for p in cell.polygons if (p.layer, p.datatype) == (68, 20)]
    half = view.job.clip_dbu / 2000
    window = gdstk.rectangle(
        (spot.x_dbu / 1000 - half, spot.y_dbu / 1000 - half),
        (spot.x_dbu / 1000 + half, spot.y_dbu / 1000 + half),
    )
    inside = sum(p.area() for p in gdstk.boolean(drawn, window, "and"))
    (picture,) = draw_places(np.array([spot.x_dbu]), np.array([spot.y_dbu]), view.job)
    pixel_um2 = (view.job.pixel_dbu / 1000) ** 2
    assert inside == pytest.approx(picture.sum() / 255 * pixel_um2, rel=0.01)
    assert inside > 0


def test_an_unknown_format_lists_the_known(view: RunView, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="format 'dxf' is unknown; choose one of gds, oas, lyrdb"):
        export_hotspots(view, "dxf", tmp_path / "x", [])
