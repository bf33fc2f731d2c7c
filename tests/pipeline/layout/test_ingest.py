"""Reading untrusted layout files."""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from types import ModuleType
from typing import Any

import gdstk
import numpy as np
import pytest

from pipeline.layout import ingest
from pipeline.layout import reader_process as reader
from pipeline.layout.ingest import (
    Limits,
    compute_sha256,
    open_packed,
    pack_into,
    read_info,
    read_layout,
)
from pipeline.layout.unpack import GDSII_MAGIC
from stages.contracts import Box, Layer, PackedLayer
from stages.errors import ConfigError, HotscanError, LayoutError

DOCS = Path(__file__).resolve().parents[3] / "docs"
MET1 = Layer(68, 20)
BOX = Box(10, 20, 410, 320)


def write_layout(path: Path, **options: Any) -> Path:
    """Write a layout whose met1 is `BOX`, placed by a top cell."""
    library = gdstk.Library(unit=1e-6, precision=1e-9)
    leaf = library.new_cell("LEAF")
    leaf.add(gdstk.rectangle((0, 0), (0.4, 0.3), layer=68, datatype=20))
    library.new_cell("TOP").add(gdstk.Reference(leaf, (0.01, 0.02)))
    if path.suffix == ".oas":
        library.write_oas(path, **options)
    else:
        library.write_gds(path)
    return path


def squeeze(path: Path, name: str) -> Path:
    target = path.with_name(name)
    target.write_bytes(gzip.compress(path.read_bytes()))
    return target


@pytest.mark.parametrize("name", ["a.gds", "a.oas"])
def test_format_is_told_by_the_bytes(tmp_path: Path, name: str) -> None:
    plain = write_layout(tmp_path / name)
    misnamed = squeeze(plain, "a.txt")
    for path in (plain, misnamed):
        layout = read_layout(path, [MET1])
        assert (layout.top, layout.dbu_nm, layout.extent, layout.warnings) == ("TOP", 1.0, BOX, ())


def test_info_tells_cells_layers_and_warnings(tmp_path: Path) -> None:
    path = write_layout(tmp_path / "a.gds")
    path.write_bytes(path.read_bytes() + b"garbage")
    info, warnings = read_info(path)
    assert set(info.cells) == {"LEAF", "TOP"}
    assert info.top_cells == ("TOP",)
    assert info.layers == {"68/20": 1}
    assert len(warnings) == 1
    assert "7 bytes after ENDLIB" in warnings[0]


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"", "begins with nothing"),
        (b"# not a layout", "begins with 23 20 6e"),
        (b"\x1f\x8b", "gzip is damaged after 0 bytes"),
        (gzip.compress(b"# not a layout", mtime=0), r"unpacked\): begins with 23 20 6e"),
        (
            gzip.compress(b"\0\6\0\2" + bytes(9999), mtime=0)[:-9],
            "gzip is damaged after .*: cut off",
        ),
    ],
)
def test_what_is_no_layout_is_refused(tmp_path: Path, data: bytes, fault: str) -> None:
    path = tmp_path / "chip.gds"
    path.write_bytes(data)
    with pytest.raises(LayoutError, match=rf"chip.gds.*{fault}"):
        read_layout(path, [MET1])


@pytest.mark.parametrize("name", [b"out", b"n" * 252, b"caf\xe9 [1].gds"])
def test_a_file_may_be_called_anything(tmp_path: Path, name: bytes) -> None:
    plain = write_layout(tmp_path / "a.gds")
    path = tmp_path / os.fsdecode(name)
    path.write_bytes(gzip.compress(plain.read_bytes()))
    assert pack_into(path, tmp_path / f"{path.name[:240]}.run", [MET1]).extent == BOX


def test_bytes_after_a_gzip_are_told(tmp_path: Path) -> None:
    path = tmp_path / "a.gds.gz"
    path.write_bytes(gzip.compress(write_layout(tmp_path / "a.gds").read_bytes()) + b"garbage")
    assert read_layout(path, [MET1]).warnings == ("ignored 7 bytes after the end of the gzip",)


def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(LayoutError, match="pipe is a pipe or device"):
        ingest.require_layout(tmp_path / "pipe")  # nobody writes: to open it would wait for ever
    with pytest.raises(LayoutError, match="is a directory"):
        ingest.require_layout(tmp_path)


def test_a_wafer_outline_on_another_layer_is_no_obstacle(tmp_path: Path) -> None:
    path = write_layout(tmp_path / "a.gds")
    library = gdstk.read_gds(path)
    library.top_level()[0].add(gdstk.rectangle((-150e3, -150e3), (150e3, 150e3), layer=99))
    library.write_gds(path)
    layout = read_layout(path, [MET1])
    assert layout.extent == BOX
    assert "longer than --reader-extent-mm" in layout.warnings[0]
    with pytest.raises(LayoutError, match="a shape 300000000 dbu long; the limit is 100000000"):
        read_layout(path, [Layer(99, 0)])
    assert read_layout(path, [Layer(99, 0)], limits=Limits(extent_mm=301)).extent.width == 3e8


