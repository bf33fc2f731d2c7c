"""Labels come from simulation, and a stopped labelling goes on to the same dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from pipeline.config import Resources
from pipeline.datasets import from_simulation
from pipeline.datasets.from_simulation import LabelRequest, label_layout
from pipeline.datasets.store import load_dataset
from pipeline.engine.ledger import Ledger
from pipeline.simulate import tiles
from stages.contracts import RasterSpec
from stages.errors import LayoutError, RunMismatchError, UsageError
from tests.support.small_scan import CHECKOUT, DENSE, LABELLED_UM

SPEC = RasterSpec(40.0, 64, 32)
ARRAYS = (
    "raster", "key", "pattern", "x_dbu", "y_dbu", "label", "defect_x_dbu", "defect_y_dbu",
    "defect_severity", "defect_kind", "defect_corner",
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


def test_a_clip_is_a_hotspot_where_a_defect_lies_in_its_core(labelled: Path) -> None:
    """Checked clip by clip."""
    made = arrays(labelled)
    half = 32 * 40 // 2
    for x, y, is_hot in zip(made["x_dbu"], made["y_dbu"], made["label"], strict=True):
        inside = (
            (made["defect_x_dbu"] >= x - half) & (made["defect_x_dbu"] < x + half)
            & (made["defect_y_dbu"] >= y - half) & (made["defect_y_dbu"] < y + half)
        )  # fmt: skip
        assert inside.any() == is_hot
    assert 0 < made["label"].sum() < len(made["label"])


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
        ({"process": "krf131"}, UsageError, "no process 'krf131'; give one of arfi45, krf130"),
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
