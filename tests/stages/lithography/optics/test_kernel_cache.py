"""Kernels on disk: made once, never those of another process, and no harm where a disk fails."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from stages.lithography.optics import kernel_cache as cache
from stages.lithography.optics.kernel_cache import load_or_compute
from stages.lithography.optics.kernels import compute_kernels, make_field
from stages.lithography.process import Process, Source
from tests.support.optical import DIPOLE, KRF

ARRAYS = {
    "waves": (np.arange(12).reshape(3, 2, 2) * (1 + 2j)).astype(np.complex64),
    "rest": np.linspace(0, 1, 4, dtype=np.float32).reshape(2, 2),
}


class Made:
    """Makes the arrays, and counts how often."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> dict[str, npt.NDArray[Any]]:
        self.times += 1
        return ARRAYS


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("HOTSCAN_CACHE", str(tmp_path / "kept"))
    compute_kernels.cache_clear()
    yield tmp_path / "kept"
    compute_kernels.cache_clear()


def assert_same(arrays: cache.Arrays) -> None:
    assert set(arrays) == set(ARRAYS)
    for name, expected in ARRAYS.items():
        assert arrays[name].dtype == expected.dtype
        np.testing.assert_array_equal(arrays[name], expected)


def test_a_second_call_reads_what_the_first_wrote(folder: Path) -> None:
    make = Made()
    for _ in range(2):
        assert_same(load_or_compute({"na": 0.7, "map": ((1.0, 0.5),)}, make))
    assert make.times == 1
    assert len(list(folder.iterdir())) == 1, "nothing unfinished is left"
    load_or_compute({"na": 0.8, "map": ((1.0, 0.5),)}, make)
    load_or_compute({"na": 0.7, "map": ((0.5, 1.0),)}, make)
    assert make.times == 3
    assert_same(load_or_compute({"map": ((1.0, 0.5),), "na": 0.7}, make))
    assert make.times == 3, "the order of what it depends on does not matter"


def test_a_file_cut_short_or_damaged_is_made_again(folder: Path) -> None:
    make = Made()
    load_or_compute(1, make)
    (path,) = folder.iterdir()
    good = path.read_bytes()
    damaged = [good[:size] for size in (0, 1, len(good) // 2, len(good) - 1)]
    for at in range(0, len(good), 3):
        damaged.append(good[:at] + bytes([good[at] ^ 0x21]) + good[at + 1 :])
    for content in damaged:
        path.write_bytes(content)
        assert_same(load_or_compute(1, make))
        assert_same(load_or_compute(1, make))
    assert make.times > len(damaged) / 4, "most damage is noticed; the rest does no harm"
    for content in damaged[:4]:
        path.write_bytes(content)
        before = make.times
        load_or_compute(1, make)
        assert make.times == before + 1
        assert path.read_bytes() == good


@pytest.mark.parametrize("where", ["file", "file/below"])
def test_a_folder_that_cannot_be_written_is_done_without(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("HOTSCAN_CACHE", str(tmp_path / where))
    make = Made()
    for _ in range(2):
        assert_same(load_or_compute(1, make))
    assert make.times == 2
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_full_disk_leaves_no_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def half(path: Path, **arrays: npt.NDArray[Any]) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache.np, "savez", half)
    assert_same(load_or_compute(1, Made()))
    assert list(folder.iterdir()) == []


OTHERS = [
    replace(KRF, energy=0.9),
    replace(KRF, source=Source("annular", 0.75, 0.5)),
    replace(KRF, source=Source("map", 0.75, map=((1.0,),))),
    replace(KRF, na=0.68),
    replace(KRF, wavelength_nm=240.0),
    DIPOLE,
    replace(DIPOLE, source=replace(DIPOLE.source, axis_deg=120)),
]


def test_no_kernels_are_those_of_other_optics(folder: Path, tmp_path: Path) -> None:
    field = replace(make_field(KRF, 1500.0), band=8)
    asked: list[tuple[Process, float]] = [(each, 0.0) for each in (KRF, *OTHERS)]
    asked += [(KRF, z) for z in (50.0, 50.5, -50.0)]
    asked.append((replace(KRF, refractive_index=1.1), 50.0))
    made = [compute_kernels(*each, field) for each in asked]
    wider = compute_kernels(KRF, 0.0, replace(field, side_nm=1600.0))
    files = len(list(folder.iterdir()))
    assert files == len(asked) + 1
    for i, one in enumerate(made):
        for other in (*made[:i], wider):
            same = one.waves.shape == other.waves.shape
            assert not same or not torch.equal(one.waves, other.waves)
    compute_kernels.cache_clear()
    for each, before in zip(asked, made, strict=True):
        again = compute_kernels(*each, field)
        assert torch.equal(again.waves, before.waves)
        assert torch.equal(again.rest, before.rest)
    alike = replace(KRF, name="mine", min_width_nm=100.0, corners=KRF.corners[:1])
    assert torch.equal(compute_kernels(alike, 0.0, field).waves, made[0].waves)
    assert len(list(folder.iterdir())) == files, "limits and corners are no part of the optics"
