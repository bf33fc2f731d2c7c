"""A scan against listed defects, each flagged clip with each defect."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import zarr

from pipeline.engine.storage.checksums import seal_folder
from pipeline.engine.storage.run_directory import Run
from pipeline.engine.storage.run_record import LayoutFile, RunRecord, read_record, write_record
from pipeline.evaluate import scan as scan_evaluation
from pipeline.evaluate.scan import evaluate_scan
from pipeline.report.run_view import open_view
from stages.contracts import Box
from stages.errors import RunMismatchError, UsageError

AREA = Box(-1000, 0, 9000, 5000)
MIDDLE = 4000


def run_of(boxes: list[Box], folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run directory of a layout with digest ``a``, and these cores of flagged clips."""
    folder.mkdir()
    write_record(Run(folder), RunRecord(task="scan", layout=LayoutFile("a", "a"), settings={}))
    view = SimpleNamespace(
        job=SimpleNamespace(area=AREA),
        layout=SimpleNamespace(dbu_nm=0.5),
    )
    cores = np.array([box.as_tuple() for box in boxes], np.int64).reshape(-1, 4)
    monkeypatch.setattr(scan_evaluation, "open_view", lambda run: view)
    monkeypatch.setattr(scan_evaluation, "_find_flagged_cores", lambda view: cores)
    return folder


def defects_of(places: np.ndarray, path: Path, digest: str = "a", **about: Any) -> Path:
    provenance = {"layout": {"sha256": digest}, **about}
    group = zarr.create_group(path, attributes={"provenance": provenance})
    for axis, values in zip("xy", places.T, strict=True):
        group.create_array(f"defect_{axis}_dbu", data=np.ascontiguousarray(values))
    seal_folder(path)
    return path


@pytest.mark.parametrize("middle", [MIDDLE, None])
def test_every_flagged_clip_with_every_defect(
    middle: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(1)
    low = np.stack((rng.integers(-1500, 9500, 80), rng.integers(-500, 5500, 80)), axis=1)
    boxes = [Box(x, y, x + int(w), y + int(h)) for (x, y), (w, h) in
             zip(low.tolist(), rng.integers(50, 900, (80, 2)), strict=True)]  # fmt: skip
    places = rng.uniform((-1500, -500), (9500, 5500), (60, 2))
    about = {} if middle is None else {"test_from_x_dbu": middle}
    made = evaluate_scan(
        run_of(boxes, tmp_path / "run", monkeypatch), defects_of(places, tmp_path / "d", **about)
    )
    first = AREA.x_min if middle is None else middle
    counted = Box(first, AREA.y_min, AREA.x_max, AREA.y_max)

    def holds(box: Box, x: float, y: float) -> bool:
        return box.x_min <= x < box.x_max and box.y_min <= y < box.y_max

    reported = [box for box in boxes if box.intersect(counted)]
    known = [(x, y) for x, y in places if holds(counted, x, y)]
    found = sum(any(holds(box, x, y) for box in reported) for x, y in known)
    extras = sum(not any(holds(box, x, y) for x, y in places) for box in reported)
    covered = np.zeros((counted.height, counted.width), bool)
    for box in reported:
        part = box.intersect(counted)
        assert part is not None
        covered[part.y_min : part.y_max, part.x_min - first : part.x_max - first] = True
    assert 0 < found < len(known) < len(places)
    assert 0 < extras < len(reported) < len(boxes)
    assert (made["defects"], made["found"], made["recall"]) == (
        len(known), found, pytest.approx(found / len(known)),
    )  # fmt: skip
    assert made["recall_low"] < made["recall"] < made["recall_high"]
    assert (made["flagged_clips"], made["extras"]) == (len(reported), extras)
    assert made["area_um2"] == pytest.approx(counted.area / 4e6)
    assert made["extras_per_um2"] == pytest.approx(extras / (counted.area / 4e6))
    assert made["simulated_um2"] == pytest.approx(covered.sum() / 4e6)
    assert made["simulated_share"] == pytest.approx(covered.mean())


def test_a_scan_that_flags_nothing_found_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = np.array([(5000.0, 100.0)])
    run = run_of([], tmp_path / "run", monkeypatch)
    made = evaluate_scan(run, defects_of(places, tmp_path / "d"))
    assert (made["recall"], made["extras"], made["simulated_share"]) == (0.0, 0, 0.0)


def test_the_clips_of_a_scan_are_those_that_its_hotspots_were_merged_of(
    reference: Run, tmp_path: Path
) -> None:
    """Defects at the clip of highest score of each hotspot."""
    spots = open_view(reference).hotspots
    clips = sum(spot.clips for spot in spots)
    places = np.array([(spot.x_dbu, spot.y_dbu) for spot in spots])
    digest = read_record(reference).layout.sha256
    made = evaluate_scan(reference.path, defects_of(places, tmp_path / "d", digest))
    assert (made["flagged_clips"], made["found"], made["recall"]) == (clips, len(spots), 1.0)
    assert made["extras"] <= clips - len({(spot.x_dbu, spot.y_dbu) for spot in spots})
    covered = sum(spot.box.area for spot in spots) / 1e6
    assert 0 < made["simulated_um2"] <= covered + 1e-9


def test_what_does_not_go_together_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = np.array([(5000.0, 100.0)])
    run = run_of([], tmp_path / "run", monkeypatch)
    with pytest.raises(RunMismatchError, match=r"digest a but .* of one with b"):
        evaluate_scan(run, defects_of(places, tmp_path / "other", digest="b"))
    with pytest.raises(UsageError, match=r"scanned nothing of the test half.* x = 9000 dbu"):
        evaluate_scan(run, defects_of(places, tmp_path / "far", test_from_x_dbu=9000))
    zarr.create_group(tmp_path / "empty")
    seal_folder(tmp_path / "empty")
    with pytest.raises(UsageError, match="empty holds no defects"):
        evaluate_scan(run, tmp_path / "empty")