def test_absent_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match=r"none\.gds: No such file"):
        read_layout(tmp_path / "none.gds", [MET1])


@pytest.mark.parametrize("validation", ["crc32", "checksum32"])
def test_oasis_that_vouches_for_itself_is_verified(tmp_path: Path, validation: str) -> None:
    path = write_layout(tmp_path / "a.oas", validation=validation)
    assert read_layout(path, [MET1]).extent == BOX
    data = bytearray(path.read_bytes())
    data[30] ^= 1
    path.write_bytes(data)
    with pytest.raises(LayoutError, match=f"a.oas: the {validation.upper()}"):
        read_layout(path, [MET1])


def test_cut_off_oasis_is_refused(tmp_path: Path) -> None:
    path = write_layout(tmp_path / "a.oas")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(LayoutError, match="END has 255 of its 256 bytes"):
        read_layout(path, [MET1])


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        (Limits(unpacked_bytes=100), "more than 100 bytes.*--reader-unpacked-gb"),
        (Limits(seconds=0.0), "not read within 0 s.*--reader-seconds"),
        (Limits(memory_bytes=1 << 20), r"over 0\.00105 GB of memory.*--reader-memory-gb"),
        (Limits(extent_mm=1e-4), r"400 dbu long; the limit is 100 dbu.*--reader-extent-mm"),
    ],
)
def test_limits_hold(tmp_path: Path, limits: Limits, told: str) -> None:
    path = squeeze(write_layout(tmp_path / "a.gds"), "a.gds.gz")
    with pytest.raises(LayoutError, match=rf"a.gds.gz.*{told}"):
        read_layout(path, [MET1], limits=limits)


def test_small_shapes_far_apart_are_over_the_extent(tmp_path: Path) -> None:
    library = gdstk.Library(unit=1e-6, precision=1e-9)
    leaf = library.new_cell("LEAF")
    leaf.add(gdstk.rectangle((0, 0), (1, 1), layer=68, datatype=20))
    top = library.new_cell("TOP")
    top.add(gdstk.Reference(leaf, (0, 0)), gdstk.Reference(leaf, (99_999, 0)))
    library.write_gds(tmp_path / "a.gds")
    assert read_layout(tmp_path / "a.gds", [MET1]).extent.width == 100_000_000
    with pytest.raises(LayoutError, match=r"cell 'TOP' is 100 mm long.*--reader-extent-mm"):
        read_layout(tmp_path / "a.gds", [MET1], limits=Limits(extent_mm=99.9))


def test_death_of_the_reader_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dies = [sys.executable, "-c", "import os; os.kill(os.getpid(), 11)"]
    monkeypatch.setattr(reader, "_CHILD", dies)
    with pytest.raises(LayoutError, match=r"a.gds: the reader died of SIGSEGV"):
        read_layout(write_layout(tmp_path / "a.gds"), [MET1])


def test_error_of_the_reader_keeps_its_kind(tmp_path: Path) -> None:
    path = write_layout(tmp_path / "a.gds")
    with pytest.raises(ConfigError, match="no layer 1/2; layers present: 68/20"):
        read_layout(path, [Layer(1, 2)])
    with pytest.raises(ConfigError, match="no cell 'NOPE'"):
        read_layout(path, [MET1], "NOPE")


def test_a_file_is_checked_while_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = write_layout(tmp_path / "a.gds")
    packed = squeeze(plain, "a.gds.gz")
    damaged = tmp_path / "b.gds.gz"
    damaged.write_bytes(gzip.compress(plain.read_bytes()[:-4] + b"\0\4\xee\0" + bytes(3 << 20)))
    monkeypatch.setattr(ingest, "_CHECKED_BYTES", 1)
    assert read_layout(packed, [MET1]).extent == BOX
    with pytest.raises(LayoutError, match=r"b.gds.gz \(unpacked\): byte .*0xee does not exist"):
        read_layout(damaged, [MET1])


def test_width_is_not_inherited_by_the_next_path(tmp_path: Path) -> None:
    library = gdstk.Library(unit=1e-6, precision=1e-9)
    top = library.new_cell("TOP")
    for y, width in ((0, 0.2), (5, 0.12346)):
        wire = gdstk.FlexPath([(0, y), (1, y)], width, simple_path=True, layer=68, datatype=20)
        top.add(wire)
    path = tmp_path / "a.gds"
    library.write_gds(path)
    width_record = b"\x00\x08\x0f\x03" + (123).to_bytes(4, "big")
    data = path.read_bytes()
    assert data.count(width_record) == 1
    path.write_bytes(data.replace(width_record, b""))
    layout = read_layout(path, [MET1])
    assert layout.extent == Box(0, -100, 1000, 100)
    assert len(layout.warnings) == 1
    assert layout.warnings[0].startswith("left out 1 PATH without WIDTH")


