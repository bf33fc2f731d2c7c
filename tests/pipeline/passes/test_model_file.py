"""Workers score with the model that the scan started with, and unpickle nobody else's."""

from __future__ import annotations

import os
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor, nn

from pipeline.config import Resources
from pipeline.engine.storage.run_directory import Run
from pipeline.passes.model_file import (
    USER_MODULE,
    ModelFile,
    find_model,
    load_model,
    locate_model,
    store_model,
)
from pipeline.report.run_view import open_view
from pipeline.scan.scan import resume
from stages.contracts import RasterSpec
from stages.detector.models import checkpoint
from stages.detector.models.user_model import UserModel
from stages.errors import RunMismatchError, UsageError
from tests.support.small_scan import SmallScan


class Ink(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean((1, 2, 3))


class Harmful:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


@pytest.fixture
def own() -> UserModel:
    return UserModel(module=Ink(), raster=RasterSpec(40.0, 64, 32), process="krf130", threshold=0.5)


def test_a_module_is_stored_for_the_workers(own: UserModel, tmp_path: Path) -> None:
    file = store_model(Run(tmp_path), own, USER_MODULE)
    assert load_model(file).digest == own.digest == file.digest
    assert file.path == locate_model(Run(tmp_path), own).path


def test_the_file_of_a_model_is_copied(small_scan: SmallScan, tmp_path: Path) -> None:
    model, other = checkpoint.load(small_scan.model), tmp_path / "other.pt"
    file = store_model(Run(tmp_path), model, str(small_scan.model))
    assert file.path.read_bytes() == small_scan.model.read_bytes()
    checkpoint.save(other, replace(model, provenance={"other": True}))
    for name in (str(other), str(tmp_path / "gone.pt")):  # it is another model by now
        assert load_model(store_model(Run(tmp_path), model, name)).digest == model.digest


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_module_that_was_planted_is_not_unpickled(
    when: str, own: UserModel, tmp_path: Path
) -> None:
    """Before the scan it is replaced, after it is refused."""
    planted, ran = tmp_path / "user_module.pkl", tmp_path / "ran"
    if when == "before":
        planted.write_bytes(pickle.dumps(Harmful(ran)))
    file = store_model(Run(tmp_path), own, USER_MODULE)
    if when == "before":
        assert load_model(file).digest == own.digest
    else:
        planted.write_bytes(pickle.dumps(Harmful(ran)))
        with pytest.raises(RunMismatchError, match="it was not loaded"):
            load_model(file)
        # Nor by a reader, which knows of no digest: it takes the file for a checkpoint.
        with pytest.raises(UsageError, match="cannot be read as a checkpoint"):
            load_model(locate_model(Run(tmp_path), own))
    assert not ran.exists()


def test_another_checkpoint_at_the_same_path_is_refused(
    small_scan: SmallScan, tmp_path: Path
) -> None:
    model = checkpoint.load(small_scan.model)
    checkpoint.save(tmp_path / "a.pt", model)
    file = ModelFile(tmp_path / "a.pt", model.digest)
    assert load_model(file).digest == model.digest
    name = next(iter(model.weights))
    other = model.weights | {name: np.zeros_like(model.weights[name])}
    checkpoint.save(tmp_path / "a.pt", replace(model, weights=other))
    with pytest.raises(RunMismatchError, match=f"the scan began with {model.digest}"):
        load_model(file)


def test_a_run_outlives_the_model_it_was_named_by(small_scan: SmallScan, tmp_path: Path) -> None:
    """A shipped model is another one after an update; what was scanned before still opens."""
    named = tmp_path / "named.pt"
    model = checkpoint.load(small_scan.model)
    checkpoint.save(named, model)
    out = tmp_path / "run"
    replace(small_scan, model=named, roi_um=(40.0, 40.0, 60.0, 60.0))(out)
    first = next(iter(model.weights))
    other = model.weights | {first: np.zeros_like(model.weights[first])}
    checkpoint.save(named, replace(model, weights=other))
    assert open_view(Run(out)).model.digest == model.digest
    before = (out / "hotspots.parquet").read_bytes()
    (out / "hotspots.parquet").unlink()
    resume(out, Resources(workers=0), lambda event: None)
    assert (out / "hotspots.parquet").read_bytes() == before
    (out / "model.pt").write_bytes(b"damaged")
    with pytest.raises(RunMismatchError, match=r"own copy .* damaged, and .*named\.pt is now"):
        open_view(Run(out))


def test_a_module_is_asked_for_again(own: UserModel) -> None:
    assert find_model(USER_MODULE, own) is own
    with pytest.raises(UsageError, match="give it again"):
        find_model(USER_MODULE)
