"""Short files are read by the kernels as plain Python: what comes of it is what they compile to."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.compiled import interpreting
from stages.contracts import Layer
from stages.errors import HotscanError
from stages.layout.builder import describe_layout, pack_layout
from stages.layout.gdsii.stream_check import check_stream
from tests.stages.layout.gdsii.test_stream_check import (
    NOTED,
    PLAIN,
    REFUSED,
    TAG,
    cell,
    element,
    record,
    stream,
    xy,
)  # fmt: skip

SAMPLE = Path(__file__).resolve().parents[4] / "sample_layouts" / "tiny.gds"
LAYER = Layer(68, 20)
LONGEST = 1 << 15


def read(path: Path) -> list[Any]:
    """Return the report, facts and packed layer of a file, or the errors, as plain values."""

    def attempt(work: Callable[[], Any]) -> Any:
        try:
            return work()
        except HotscanError as error:
            return type(error), str(error)

    def pack() -> Any:
        packed = pack_layout(path, [LAYER], None)
        (layer,) = packed.packed
        return packed.top, packed.cells, [
            (array.dtype, array.shape, array.tobytes()) for array in astuple(layer)
        ]  # fmt: skip

    report = attempt(lambda: check_stream(np.fromfile(path, np.uint8)))
    if isinstance(report, tuple):
        return [report]  # nobody reads on
    return [report, attempt(lambda: describe_layout(path)), attempt(pack)]


def assert_alike(path: Path) -> list[Any]:
    compiled = read(path)
    with interpreting(True):
        interpreted = read(path)
    assert interpreted == compiled, path
    return compiled


def test_files_with_faults_and_oddities(tmp_path: Path) -> None:
    path = tmp_path / "odd.gds"
    streams = [data for data, _, _ in REFUSED.values()] + list(PLAIN.values())
    for data in streams + [cells for cells, _ in NOTED.values()]:
        path.write_bytes(data)
        assert_alike(path)


@pytest.mark.parametrize("folder", ["reports", "malformed"])
def test_files_after_public_reports(folder: str, shared_data: Callable[[str], Path]) -> None:
    files = [
        path for path in sorted(shared_data(folder).glob("*.gds")) if path.stat().st_size <= LONGEST
    ]
    assert len(files) > 10
    for path in files:
        assert_alike(path)


def test_damaged_files(tmp_path: Path) -> None:
    path, random = tmp_path / "damaged.gds", np.random.default_rng(0)
    for _ in range(8):
        data = np.fromfile(SAMPLE, np.uint8)
        at = random.integers(0, len(data), 3)
        data[at] = random.integers(0, 256, 3)
        path.write_bytes(data.tobytes())
        assert_alike(path)


def test_paths_at_any_angle(tmp_path: Path) -> None:
    """Of all that reading computes, their outlines alone are not of whole numbers."""
    random, paths = np.random.default_rng(0), []
    for kind in (0, 1, 2, 4):
        for _ in range(40):
            points = random.integers(-60, 60, 2 * random.integers(1, 6)).tolist()
            ends = [
                record("BGNEXTN", 3, struct.pack(">i", int(random.integers(-9, 40)))),
                record("ENDEXTN", 3, struct.pack(">i", int(random.integers(-9, 40)))),
            ]
            width = record("WIDTH", 3, struct.pack(">i", int(random.integers(1, 40))))
            shape = record("PATHTYPE", 2, struct.pack(">h", kind)), width, *ends * (kind == 4)
            paths.append(element("PATH", TAG, *shape, xy(*points)))
    path = tmp_path / "paths.gds"
    path.write_bytes(stream(cell(b"A", *paths)))
    _, info, packed = assert_alike(path)
    assert info.layers == {"68/20": 160}
    assert len(packed) == 3, "it was read"


def test_many_copies_are_left_to_compiled_kernels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A short file may have an array off the grid of millions of copies."""
    from stages.layout.gdsii import pack as module

    built = []

    def build(*arguments: Any) -> Any:
        from stages.compiled import Interpreted, _interpreted

        built.append(_interpreted.get() == Interpreted.ALL)
        return build_layer(*arguments)

    build_layer = module.build_layer
    monkeypatch.setattr(module, "build_layer", build)
    square = element("BOUNDARY", TAG, xy(0, 0, 10, 0, 10, 10, 0, 10, 0, 0))
    for copies in (2, 201):
        array = element(
            "AREF", record("SNAME", 6, b"A\0"),
            record("COLROW", 2, struct.pack(">hh", copies, copies)),
            xy(0, 0, 20 * copies + 1, 0, 0, 20 * copies + 1),
        )  # fmt: skip
        path = tmp_path / "array.gds"
        path.write_bytes(stream(cell(b"A\0", square), cell(b"B\0", array)))
        with interpreting(True):
            pack_layout(path, [LAYER], None)
    assert built == [True, False]
