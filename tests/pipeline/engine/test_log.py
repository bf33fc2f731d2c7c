"""The log of a run where it cannot be written."""

from __future__ import annotations

import logging
from contextlib import suppress
from pathlib import Path

import pytest

from pipeline.engine.log import _LogFile


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_prints_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    """The command itself says that the disk is full."""
    log = _LogFile("/dev/full")
    log.emit(logging.makeLogRecord({"msg": "ended"}))
    with suppress(OSError):
        log.close()
    assert capsys.readouterr().err == ""
