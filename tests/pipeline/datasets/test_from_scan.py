"""``hotscan label --select``: labels of the clips that teach the most are those of a full one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from pipeline.config import Resources
from pipeline.datasets import from_scan
from pipeline.datasets.from_scan import label_selected
from pipeline.datasets.from_simulation import label_layout
from pipeline.engine.ledger import UnitOutcome
from pipeline.engine.run_record import State, read_record, write_record
from pipeline.passes.arrays import read_patterns
from pipeline.scan.scan import ScanResult
from pipeline.simulate import confirm
from pipeline.train.model import Recipe, train_model
from stages.contracts import RasterSpec
from stages.detector.active_learning import uncertainty
from stages.errors import IncompleteError, UsageError
from tests.support.small_scan import DENSE, Hotscan, SmallScan

ROI_UM = (45.0, 45.0, 70.0, 65.0)
COUNT = 40


@pytest.fixture(scope="module")
def scanned(small_scan: SmallScan, tmp_path_factory: pytest.TempPathFactory) -> ScanResult:
    out = tmp_path_factory.mktemp("scanned") / "run"
    return small_scan(out, layout={"roi_um": ROI_UM}, confirm={"batch_fields": 2})


def select(scanned: ScanResult, out: Path, workers: int = 0) -> dict[str, Any]:
    resources = Resources(workers=workers)
    return label_selected(scanned.run.path, out, COUNT, resources, lambda event: None)


@pytest.fixture(scope="module")
def chosen(scanned: ScanResult, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("chosen") / "dataset"
    select(scanned, out)
    return out


def arrays(path: Path) -> dict[str, np.ndarray]:
    group = zarr.open_group(path, mode="r")
    names = ("raster", "key", "pattern", "label", "x_dbu", "y_dbu")
    return {name: np.asarray(group[name]) for name in names}


def test_labels_are_those_of_the_whole_region(chosen: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    label_layout(
        DENSE, whole, "krf130", ["68/20"], None, ROI_UM, RasterSpec(40.0, 64, 32), None,
        Resources(workers=0), lambda event: None,
    )  # fmt: skip
    one, every = arrays(chosen), arrays(whole)
    known = {
        (x, y): hot
        for x, y, hot in zip(every["x_dbu"], every["y_dbu"], every["label"], strict=True)
    }
    wanted = [known[place] for place in zip(one["x_dbu"], one["y_dbu"], strict=True)]
    assert one["label"].tolist() == wanted
    assert 0 < sum(wanted) < COUNT


def test_the_most_uncertain_pattern_is_the_first(scanned: ScanResult, chosen: Path) -> None:
    score, key = read_patterns(scanned.run, "score", "key")
    first = int(np.argmax(uncertainty(score, scanned.metrics["threshold"])))
    taken = [tuple(row) for row in arrays(chosen)["key"]]
    assert taken[0] == tuple(key[first])
    assert len(set(taken)) == COUNT


def test_a_stopped_labelling_goes_on_to_the_same(
    scanned: ScanResult, chosen: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[int] = []
    whole = confirm.confirm_batch

    def stopping(batch: int, *, job: confirm.Confirmation) -> UnitOutcome:
        if len(ran) == 2:
            raise KeyboardInterrupt
        ran.append(batch)
        return whole(batch, job=job)

    monkeypatch.setattr(from_scan.confirm, "confirm_batch", stopping)
    with pytest.raises(KeyboardInterrupt):
        select(scanned, tmp_path / "dataset")
    assert not (tmp_path / "dataset").exists()
    monkeypatch.setattr(from_scan.confirm, "confirm_batch", whole)
    select(scanned, tmp_path / "dataset", workers=2)
    one, other = arrays(chosen), arrays(tmp_path / "dataset")
    assert all(np.array_equal(one[name], other[name]) for name in one)
    assert [path.name for path in tmp_path.iterdir()] == ["dataset"]


def test_a_training_takes_what_was_chosen_beside_the_rest(
    chosen: Path, labelled: Path, tmp_path: Path
) -> None:
    shape = {"stem": 8, "fine": (8,), "coarse": (8,), "embedding": 4}
    recipe = Recipe(shape=shape, training={"epochs": 1, "steps": 2, "batch": 8})
    made = train_model([labelled, chosen], tmp_path / "model.pt", recipe)
    assert made["hotspots"] > 0


def test_a_scan_that_is_not_complete_is_refused(scanned: ScanResult, tmp_path: Path) -> None:
    record = read_record(scanned.run)
    write_record(scanned.run, replace(record, state=State.INCOMPLETE))
    try:
        with pytest.raises(IncompleteError, match="is not complete; go on with: hotscan resume"):
            select(scanned, tmp_path / "dataset")
    finally:
        write_record(scanned.run, record)


def test_what_is_there_is_not_overwritten(scanned: ScanResult, chosen: Path) -> None:
    with pytest.raises(UsageError, match="exists; choose another --out"):
        select(scanned, chosen)


def test_the_layer_is_the_scans(scanned: ScanResult, tmp_path: Path, hotscan: Hotscan) -> None:
    ended = hotscan(
        "label", str(scanned.run.path), "--out", str(tmp_path / "d"), "--select", "5",
        "--layer", "68/20",
    )  # fmt: skip
    assert ended.code == 2
    assert "--layer is the scan's with --select; leave it out" in ended.err
