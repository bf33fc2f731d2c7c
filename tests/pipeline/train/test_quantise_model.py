"""``hotscan models quantise``, and the pictures that it calibrates with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.datasets.store import Dataset
from pipeline.train import quantise_model
from pipeline.train.quantise_model import QuantiseRequest, choose_pictures
from pipeline.train.training_set import Patterns
from stages.contracts import RasterSpec
from stages.detector.models import checkpoint
from stages.detector.networks.detector import Detector
from stages.detector.quantisation.quantise import quantise
from stages.detector.training.thresholds import OperatingPoint
from stages.errors import ModelMismatchError, UsageError
from tests.support.detectors import SMALL, two_bars

SPEC = RasterSpec(40.0, 64, 32)


@pytest.fixture
def dataset(monkeypatch: pytest.MonkeyPatch) -> Dataset:
    """A dataset that every path names."""
    clips = two_bars(30, 1)
    key = np.repeat(np.arange(30, dtype=np.uint8)[:, None], 16, axis=1)
    made = Dataset(clips.rasters, key, np.arange(30), clips.labels, SPEC, "krf130", ("68/20",), {})
    monkeypatch.setattr(quantise_model, "load_dataset", lambda path: made)
    return made


def write_model(path: Path) -> checkpoint.Checkpoint:
    torch.manual_seed(6)
    model = checkpoint.Checkpoint(
        weights=Detector(SMALL).get_arrays(), config=SMALL, raster=SPEC, layers=("met1",),
        process="krf130", provenance={}, operating_point=OperatingPoint(0.2, 1, 0, 0, 1, 1),
    )  # fmt: skip
    checkpoint.save(path, model)
    return model


def test_the_file_has_the_model_and_its_integers(dataset: Dataset, tmp_path: Path) -> None:
    model = write_model(tmp_path / "m.pt")
    request = QuantiseRequest(
        model=str(tmp_path / "m.pt"), datasets=(tmp_path,), out=tmp_path / "fast.pt"
    )
    made = quantise_model.quantise_model(request)
    loaded = checkpoint.load(tmp_path / "fast.pt")
    assert loaded.digest == made["digest"] == quantise(model, dataset.raster).digest
    assert replace(loaded, integers=None).digest == model.digest
    with pytest.raises(UsageError, match=r"fast\.pt exists; choose another"):
        quantise_model.quantise_model(request)


def test_pictures_of_another_raster_are_refused(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_model(tmp_path / "m.pt")
    other = replace(dataset, spec=RasterSpec(30.0, 64, 32))
    monkeypatch.setattr(quantise_model, "load_dataset", lambda path: other)
    request = QuantiseRequest(
        model=str(tmp_path / "m.pt"), datasets=(tmp_path,), out=tmp_path / "fast.pt"
    )
    with pytest.raises(ModelMismatchError, match=r"raster is .*30.* but the model's is .*40"):
        quantise_model.quantise_model(request)
    assert not request.out.exists()


@pytest.mark.parametrize(("hotspots", "chosen"), [(3, 3), (20, 4), (40, 4)])
def test_at_most_half_of_the_pictures_are_hotspots(
    hotspots: int, chosen: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantise_model, "CALIBRATED", 8)
    raster = np.arange(40, dtype=np.uint8).reshape(40, 1, 1, 1)
    counts = (np.arange(40) < hotspots).astype(np.int64)
    rows = choose_pictures(Patterns(raster, counts, np.ones(40, np.int64))).ravel()
    assert len(rows) == len(set(rows.tolist())) == min(8, chosen + 40 - hotspots)
    assert counts[rows].sum() == chosen
    assert rows.min() == 0
    assert rows.max() == 39
