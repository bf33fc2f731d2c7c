"""Files of a run directory appear whole, and no foreign directory is taken for a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.engine.run_directory import open_run_directory, write_whole
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
