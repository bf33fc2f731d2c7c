"""From settings in nm to the integers of one layout."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.config import ScanConfig, load_config
from pipeline.engine.storage.run_directory import Run
from pipeline.layout.reader_process import Limits
from pipeline.passes.job import (
    Job,
    make_job,
    make_sampling_limits,
    parse_layers,
    resolve_config,
)
from pipeline.report.run_view import open_view
from stages.contracts import Box, PackedLayout
from stages.detector.models import checkpoint
from stages.errors import ConfigError, ModelMismatchError, UsageError
from stages.lithography.process import load_process
from tests.support.small_scan import SmallScan

PROCESS = load_process("krf130")


@pytest.fixture(scope="module")
def model(small_scan: SmallScan) -> checkpoint.Checkpoint:
    return checkpoint.load(small_scan.model)


@pytest.fixture(scope="module")
def layout(reference: Run) -> PackedLayout:
    return open_view(reference).layout


def config(**tables: dict[str, object]) -> ScanConfig:
    return load_config(None, {"layout": {"layers": ["68/20"]}, **tables})


def job_of(settings: ScanConfig, layout: PackedLayout, model: checkpoint.Checkpoint) -> Job:
    resolved = resolve_config(settings, model, PROCESS)
    return make_job(Path("run"), resolved, layout, model, Path("model.pt"), PROCESS)


def test_open_settings_become_the_models_and_the_processs(model: checkpoint.Checkpoint) -> None:
    grid = resolve_config(config(), model, PROCESS)
    assert grid.clips.stride_nm == grid.raster.core_nm == 1280
    assert (grid.raster.pixel_nm, grid.raster.clip_nm) == (40, 2560)
    assert grid.scores.threshold == model.threshold
    sites = resolve_config(config(clips={"mode": "sites", "space_nm": 111.0}), model, PROCESS)
    assert sites.clips.stride_nm is None
    assert sites.clips.space_nm == 111
    assert sites.clips.tip_to_tip_nm == PROCESS.sampling.tip_to_tip_nm
    assert resolve_config(grid, model, PROCESS) == grid
    assert resolve_config(sites, model, PROCESS) == sites


@pytest.mark.parametrize(
    ("tables", "error", "message"),
    [
        ({"layout": {}}, ConfigError, "no layer to scan"),
        ({"layout": {"layers": ["1/0", "2/0"]}}, ConfigError, "2 layers are given .* 1/0.2/0$"),
        (
            {"layout": {"layers": ["1/0+2/0"]}},
            ModelMismatchError,
            "is 2 of a picture, and model .* takes 1",
        ),
        ({"raster": {"pixel_nm": 20.0}}, ModelMismatchError, "pixel_nm is 20 but .* at 40"),
        ({"raster": {"clip_nm": 2000.0}}, ModelMismatchError, "clip_nm is 2000 but .* at 2560"),
        ({"clips": {"stride_nm": 1281.0}}, ConfigError, "stride_nm is 1281 but a core is 1280"),
    ],
)
def test_what_cannot_be_met_is_refused(
    tables: dict[str, dict[str, object]],
    error: type[Exception],
    message: str,
    model: checkpoint.Checkpoint,
) -> None:
    with pytest.raises(error, match=message):
        resolve_config(config(**tables), model, PROCESS)


@pytest.mark.parametrize("dbu_nm", [0.1, 0.25, 1.0, 5.0])
def test_lengths_in_any_database_unit(
    dbu_nm: float, layout: PackedLayout, model: checkpoint.Checkpoint
) -> None:
    job = job_of(config(clips={"stride_nm": 640.0}), replace(layout, dbu_nm=dbu_nm), model)
    assert job.pixel_dbu * dbu_nm == pytest.approx(40)
    assert job.core_dbu * dbu_nm == pytest.approx(1280)
    assert job.clip_dbu * dbu_nm == pytest.approx(2560)
    assert job.stride_dbu * dbu_nm == pytest.approx(640)
    assert job.tile_dbu % job.core_dbu == 0
    assert abs(job.tile_dbu * dbu_nm / 1000 - 200) <= 0.64


def test_a_unit_that_no_pixel_or_stride_fits_is_refused(
    layout: PackedLayout, model: checkpoint.Checkpoint
) -> None:
    with pytest.raises(ConfigError, match=r"pixel_nm is 40 but .* unit is 3 nm"):
        job_of(config(), replace(layout, dbu_nm=3.0), model)
    with pytest.raises(ConfigError, match=r"\[clips\] stride_nm is 640.5 but .* unit is 1 nm"):
        job_of(config(clips={"stride_nm": 640.5}), layout, model)


@pytest.mark.parametrize("size_um", [2.0, 13.0, 100.0])
def test_tiles_cover_the_area_once(
    size_um: float, layout: PackedLayout, model: checkpoint.Checkpoint
) -> None:
    roi = {"layers": ["68/20"], "roi_um": [-0.5, 7.3, 33.1, 21.7]}
    job = job_of(config(layout=roi, tiles={"size_um": size_um}), layout, model)
    assert job.area == Box(-500, 7300, 33100, 21700)
    pieces = [piece for tile in job.tiles if (piece := tile.box.intersect(job.area))]
    assert sum(piece.area for piece in pieces) == job.area.area
    corners = np.array([piece.as_tuple() for piece in pieces])
    assert len(np.unique(corners, axis=0)) == len(pieces)
    assert all(edge % job.core_dbu == 0 for tile in job.tiles for edge in tile.box.as_tuple())


def test_the_area_is_cut_to_the_layout(layout: PackedLayout, model: checkpoint.Checkpoint) -> None:
    extent = layout.extent
    assert job_of(config(), layout, model).area == extent
    roi = {"layers": ["68/20"], "roi_um": [-9e3, -9e3, 9e3, 9e3]}
    assert job_of(config(layout=roi), layout, model).area == extent
    roi["roi_um"] = [400.0, 0.0, 500.0, 9.0]
    with pytest.raises(UsageError, match="--roi 400,0,500,9 um holds nothing of the layout"):
        job_of(config(layout=roi), layout, model)


def test_limits_of_sites_are_rounded_down() -> None:
    settings = config(clips={"mode": "sites", "space_nm": 200.0, "width_nm": 150.9})
    limits = make_sampling_limits(settings, 1.0)
    assert (limits.space, limits.width) == (200, 150)
    assert make_sampling_limits(settings, 0.1).space == 2000


def test_layers_are_scanned_or_exclude() -> None:
    scanned, excluded = parse_layers(config(layout={"layers": ["68/20"], "exclude": ["81/4"]}))
    assert (str(*scanned), str(*excluded)) == ("68/20", "81/4")
    with pytest.raises(ConfigError, match="layer 68/20 is both scanned and excluded"):
        parse_layers(config(layout={"layers": ["68/20"], "exclude": ["68/20"]}))


def test_reader_limits_come_from_the_config() -> None:
    limits = Limits.of(config(reader={"memory_gb": 1.5, "seconds": 20.0}).reader)
    assert (limits.memory_bytes, limits.seconds) == (1_500_000_000, 20.0)
