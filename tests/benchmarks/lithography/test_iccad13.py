"""The contest's kernels image as the contest images: one clip."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import shapely

from benchmarks.lithography import iccad13_masks
from benchmarks.lithography.iccad13 import as_rects, contest_process, drawn, measured, read_clip
from benchmarks.lithography.iccad13_masks import (
    as_boxes,
    correct_by_curves,
    correct_edges,
    count,
    count_broken,
    count_violations,
    fill,
    list_checks,
)
from stages.lithography.process import Curves


def test_a_contest_clip_images_as_the_plain_evaluation(
    shared_data: Callable[[str], Path],
) -> None:
    kernel_file = shared_data("litho/iccad13_socs_kernels.npz")
    clip = shared_data("litho/iccad13_clips/M1_test5.glp")
    found = measured(clip, contest_process(kernel_file), kernel_file)
    assert max(found.difference) < 1e-5
    for ours, counted in (found.printed_nm2, found.band_nm2):
        assert counted > 10_000
        assert abs(ours / counted - 1) < 0.01


def test_polygons_are_read_and_drawn(tmp_path: Path) -> None:
    clip = tmp_path / "a.glp"
    clip.write_text(
        "CELL U PRIME\n   RECT N M1  10 20  30  5\n"
        "   PGON N M1  100 100  140 100  140 120  110 120  110 150  100 150\nENDMSG\n"
    )
    mask = drawn(read_clip(clip))
    expected = np.zeros_like(mask)
    expected[20:25, 10:40] = True
    expected[100:120, 100:140] = True
    expected[120:150, 100:110] = True
    np.testing.assert_array_equal(mask, expected)


def test_masks_are_counted_by_pixels() -> None:
    target = np.array([[300, 300, 400, 500]])
    wide = np.array([[284, 300, 400, 500]])
    light = 0.225 * fill(wide, 1024).astype(np.float32)
    found = count(target, (light, light), 0.225, 1, 1.5, 0)
    # At dose 0.98 nothing prints; the left edge is 16 nm out, at its four checks.
    assert found == (16 * 200, 116 * 200, 4, 1, 1.5, 0)
    assert count_violations(target, fill(target, 1024)) == 0
    nothing = np.zeros((1024, 1024), bool)
    assert count_violations(target, nothing) == 2 * len(list_checks(300, 500)) + 2 * 2


def test_masks_of_a_contest_clip_keep_the_rules(
    shared_data: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    process = contest_process(shared_data("litho/iccad13_socs_kernels.npz"))
    target = as_rects(read_clip(shared_data("litho/iccad13_clips/M1_test10.glp")))
    quick = replace(iccad13_masks.SETTINGS, descent=12, curves=Curves(rounds=12))
    monkeypatch.setattr(iccad13_masks, "SETTINGS", quick)
    edges, _ = correct_edges(target, process)
    curves, _ = correct_by_curves(target, process)
    assert len(edges) > 50, "corrected"
    assert len(shapely.get_coordinates(curves)) > 150, "curved"
    assert [count_broken(mask, 2048) for mask in (as_boxes(edges), curves)] == [0, 0]
    assert count_broken([shapely.box(300, 300, 319, 400)], 2048) == 1


def test_checks_lie_every_40_nm_from_both_ends() -> None:
    assert list_checks(0, 80) == [40]
    assert list_checks(0, 100) == [40, 60]
    assert list_checks(0, 200) == [40, 80, 120, 160]
