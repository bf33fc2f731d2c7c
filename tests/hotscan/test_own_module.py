"""A scan with a module of the user's own: scored by workers, and asked for again by resume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import hotscan
from tests.support.small_scan import DENSE

RASTER = {"pixel_nm": 40.0, "clip_px": 64, "core_px": 32}
ROI = (50.0, 50.0, 70.0, 62.0)


class Ink(nn.Module):
    """Flags clips by how much of them is drawn."""

    def __init__(self, gain: float = 40.0) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(gain))

    def forward(self, x: Tensor) -> Any:
        return self.gain * (x.mean((1, 2, 3)) - 0.42)


def own(gain: float = 40.0, threshold: float = 0.6) -> hotscan.Model:
    return hotscan.Model(Ink(gain), raster=RASTER, process="krf130", threshold=threshold)


def scan(out: Path, model: hotscan.Model, workers: int = 0) -> hotscan.Run:
    return hotscan.scan(
        DENSE, layers="68/20", out=out, model=model, roi=ROI, workers=workers, progress=False,
        config={"scores": {"shard_patterns": 64}},
    )  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> hotscan.Run:
    return scan(tmp_path_factory.mktemp("own") / "run", own())


def test_it_scores_as_the_module_does(run: hotscan.Run) -> None:
    assert run.complete
    table = run.hotspots.to_pylist()
    assert 0 < len(table) < run.metrics["clips"]
    layout = hotscan.read_layout(DENSE, layers="68/20")
    places = [(row["x_dbu"] / 1000, row["y_dbu"] / 1000) for row in table]
    pictures = torch.from_numpy(layout.rasters("68/20", places, pixel_nm=40, clip_px=64))
    with torch.inference_mode():
        expected = Ink()(pictures.float() / 255).sigmoid()
    assert torch.allclose(torch.tensor([row["score"] for row in table]), expected, atol=1e-5)


def test_workers_give_the_same_bytes(run: hotscan.Run, tmp_path: Path) -> None:
    again = scan(tmp_path / "run", own(), workers=1)
    assert (again.path / "hotspots.parquet").read_bytes() == (
        run.path / "hotspots.parquet"
    ).read_bytes()


def test_resume_asks_for_the_module_again(run: hotscan.Run) -> None:
    with pytest.raises(hotscan.UsageError, match="a torch module of yours; give it again"):
        hotscan.open(run.path).resume(progress=False)
    assert hotscan.open(run.path, model=own()).resume(progress=False).complete
    with pytest.raises(hotscan.RunMismatchError, match="scanned with a model of digest"):
        hotscan.open(run.path, model=own(gain=41.0)).resume(progress=False)
    assert "<svg" in hotscan.open(run.path, model=own()).picture(1)


def test_the_page_claims_no_recall_for_it(run: hotscan.Run) -> None:
    page = (run.path / "report" / "index.html").read_text()
    assert "a module of the user" in page
    assert "not measured" in page
    assert "100.0 %" not in page.split("Model")[-1].split("</section>")[0]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(bad: float) -> None:
    with pytest.raises(hotscan.UsageError, match="not finite"):
        own(gain=bad)


def test_a_module_of_another_picture_is_refused(tmp_path: Path) -> None:
    with pytest.raises(hotscan.ConfigError, match="core_px is 33"):
        hotscan.Model(Ink(), raster={**RASTER, "core_px": 33})
    two = hotscan.Model(Ink(), raster={**RASTER, "layers": 2})
    with pytest.raises(hotscan.ModelMismatchError, match="takes 2"):
        scan(tmp_path / "run", two)
