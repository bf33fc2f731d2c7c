"""Areas of merged regions, against KLayout and by formula."""

from __future__ import annotations

import klayout.db as kdb
import numpy as np
import pytest

from stages.contracts import PackedLayer
from stages.layout import measure
from stages.layout.measure import compute_merged_area
from stages.layout.pack import NO_PLACEMENTS, LayerBuilder

STAR = [(0, 300), (176, -243), (-285, 93), (285, 93), (-176, -243)]
"""A pentagram: its middle is gone round twice, and counts."""
BOW_TIE = [(0, 0), (100, 100), (100, 0), (0, 100)]


def pack(rects: list[tuple[int, ...]], rings: list[list[tuple[int, int]]]) -> PackedLayer:
    builder = LayerBuilder()
    corners = [np.array(ring, np.int64) for ring in rings]
    builder.add_cell("top", np.array(rects, np.int64).reshape(-1, 4), corners, NO_PLACEMENTS)
    return builder.build()


def klayout_area(rects: list[tuple[int, ...]], rings: list[list[tuple[int, int]]]) -> float:
    region = kdb.Region()
    for rect in rects:
        region.insert(kdb.Box(*rect))
    for ring in rings:
        region.insert(kdb.Polygon([kdb.Point(*corner) for corner in ring], True))
    region.min_coherence = False
    return region.merged().area()


@pytest.mark.parametrize("window_dbu", [70, 100_000])
@pytest.mark.parametrize("rings", [[STAR], [BOW_TIE], [STAR, BOW_TIE], [STAR[::-1], STAR]])
def test_any_angle_areas_are_those_of_the_filled_rings(
    rings: list[list[tuple[int, int]]], window_dbu: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "WINDOW_DBU", window_dbu)
    rects = [(-20, -20, 50, 30)]
    expected = klayout_area(rects, rings)
    assert compute_merged_area(pack(rects, rings)) == pytest.approx(expected, rel=2e-3)  # it snaps


def test_overlaps_count_once_and_exactly() -> None:
    area = compute_merged_area(pack([(0, 0, 10, 10), (5, 5, 15, 15)], []))
    assert (area, type(area)) == (175, int)


def test_a_bow_tie_has_two_triangles() -> None:
    assert compute_merged_area(pack([], [BOW_TIE])) == pytest.approx(5000)


def test_nothing_has_no_area() -> None:
    assert compute_merged_area(pack([], [])) == 0
