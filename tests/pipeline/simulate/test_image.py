"""``hotscan simulate --image``: arrays and pictures of a region."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

import hotscan as api
from pipeline.config import Resources
from pipeline.simulate import image
from pipeline.simulate.region import SimulateRequest, simulate_region
from stages.errors import UsageError
from stages.lithography.process import load_process
from tests.support.small_scan import TINY, Hotscan

ROI_UM = (0.0, -2.0, 7.5, 2.0)


def simulated(out: Path, **changed: Any) -> dict[str, Any]:
    request = SimulateRequest(TINY, out, "68/20", roi_um=ROI_UM, image=("png", "svg", "zarr"))
    return simulate_region(replace(request, **changed), Resources(workers=0), lambda event: None)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("image") / "out"
    assert simulated(out)["complete"]
    return out


def arrays(run: Path) -> dict[str, Any]:
    group = zarr.open_group(run / "image.zarr", mode="r")
    return {name: array[...] for name, array in group.arrays()}


def test_the_array_is_the_region_that_the_tables_are_of(whole: Path) -> None:
    metrics, found = json.loads((whole / "metrics.json").read_text()), arrays(whole)
    group = zarr.open_group(whole / "image.zarr", mode="r")
    pixel_um2 = (group.attrs["step_nm"] / 1000) ** 2
    light = group["intensity"]
    prints = found["intensity"] > light.attrs["prints_above"]
    for name, printed in zip(found["corner"], prints, strict=True):
        assert printed.sum() * pixel_um2 == pytest.approx(metrics[f"printed_um2_{name}"], rel=0.01)
    assert np.array_equal(found["band"] != 0, prints.any(axis=0) & ~prints.all(axis=0))
    drawn = api.read_layout(TINY, layers=["68/20"]).rasters(
        "68/20", [(3.75, 0.0)], pixel_nm=10, clip_px=800
    )
    # The clip is 8 x 8 um around the middle; slanted edges are drawn in steps for the light.
    assert np.abs(found["target"].astype(int) - drawn[0, 0, 200:600, 25:775]).mean() < 0.05


def test_the_array_has_the_coordinates_that_xarray_looks_for(whole: Path) -> None:
    group, found = zarr.open_group(whole / "image.zarr", mode="r"), arrays(whole)
    assert {name: array.metadata.dimension_names for name, array in group.arrays()} == {
        "intensity": ("corner", "y", "x"), "band": ("y", "x"), "target": ("y", "x"),
        "corner": ("corner",), "dose": ("corner",), "defocus_nm": ("corner",),
        "x": ("x",), "x_dbu": ("x",), "y": ("y",), "y_dbu": ("y",),
    }  # fmt: skip
    assert set(group.attrs["coordinates"].split()) == {"x_dbu", "y_dbu", "dose", "defocus_nm"}
    assert found["x"][[0, -1]].tolist() == [5, 7495]
    assert found["y"][[0, -1]].tolist() == [-1995, 1995]
    assert found["corner"].tolist() == [c.name for c in load_process("krf130").corners]


def test_chunks_change_nothing(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image, "CHUNK_PX", 300)
    simulated(tmp_path / "out", contours=False, image=["zarr"])
    expected, found = arrays(whole), arrays(tmp_path / "out")
    assert len(list((tmp_path / "out" / "image.zarr" / "band" / "c").rglob("*"))) == 2 + 6
    assert all(np.array_equal(found[name], expected[name]) for name in expected)
    assert found.keys() == expected.keys()


def test_an_image_is_added_to_what_is_finished_and_mended(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(whole, out)
    before = arrays(out)
    (out / "image.zarr" / "intensity" / "c" / "1" / "0" / "0").write_bytes(b"damaged")
    (out / "image.svg").unlink()
    metrics = simulated(out)
    assert metrics["seconds_defects"] == json.loads((whole / "metrics.json").read_text())[
        "seconds_defects"]  # fmt: skip
    assert all(np.array_equal(values, before[name]) for name, values in arrays(out).items())
    for name in ("image.png", "image.svg"):
        assert (out / name).read_bytes() == (whole / name).read_bytes()
    assert simulated(out, image=["zarr"], image_step_nm=50)["complete"]
    assert arrays(out)["intensity"].shape == (3, 80, 150)
    assert arrays(out)["x"][0] == 25
    assert simulated(out, image=["zarr"])["complete"]
    assert np.array_equal(arrays(out)["intensity"], before["intensity"])


def test_what_cannot_be_drawn_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the long work, so that the corrected request may use the same directory."""
    usage = type(shutil.disk_usage("/"))(total=10**7, used=0, free=3 * 10**6)
    for changed, said in (
        ({"image": ("jpg",)}, "--image 'jpg' is unknown; it may be png, svg, zarr"),
        ({"roi_um": None, "image": ("svg",)}, "a picture shows at most 20 x 20 um"),
        ({"image": ("zarr",), "image_step_nm": 2.5}, "--image-step is 2.5 nm; samples lie on"),
        ({}, r"may take 0.0042 GB; 0.003 GB are free in .*a larger --image-step"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(image.shutil, "disk_usage", lambda path: usage)
            with pytest.raises(UsageError, match=said):
                simulated(tmp_path / "out", **changed)
    assert not (tmp_path / "out" / "defects").exists()
    fits = {"roi_um": (1.0, -1.0, 2.0, 0.0), "contours": False, "image": ["svg"]}
    assert simulated(tmp_path / "out", **fits)["complete"]


def test_a_corrected_mask_is_shown_and_the_command_says_where(
    hotscan: Hotscan, whole: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    ended = hotscan(
        "simulate", TINY, "--layer", "met1", "--tech", "sky130A", "--out", out, "--roi", "1,-1,2,0",
        "--no-contours", "--image", "png,zarr", "--image-step", 20, "--opc", "model",
        "--workers", 0, "--quiet",
    )  # fmt: skip
    assert f"image      {out}/image.zarr" in ended.out
    found = arrays(out)
    assert found["mask"].shape == found["target"].shape == (50, 50)
    assert 0 < (found["mask"] != found["target"]).mean() < 0.5
    done = api.Simulation(out)
    assert done.picture("png").startswith(b"\x89PNG")
    assert done.image["intensity"].shape == (3, 50, 50)
    with pytest.raises(UsageError, match=r"has no image.svg; simulate again into it with image="):
        done.picture()
    assert api.Simulation(whole).picture()._repr_svg_().endswith("</svg>\n")
