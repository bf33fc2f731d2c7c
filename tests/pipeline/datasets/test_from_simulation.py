"""Labels come from simulation, and a stopped labelling resumes to the same dataset."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from pipeline.config import Resources
from pipeline.datasets import from_simulation
from pipeline.datasets.from_simulation import LabelRequest, label_layout
from pipeline.datasets.store import load_dataset
from pipeline.engine.storage.checksums import SEAL, seal_folder
from pipeline.engine.storage.ledger import Ledger
from pipeline.simulate import tiles
from stages.contracts import RasterSpec
from stages.errors import LayoutError, RunMismatchError, UsageError
from stages.lithography.measure.margins import MARGINAL
from stages.lithography.measure.sections import KINDS
from tests.support.small_scan import CHECKOUT, DENSE, LABELLED_UM

SPEC = RasterSpec(40.0, 64, 32)
ARRAYS = (
    "raster", "key", "pattern", "x_dbu", "y_dbu", "label", "defect_x_dbu", "defect_y_dbu",
    "defect_severity", "defect_kind", "defect_corner", "margin",
)  # fmt: skip


def label(out: Path, layout: Path = DENSE, **changed: Any) -> dict[str, Any]:
    request = LabelRequest(
        layout=layout, out=out, **{"layers": ("68/20",), "roi_um": LABELLED_UM, **changed}
    )
    return label_layout(request, Resources(workers=0), lambda event: None)


def arrays(path: Path) -> dict[str, np.ndarray]:
    group = zarr.open_group(path, mode="r")
    return {name: np.asarray(group[name]) for name in ARRAYS}


def assert_same(one: Path, other: Path) -> None:
    first, second = arrays(one), arrays(other)
    assert {name: np.array_equal(first[name], second[name]) for name in ARRAYS} == dict.fromkeys(
        ARRAYS, True
    )
    attributes = [dict(zarr.open_group(path, mode="r").attrs) for path in (one, other)]
    assert attributes[0] == attributes[1]


def test_a_clip_with_a_defect_in_its_core_is_a_hotspot_and_others_only_by_a_flank(
    labelled: Path,
) -> None:
    """Checked clip by clip: a defect is at its worst place, and its flank may be in the next."""
    made = arrays(labelled)
    half, flanks = 32 * 40 // 2, 0
    for x, y, is_hot in zip(made["x_dbu"], made["y_dbu"], made["label"], strict=True):
        inside = (
            (made["defect_x_dbu"] >= x - half) & (made["defect_x_dbu"] < x + half)
            & (made["defect_y_dbu"] >= y - half) & (made["defect_y_dbu"] < y + half)
        )  # fmt: skip
        assert is_hot or not inside.any()
        flanks += is_hot and not inside.any()
    assert flanks < made["label"].sum() / 8
    assert 0 < made["label"].sum() < len(made["label"])


def test_margins_say_by_how_much_a_clip_fails_or_passes(labelled: Path) -> None:
    dataset = load_dataset(labelled)
    assert dataset.margin is not None
    assert dataset.kinds == KINDS
    worst = dataset.margin.max(axis=1)
    np.testing.assert_array_equal(worst > 0, dataset.label)
    assert dataset.provenance["marginal"] == (np.abs(worst) <= MARGINAL).sum()
    made = arrays(labelled)
    names: Any = zarr.open_group(labelled, mode="r").attrs["kinds"]
    for d in np.flatnonzero(made["defect_severity"] < 1)[:40]:
        x, y = made["defect_x_dbu"][d], made["defect_y_dbu"][d]
        owner = (np.abs(made["x_dbu"] - 0.5 - x) < 640) & (np.abs(made["y_dbu"] - 0.5 - y) < 640)
        kind = KINDS.index(names[made["defect_kind"][d]])
        assert (dataset.margin[owner, kind] >= made["defect_severity"][d] - 1e-4).all()


def test_a_dataset_without_margins_is_read_as_labels_alone(labelled: Path, tmp_path: Path) -> None:
    old = tmp_path / "old"
    shutil.copytree(labelled, old)
    shutil.rmtree(old / "margin")
    (old / SEAL).unlink()
    seal_folder(old)
    dataset = load_dataset(old)
    assert dataset.margin is None
    np.testing.assert_array_equal(dataset.label, load_dataset(labelled).label)


def test_a_dataset_counts_each_picture(labelled: Path) -> None:
    dataset = load_dataset(labelled)
    hot, every = dataset.counts()
    for pattern in range(len(dataset.raster)):
        members = dataset.pattern == pattern
        assert (hot[pattern], every[pattern]) == (dataset.label[members].sum(), members.sum())
    assert every.sum() == len(dataset) == len(arrays(labelled)["x_dbu"])
    assert dataset.spec == SPEC
    assert (dataset.process, dataset.layers) == ("krf130", ("68/20",))
    assert dataset.provenance["hotspots"] == dataset.label.sum()


def test_tiles_do_not_change_a_dataset(
    labelled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(from_simulation, "TILE_UM", 8.0)
    label(tmp_path / "dataset")
    one, other = arrays(labelled), arrays(tmp_path / "dataset")
    order = [np.lexsort((a["x_dbu"], a["y_dbu"])) for a in (one, other)]
    for name in ("x_dbu", "y_dbu", "label"):
        assert np.array_equal(one[name][order[0]], other[name][order[1]])
    assert np.array_equal(
        one["key"][one["pattern"]][order[0]], other["key"][other["pattern"]][order[1]]
    )


def test_a_stopped_labelling_goes_on_to_the_same_dataset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(from_simulation, "TILE_UM", 8.0)
    whole, out = tmp_path / "whole", tmp_path / "stopped"
    label(whole)
    simulate, seen = tiles.check_tile, []

    def die_at_the_third(tile: Any, **given: Any) -> Any:
        seen.append(tile.name)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return simulate(tile, **given)

    with monkeypatch.context() as patch:
        patch.setattr(tiles, "check_tile", die_at_the_third)
        with pytest.raises(KeyboardInterrupt):
            label(out)
    assert not out.exists()
    with pytest.raises(RunMismatchError, match="was started with other inputs"):
        label(out, stride_nm=640.0)
    with Ledger(tmp_path / "stopped.work" / "ledger.sqlite", read_only=True) as ledger:
        assert sorted(ledger.finished("defects")) == sorted(seen[:2])

    def note(tile: Any, **given: Any) -> Any:
        seen.append(tile.name)
        return simulate(tile, **given)

    monkeypatch.setattr(tiles, "check_tile", note)
    label(out)
    assert len(set(seen[:2] + seen[3:])) == len(seen) - 1
    assert_same(whole, out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["stopped", "whole"]


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"layers": ()}, UsageError, "no layer to label; give --layer"),
        ({"process": "krf131"}, UsageError, "no process 'krf131'; give one of arfi45, arfi45-via"),
        ({"layout": CHECKOUT / "no.gds"}, LayoutError, r"no\.gds: No such file"),
    ],
)
def test_what_cannot_be_labelled_is_refused_before_anything_is_written(
    changed: dict[str, Any], error: type[Exception], message: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        label(tmp_path / "dataset", **changed)
    assert list(tmp_path.iterdir()) == []


def test_a_dataset_is_never_written_over(labelled: Path) -> None:
    with pytest.raises(UsageError, match="exists; choose another --out, or remove it"):
        label(labelled)


def test_what_is_no_dataset_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    zarr.create_group(tmp_path / "group")
    for name, why in (
        ("nowhere", "holds no finished dataset"), ("file", "holds no finished dataset"),
        ("group", "is damaged on disk, or no dataset"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=f"{name} {why}"):
            load_dataset(tmp_path / name)
