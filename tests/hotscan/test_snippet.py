"""What the README promises of the Python API, line by line, on a corner of a sample."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from torch.utils.data import DataLoader

import hotscan
from tests.support.small_scan import DENSE, ROI_UM, SmallScan

ROI = (50.0, 50.0, 62.0, 62.0)


def test_scan_open_resume_export(small_scan: SmallScan, tmp_path: Path) -> None:
    run = hotscan.scan(
        DENSE, layers=["68/20"], out=tmp_path / "run", workers=2, roi=ROI_UM,
        model=small_scan.model, progress=False,
    )  # fmt: skip
    assert run.complete
    assert run.metrics["hotspots"] == len(run.hotspots)
    assert isinstance(run.hotspots, pa.Table)
    assert "<svg" in run.picture(3)
    assert "hotscan scan" in run._repr_html_()
    run = hotscan.open(tmp_path / "run")
    run.resume(progress=False)
    assert run.export("lyrdb", tmp_path / "m.lyrdb.gz").exists()


def test_simulate(tmp_path: Path) -> None:
    sim = hotscan.simulate(
        DENSE, layer="68/20", process="krf130", roi=ROI, out=tmp_path / "sim", contours=False,
        progress=False,
    )  # fmt: skip
    assert sim.complete
    assert sim.metrics["defects"] == sim.defects.num_rows > 0
    assert "defects" in repr(sim)
    margins = sim.margins
    worst = [max(row[kind] for kind in margins.column_names[2:]) for row in margins.to_pylist()]
    assert sum(value > 0 for value in worst) == sim.metrics["cores_failing"] > 0
    assert len(worst) == sim.metrics["cores"]
    assert "hotscan simulation" in sim._repr_html_()


def test_label_train_evaluate_and_a_data_loader(labelled: Path, tmp_path: Path) -> None:
    made = hotscan.label(
        DENSE, layers="68/20", roi=(50, 50, 56, 56), out=tmp_path / "d1", progress=False
    )
    dataset = hotscan.Dataset(tmp_path / "d1")
    assert len(dataset) == made["clips"]
    assert dataset.hotspots == made["hotspots"]
    worst = np.max(list(dataset.margins.values()), axis=0)
    assert (worst > 0).sum() == made["hotspots"]
    pictures, labels = next(iter(DataLoader(dataset, batch_size=8)))
    assert pictures.shape == (8, 1, 64, 64)
    assert 0 <= pictures.min() < pictures.max() <= 1
    assert set(labels.tolist()) <= {0.0, 1.0}
    every = torch.cat([labels for _, labels in DataLoader(dataset, batch_size=64)])
    assert int(every.sum()) == dataset.hotspots
    assert dataset.raster.pixel_nm == 40
    assert dataset.process == "krf130"
    trained = hotscan.train(
        labelled, out=tmp_path / "m.pt", validation=[labelled], progress=False,
        training={"epochs": 1, "steps": 2, "batch": 8},
    )  # fmt: skip
    assert trained["digest"]
    measured = hotscan.evaluate(tmp_path / "m.pt", labelled)
    assert 0 <= measured["recall"] <= 1


def test_layouts_pictures_and_light() -> None:
    layout = hotscan.read_layout(DENSE, layers=["68/20"], cell=None)
    assert layout.top
    assert layout.dbu_um == 0.001
    assert layout.warnings == ()
    box, area = layout.bbox_dbu("68/20"), layout.area_dbu2("68/20")
    assert box is not None
    assert 0 < area < (box[2] - box[0]) * (box[3] - box[1])
    centres_um = np.array([[55.0, 55.0], [60.0, 60.0]])
    pictures = layout.rasters("68/20", centres_um, pixel_nm=40, clip_px=64)
    assert pictures.shape == (2, 1, 64, 64)
    assert pictures.any(axis=(1, 2, 3)).all()
    seen = hotscan.aerial_image([[(0, 0), (200, 0), (200, 2000), (0, 2000)]], "krf130")
    assert seen.intensity.shape == (len(seen.y_nm), len(seen.x_nm))


def test_models_are_listed() -> None:
    assert {"krf130-met1", "arfi45"} <= set(hotscan.models())
