"""Files of a run directory appear whole, and no foreign directory is taken for a run."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import gdstk
import numpy as np
import pytest

from pipeline.engine.log import log_to
from pipeline.engine.storage.checksums import digest_files, is_intact
from pipeline.engine.storage.run_directory import (
    Run,
    open_run_directory,
    write_library,
    write_whole,
)
from pipeline.engine.storage.run_record import (
    LayoutFile,
    RunRecord,
    list_damaged_records,
    read_record,
    write_record,
)
from stages.errors import IncompleteError, UsageError


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
    assert read_record(run) == record
    assert list_damaged_records(run) == ["run.json"]
    (run.path / "run.copy.json").write_text("{")
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


def make_run(path: Path) -> Path:
    run = open_run_directory(path)
    write_record(run, RunRecord(task="scan", layout=LayoutFile("/a.gds", "00"), settings={}))
    write_whole(run.clips("t0"), b"clips")
    return path


@pytest.mark.parametrize(
    "name", ["run.json", "ledger.sqlite", "hotscan.log", "clips/t0.parquet", "clips", ".x.tmp"]
)
@pytest.mark.parametrize("kind", ["file", "folder", "nothing"])
def test_a_link_in_a_run_is_followed_by_nobody(name: str, kind: str, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    if kind == "file":
        outside.write_text("secret")
    elif kind == "folder":
        (outside / "below").mkdir(parents=True)
    path = make_run(tmp_path / "run")
    link = path / name
    if link.is_dir():
        shutil.rmtree(link)
    link.unlink(missing_ok=True)
    link.symlink_to(outside)
    with pytest.raises(IncompleteError, match=rf"{name} is a symbolic link, which is never"):
        read_record(Run(path))
    with pytest.raises(IncompleteError, match="is a symbolic link"):
        open_run_directory(path)
    with pytest.raises(IncompleteError, match="is a symbolic link"), log_to(path):
        pass
    assert outside.exists() == (kind != "nothing")


def test_a_pipe_in_a_run_is_not_waited_for(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run")
    os.mkfifo(path / "clips" / "t1.parquet")
    with pytest.raises(IncompleteError, match=r"t1\.parquet is a pipe, socket or device"):
        read_record(Run(path))


def test_a_run_may_be_reached_through_a_link(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run")
    (tmp_path / "link").symlink_to(path)
    assert read_record(open_run_directory(tmp_path / "link")).task == "scan"


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "clips/../../secret"])
def test_a_ledger_names_no_file_outside(name: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    path = make_run(tmp_path / "run")
    with pytest.raises(ValueError, match="is not inside"):
        digest_files(path, [name])
    assert not is_intact(path, [name], "00")
