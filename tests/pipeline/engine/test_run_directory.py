"""Files of a run directory appear whole, and no foreign directory is taken for a run."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import gdstk
import numpy as np
import pytest

from pipeline.engine.run_directory import open_run_directory, write_library, write_whole
from pipeline.engine.run_record import LayoutFile, RunRecord, read_record, write_record
from stages.errors import UsageError


def test_a_file_appears_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer that dies leaves the old content."""
    path = tmp_path / "new" / "a.json"
    write_whole(path, b"old")

    def die(self: Path, content: bytes) -> int:
        with self.open("wb") as file:
            file.write(content[:1])
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", die)
        with pytest.raises(OSError, match="disk full"):
            write_whole(path, b"new")
    assert path.read_bytes() == b"old"


def test_run_directories(tmp_path: Path) -> None:
    run = open_run_directory(tmp_path / "a" / "run")
    (run.path / "ledger.sqlite").touch()  # a stop may come before there is a run.json
    record = RunRecord(task="scan", layout=LayoutFile("/a.gds", "00"), settings={"a": (1, 2)})
    write_record(open_run_directory(run.path), record)
    assert read_record(open_run_directory(run.path)) == record
    assert record.settings == {"a": [1, 2]}
    (run.path / "run.json").write_text("{")
    with pytest.raises(UsageError, match=r"run\.json cannot be read"):
        read_record(run)
    with pytest.raises(UsageError, match="holds no run"):
        open_run_directory(tmp_path)
    with pytest.raises(UsageError, match="cannot be written"):
        open_run_directory(run.path / "run.json")


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder with room for 100 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs a file system of its own: tmpfs cannot be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def large_library() -> gdstk.Library:
    library = gdstk.Library("large")
    cell, rng = library.new_cell("C"), np.random.default_rng(0)
    for x, y, w, h in rng.uniform(1, 1000, (20_000, 4)).tolist():
        cell.add(gdstk.rectangle((x, y), (x + w, y + h)))
    return library


@pytest.mark.parametrize("oasis", [False, True])
def test_a_layout_that_does_not_fit_on_the_disk_is_no_success(full_disk: Path, oasis: bool) -> None:
    """gdstk checks none of its writes; what stands there already stays."""
    path = full_disk / "markers"
    write_library(path, gdstk.Library("small"), oasis=oasis)
    before = path.read_bytes()
    with pytest.raises(OSError, match="is the disk full"):
        write_library(path, large_library(), oasis=oasis)
    assert [entry.name for entry in full_disk.iterdir()] == ["markers"]
    assert path.read_bytes() == before


def test_a_file_that_does_not_fit_leaves_nothing_behind(full_disk: Path) -> None:
    write_whole(full_disk / "a", b"old")
    with pytest.raises(OSError, match="No space left"):
        write_whole(full_disk / "a", bytes(200_000))
    assert [entry.name for entry in full_disk.iterdir()] == ["a"]
    assert (full_disk / "a").read_bytes() == b"old"
