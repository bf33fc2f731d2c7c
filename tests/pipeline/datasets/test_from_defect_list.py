"""Layouts whose defects a file lists: each clip against each defect."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import gdstk
import numpy as np
import numpy.typing as npt
import pytest
import zarr

from pipeline.datasets.from_defect_list import DefectListRequest, import_defects
from pipeline.datasets.store import load_dataset
from stages.errors import ConfigError, LayoutError

CORE_DBU = 256
LINES = [(1000.25, 900.0), (1000.25, 900.0), (2100.0, 1500.5), (3300.0, 400.0)]


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    library = gdstk.Library(unit=1e-6, precision=1e-9)
    wire = gdstk.rectangle((0.5, 0.2), (4.5, 0.216), layer=1)
    wire.repetition = gdstk.Repetition(1, 60, spacing=(1, 0.032))
    library.new_cell("top").add(wire)
    library.write_oas(tmp_path / "lines.oas")
    return tmp_path / "lines.oas"


def listed(folder: Path, *rows: str, header: str = "def,id,category,x,y") -> Path:
    path = folder / "defects.csv"
    path.write_text("\n".join((header, *rows)) + "\n")
    return path


def make(layout: Path, defects: Path, out: Path, stride_nm: float | None = None) -> dict[str, int]:
    return import_defects(DefectListRequest(
        layout=layout, defects=defects, out=out, metal=("1/0",), stride_nm=stride_nm
    ))  # fmt: skip


def arrays(path: Path) -> dict[str, npt.NDArray[np.int64]]:
    group = zarr.open_group(path, mode="r")
    return {each.name: np.asarray(group[each.name]) for each in path.iterdir() if each.is_dir()}


def assert_divided_and_labelled(made: dict[str, npt.NDArray[np.int64]], middle: int) -> None:
    """Every clip, by looking at every defect."""
    half = CORE_DBU // 2
    for x, y, label, split in zip(
        made["x_dbu"], made["y_dbu"], made["label"], made["split"], strict=True
    ):
        inside = (
            (np.rint(made["defect_x_dbu"]) >= x - half) & (np.rint(made["defect_x_dbu"]) < x + half)
            & (np.rint(made["defect_y_dbu"]) >= y - half)
            & (np.rint(made["defect_y_dbu"]) < y + half)
        )  # fmt: skip
        assert label == inside.any()
        assert split == (x + half > middle)


def test_a_clip_is_a_hotspot_where_a_listed_defect_lies_in_its_core(
    layout: Path, tmp_path: Path
) -> None:
    rows = [f"id,{n},7,{x},{y}" for n, (x, y) in enumerate(LINES)]
    made = make(layout, listed(tmp_path, *rows), tmp_path / "d")
    found = arrays(tmp_path / "d")
    assert_divided_and_labelled(found, 2500)
    assert sorted(zip(found["defect_x_dbu"], found["defect_y_dbu"], strict=True)) == LINES[1:]
    assert (made["defects_train"], made["defects_test"]) == (2, 1)
    # Half a core of stride: each defect lies in the cores of two columns by two rows.
    assert made["hotspots"] == found["label"].sum() == 3 * 4
    assert load_dataset(tmp_path / "d").subset("test", "core").label.sum() == made["test_hotspots"]


def test_every_place_of_the_layout_is_in_a_core(layout: Path, tmp_path: Path) -> None:
    make(layout, listed(tmp_path, "id,0,7,1000,900"), tmp_path / "d", stride_nm=256.0)
    found = arrays(tmp_path / "d")
    covered = {
        (x // CORE_DBU, y // CORE_DBU)
        for x, y in zip(found["x_dbu"].tolist(), found["y_dbu"].tolist(), strict=True)
    }
    top = 200 + 59 * 32 + 16
    lattice = {
        (i, j) for i in range(500 // 256, 4499 // 256 + 1) for j in range((top - 1) // 256 + 1)
    }
    assert covered == lattice
    assert len(found["x_dbu"]) == len(lattice)


@pytest.mark.parametrize(
    ("rows", "header", "message"),
    [
        ((), "def,id,category,x,y", "lists no defect"),
        (("id,0,7,1,nan",), "def,id,category,x,y", "one without a position"),
        (("id,0,7,1",), "def,id,category,x,y", "is not a list of defects"),
        (("1,2",), "left,right", "is not a list of defects"),
        (("1,two",), "x,y", "is not a list of defects"),
    ],
)
def test_what_is_no_list_of_defects_is_refused(
    rows: tuple[str, ...], header: str, message: str, layout: Path, tmp_path: Path
) -> None:
    with pytest.raises(LayoutError, match=message):
        make(layout, listed(tmp_path, *rows, header=header), tmp_path / "d")
    assert not (tmp_path / "d").exists()


def test_a_stride_over_a_core_is_refused(layout: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"stride_nm is 257\.0 but a core is 256 nm"):
        make(layout, listed(tmp_path, "id,0,7,1000,900"), tmp_path / "d", stride_nm=257.0)


@pytest.mark.parametrize(("case", "defects"), [(1, 7), (2, 73), (3, 3297)])
def test_iccad2016_has_its_distinct_defects(
    case: int, defects: int, shared_data: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = shared_data("hotspots/iccad2016_n7euv")
    listing = folder / f"test{case}.csv"
    made = import_defects(DefectListRequest(
        layout=folder / f"testcase{case}.oas", defects=listing, out=tmp_path / "d",
        metal=("1000/0",),
    ))  # fmt: skip
    found = arrays(tmp_path / "d")
    with listing.open(newline="") as file:
        places = {(float(row["x"]), float(row["y"])) for row in csv.DictReader(file)}
    assert len(found["defect_x_dbu"]) == len(places) == defects
    assert made["defects_train"] + made["defects_test"] == defects
    middle = load_dataset(tmp_path / "d").provenance["test_from_x_dbu"]
    assert_divided_and_labelled(found, middle)
