"""``hotscan simulate``: what it writes, that it resumes, and that a gap never looks clean."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import gdstk
import numpy as np
import pytest
import shapely
from shapely import Polygon

from pipeline.config import Resources
from pipeline.simulate import region
from pipeline.simulate import tiles as simulation
from pipeline.simulate.region import SimulateRequest, simulate_region
from stages.contracts import Box, Int64s
from stages.errors import RunMismatchError, UsageError
from stages.lithography.correction.outlines import cut_to_box
from stages.lithography.process import Process
from tests.support.small_scan import DENSE, Hotscan

Cores = list[tuple[Box, list[Polygon]]]
ROI_UM = (50.0, 50.0, 68.0, 62.0)


def simulated(out: Path, *, workers: int = 0, **changed: Any) -> dict[str, Any]:
    request = SimulateRequest(DENSE, out, "68/20", contours=False, roi_um=ROI_UM)
    return simulate_region(
        replace(request, **changed), Resources(workers=workers), lambda event: None
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("region") / "out"
    metrics = simulated(out, contours=True)
    assert metrics["complete"]
    assert metrics["defects"] > 5
    return out


def test_the_files_agree(whole: Path) -> None:
    metrics = json.loads((whole / "metrics.json").read_text())
    rows = list(csv.DictReader((whole / "defects.csv").read_text().splitlines()))
    assert len(rows) == metrics["defects"]
    x0, y0, x1, y1 = ROI_UM
    assert all(x0 <= float(r["x_um"]) < x1 and y0 <= float(r["y_um"]) < y1 for r in rows)
    kinds = {name: n for name, n in metrics.items() if name.startswith("defects_")}
    assert sum(kinds.values()) == metrics["defects"]
    page = (whole / "index.html").read_text()
    assert f"{metrics['defects']} defects" in page
    assert "http" not in page.replace("http-equiv", "")


def test_the_layout_holds_target_contours_band_and_defects(whole: Path) -> None:
    metrics = json.loads((whole / "metrics.json").read_text())
    library = gdstk.read_gds(str(whole / "simulation.gds"))
    (top,) = library.top_level()
    area: dict[tuple[int, int], float] = {}
    count: dict[tuple[int, int], int] = {}
    for polygon in top.polygons:
        key = (polygon.layer, polygon.datatype)
        area[key] = area.get(key, 0.0) + polygon.area()
        count[key] = count.get(key, 0) + 1
    (marker,) = {layer for layer, _ in area} - {68}
    assert count[marker, 0] == len(top.labels) == metrics["defects"]
    for index, corner in enumerate(("nominal", "over", "under")):
        assert area[marker, 10 + index] == pytest.approx(metrics[f"printed_um2_{corner}"], rel=1e-3)
    assert area[marker, 13] == pytest.approx(metrics["band_um2"], rel=1e-3)
    # More light prints more; the band is at least what two corners differ by.
    under, over = metrics["printed_um2_under"], metrics["printed_um2_over"]
    assert under < metrics["printed_um2_nominal"] < over
    assert metrics["band_um2"] > over - under
    assert 0.7 < metrics["printed_um2_nominal"] / area[68, 20] < 1.2


@pytest.mark.parametrize(("workers", "tile_um"), [(2, 100.0), (0, 7.0)])
def test_workers_and_tiles_change_nothing(
    workers: int, tile_um: float, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(region, "TILE_UM", tile_um)
    simulated(tmp_path / "out", workers=workers)
    assert (tmp_path / "out" / "defects.csv").read_bytes() == (whole / "defects.csv").read_bytes()


def test_a_mask_of_the_same_shapes_changes_nothing(whole: Path, tmp_path: Path) -> None:
    simulated(tmp_path / "out", mask="68/20")
    assert (tmp_path / "out" / "defects.csv").read_bytes() == (whole / "defects.csv").read_bytes()


def test_a_corrected_mask_has_fewer_defects(whole: Path, tmp_path: Path) -> None:
    before = json.loads((whole / "metrics.json").read_text())
    after = simulated(tmp_path / "out", opc="model")
    assert after["opc"] == "model"
    assert after["defects"] < before["defects"] / 2


def test_a_curved_mask_is_written_as_polygons(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ring = shapely.Point(59_000, 56_000).buffer(3000, quad_segs=8)
    core = Box(50_000, 50_000, 70_000, 70_000)

    def find(target: Int64s, window: Box, dbu_nm: float, process: Process) -> Cores:
        polygons = cut_to_box([ring], core)
        return [(core, polygons)] if core.intersect(window) else []

    monkeypatch.setattr(simulation, "find_curved_mask", find)
    monkeypatch.setattr(region, "TILE_UM", 9.0)  # several tiles have a share of the core
    metrics = simulated(tmp_path / "out", opc="curvy", contours=True)
    assert metrics["opc"] == "curvy"
    (top,) = gdstk.read_gds(str(tmp_path / "out" / "simulation.gds")).top_level()
    (drawn,) = (polygon for polygon in top.polygons if polygon.datatype == 3)
    assert drawn.area() == pytest.approx(ring.area / 1e6, rel=1e-3)
    # What prints is that disc, which is all of the core's mask.
    assert metrics["printed_um2_nominal"] == pytest.approx(ring.area / 1e6, rel=0.05)


def test_a_stopped_simulation_goes_on(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(region, "TILE_UM", 6.0)
    real, seen = simulation.check_tile, []

    def die_at_the_third(tile: Any, **given: Any) -> Any:
        seen.append(tile.name)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return real(tile, **given)

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(simulation, "check_tile", die_at_the_third)
        with pytest.raises(KeyboardInterrupt):
            simulated(out)
    assert not (out / "metrics.json").exists()
    with pytest.raises(RunMismatchError, match="opc was 'none', is 'model'"):
        simulated(out, opc="model")
    simulated(out)
    assert (out / "defects.csv").read_bytes() == (whole / "defects.csv").read_bytes()


def test_a_tile_that_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(region, "TILE_UM", 6.0)
    real = simulation.check_tile

    def fail(tile: Any, **given: Any) -> Any:
        if tile.name.endswith("c0009"):
            raise RuntimeError("no light")
        return real(tile, **given)

    with monkeypatch.context() as patch:
        patch.setattr(simulation, "check_tile", fail)
        metrics = simulated(tmp_path / "out")
    assert not metrics["complete"]
    assert 0 < metrics["tiles_simulated"] < metrics["tiles"]
    assert "INCOMPLETE" in (tmp_path / "out" / "index.html").read_text()
    assert simulated(tmp_path / "out")["complete"]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"opc": "rules"}, "--opc rules is unknown"),
        ({"opc": "model", "mask": "68/20"}, "is a mask already"),
    ],
)
def test_what_cannot_be_met_is_refused(changed: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=said):
        simulated(tmp_path / "out", **changed)
    assert not (tmp_path / "out").exists()


def test_the_command_says_where_to_look(hotscan: Hotscan, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ended = hotscan(
        "simulate", DENSE, "--layer", "68/20", "--out", out, "--roi", "50,50,56,56",
        "--no-contours", "--workers", 0, "--quiet", "--fail-on", 100_000,
    )  # fmt: skip
    assert ended.code == 0
    assert f"{out}/index.html" in ended.out
    defects = json.loads((out / "metrics.json").read_text())["defects"]
    assert ended.out.startswith(f"complete: {defects:,} defect")
    assert np.isfinite(defects)