def test_missing_structure_is_one_warning_and_an_error_when_strict(tmp_path: Path) -> None:
    path = write_layout(tmp_path / "a.gds")
    library = gdstk.read_gds(path)
    library["TOP"].add(gdstk.Reference("NOPE", (0, 0)))
    library.write_gds(path)
    layout = read_layout(path, [MET1])
    assert layout.extent == BOX
    assert len(layout.warnings) == 1
    assert "'NOPE'" in layout.warnings[0]
    with pytest.raises(LayoutError, match="'NOPE'"):
        read_layout(path, [MET1], strict=True)


def test_packed_directory_is_whole_or_absent(tmp_path: Path) -> None:
    path, directory = write_layout(tmp_path / "a.gds"), tmp_path / "run" / "layout"
    with pytest.raises(ConfigError):
        pack_into(path, directory, [Layer(1, 2)])
    assert list(directory.parent.iterdir()) == []
    (directory.parent / ".layout.killed.part").mkdir()
    packed = pack_into(path, directory, [MET1])
    assert list(directory.parent.iterdir()) == [directory]
    opened = open_packed(directory)
    for field in fields(PackedLayer):
        one, other = (getattr(layout.packed[0], field.name) for layout in (packed, opened))
        np.testing.assert_array_equal(one, other)
        assert isinstance(other, np.memmap) or other.size == 0
    record = json.loads((directory / "layout.json").read_text())
    assert record["sha256"] == compute_sha256(path)
    assert pack_into(path, directory, [MET1]).extent == opened.extent == BOX


def test_strange_or_damaged_directory_is_refused(tmp_path: Path) -> None:
    path, directory = write_layout(tmp_path / "a.gds"), tmp_path / "mine"
    directory.mkdir()
    (directory / "mine.txt").touch()
    with pytest.raises(ConfigError, match="is no packed layout"):
        pack_into(path, directory, [MET1])
    (directory / "mine.txt").unlink()
    pack_into(path, directory, [MET1])
    (directory / "0.item_box.npy").unlink()
    with pytest.raises(LayoutError, match="no whole packed layout"):
        open_packed(directory)


def load_table() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "make_malformed", DOCS / "tools" / "make_malformed.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TABLE = load_table()


@pytest.mark.parametrize("name", TABLE.MADE_WRONG)
def test_malformed_file_gets_what_the_table_says(
    shared_data: Callable[[str], Path], name: str
) -> None:
    begun = time.monotonic()
    row = TABLE.row(shared_data(f"malformed/{name}"))
    assert time.monotonic() - begun < 20
    assert row in (DOCS / "reference" / "malformed.md").read_text()


def test_table_has_every_malformed_file(shared_data: Callable[[str], Path]) -> None:
    folder = shared_data("malformed")
    assert sorted(path.name for path in folder.iterdir()) == sorted(TABLE.MADE_WRONG)
    page = (DOCS / "reference" / "malformed.md").read_text()
    rows = page.removeprefix(TABLE.HEADING).splitlines()
    assert len(rows) == len(TABLE.MADE_WRONG)


def test_garbage_after_the_end_leaves_the_scan_intact(
    shared_data: Callable[[str], Path], tmp_path: Path
) -> None:
    path = shared_data("malformed/trailing_garbage.gds")
    intact = tmp_path / "intact.gds"
    intact.write_bytes(path.read_bytes()[:12216])
    one, other = (read_layout(file, [MET1]).packed[0] for file in (path, intact))
    for field in fields(PackedLayer):
        np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name))


def test_every_error_ends_with_exit_2_or_3(tmp_path: Path) -> None:
    path = tmp_path / "a.gds"
    path.write_bytes(GDSII_MAGIC)
    with pytest.raises(HotscanError) as caught:
        read_layout(path, [MET1])
    assert caught.value.exit_code == 3


def test_digest_is_of_the_content(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 3_000_000)
    assert compute_sha256(tmp_path / "a") == hashlib.sha256(b"x" * 3_000_000).hexdigest()


def test_a_short_file_is_read_without_the_compiler() -> None:
    command = (
        "import sys; from pathlib import Path; from pipeline.layout.describe import layout_info;"
        "print(layout_info(Path(sys.argv[1]))['cells'], 'numba' in sys.modules)"
    )
    tiny = DOCS.parent / "sample_layouts" / "tiny.gds"
    ended = subprocess.run(
        [sys.executable, "-c", command, str(tiny)], capture_output=True, text=True, check=True,
        env=os.environ | {"HOTSCAN_CACHE": "/dev/null"},
    )  # fmt: skip
    assert ended.stdout.endswith(" False\n"), ended
