"""``hotscan select``: the labels of the chosen clips are those of a full simulation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from pipeline.config import Resources
from pipeline.datasets import from_scan
from pipeline.datasets.from_scan import SelectRequest, select_clips
from pipeline.datasets.store import load_dataset
from pipeline.engine.storage.ledger import UnitOutcome
from pipeline.engine.storage.run_record import State, read_record, write_record
from pipeline.passes.arrays import read_patterns
from pipeline.passes.units import open_layout
from pipeline.scan.request import ScanResult
from pipeline.simulate import confirm
from pipeline.train.model import TrainRequest, train_model
from stages.detector.training.active_learning import uncertainty
from stages.errors import IncompleteError, UsageError
from tests.support.optical import judge_clips
from tests.support.small_scan import Hotscan, SmallScan

ROI_UM = (45.0, 45.0, 70.0, 65.0)
COUNT = 40


@pytest.fixture(scope="module")
def scanned(small_scan: SmallScan, tmp_path_factory: pytest.TempPathFactory) -> ScanResult:
    out = tmp_path_factory.mktemp("scanned") / "run"
    return small_scan(out, layout={"roi_um": ROI_UM}, confirm={"batch_windows": 2})


def select(scanned: ScanResult, out: Path, workers: int = 0) -> dict[str, Any]:
    request = SelectRequest(run=scanned.run.path, out=out, count=COUNT)
    return select_clips(request, Resources(workers=workers), lambda event: None)


@pytest.fixture(scope="module")
def chosen(scanned: ScanResult, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("chosen") / "dataset"
    select(scanned, out)
    return out


def arrays(path: Path) -> dict[str, np.ndarray]:
    group = zarr.open_group(path, mode="r")
    names = ("raster", "key", "pattern", "label", "x_dbu", "y_dbu")
    return {name: np.asarray(group[name]) for name in names}


def test_labels_are_those_of_the_whole_region(scanned: ScanResult, chosen: Path) -> None:
    one = arrays(chosen)
    places = zip(one["x_dbu"].tolist(), one["y_dbu"].tolist(), strict=True)
    fails = dict(zip(places, one["label"].tolist(), strict=True))
    surely, printing = judge_clips(open_layout(scanned.run.path).packed[0], fails, 1280)
    assert surely
    assert printing
    assert all(fails[place] for place in surely)
    assert not any(fails[place] for place in printing)


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
    made = train_model(TrainRequest(
        datasets=(labelled, chosen), out=tmp_path / "model.pt", shape=shape,
        training={"epochs": 1, "steps": 2, "batch": 8},
    ))  # fmt: skip
    assert made["hotspots"] > 0


def test_a_scan_that_is_not_complete_is_refused(scanned: ScanResult, tmp_path: Path) -> None:
    record = read_record(scanned.run)
    write_record(scanned.run, replace(record, state=State.INCOMPLETE))
    try:
        with pytest.raises(IncompleteError, match="is not complete; resume it with: hotscan"):
            select(scanned, tmp_path / "dataset")
    finally:
        write_record(scanned.run, record)


def test_what_is_there_is_not_overwritten(scanned: ScanResult, chosen: Path) -> None:
    with pytest.raises(UsageError, match="exists; choose another --out"):
        select(scanned, chosen)


def test_labels_are_corrected_as_the_scan_was(
    small_scan: SmallScan, tmp_path: Path, hotscan: Hotscan
) -> None:
    """A model fitted to corrected masks must not get labels of uncorrected ones."""
    scan = small_scan(
        tmp_path / "run", layout={"roi_um": (45.0, 45.0, 52.0, 52.0)}, confirm={"opc": "model"}
    )
    ended = hotscan(
        "select", scan.run.path, "--count", 2, "--out", tmp_path / "d", "--workers", 0, "--quiet"
    )
    assert ended.code == 0
    assert load_dataset(tmp_path / "d").opc == "model"


@pytest.mark.parametrize(
    "option",
    [("--opc", "none"), ("--process", "krf130"), ("--pixel-nm", "40"), ("--clip-px", "64"),
     ("--core-px", "32"), ("--layer", "68/20"), ("--roi", "0,0,9,9"), ("--stride-nm", "640")],
)  # fmt: skip
def test_what_the_scan_decides_is_refused(
    option: tuple[str, str], scanned: ScanResult, tmp_path: Path, hotscan: Hotscan
) -> None:
    given = ("--count", "5", "--out", tmp_path / "d")
    ended = hotscan("select", scanned.run.path, *given, *option)
    assert ended.code == 2
    assert f"No such option: {option[0]}" in ended.err
    assert not (tmp_path / "d").exists()


def test_a_count_is_needed_and_label_selects_nothing(
    scanned: ScanResult, tmp_path: Path, hotscan: Hotscan
) -> None:
    assert hotscan("select", scanned.run.path, "--out", tmp_path / "d").code == 2
    assert hotscan("label", scanned.run.path, "--out", tmp_path / "d", "--select", 5).code == 2
