"""Every command that reads a layout has the reader's limits as options, and its errors say so."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.engine.storage.run_directory import Run
from pipeline.engine.storage.run_record import read_record
from pipeline.passes.scan_settings import ScanSettings, change_reader
from tests.support.small_scan import DENSE, Hotscan

METAL = ("--metal", "68/20")
READING = {
    "info": (),
    "validate": (),
    "scan": ("--layer", "68/20", "--out", "run", "--workers", "0"),
    "plan": ("--layer", "68/20"),
    "simulate": ("--layer", "68/20", "--out", "out", "--workers", "0"),
    "label": ("--layer", "68/20", "--out", "out", "--workers", "0"),
    "dataset labelled": (*METAL, "--hotspot", "1/0", "--non-hotspot", "2/0", "--out", "out"),
    "dataset iccad2012": ("--out", "out"),
    "dataset iccad2016": (*METAL, "--out", "out"),
}


@pytest.fixture(autouse=True)
def _inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "defects.csv").write_text("x,y\n1,1\n")


@pytest.mark.parametrize("command", READING)
def test_a_limit_holds_and_its_error_names_the_option(command: str, hotscan: Hotscan) -> None:
    files = (DENSE, "defects.csv") if command.endswith("2016") else (DENSE,)
    ended = hotscan(*command.split(), *files, *READING[command], "--reader-unpacked-gb", 1e-6)
    assert ended.code == 3
    assert "unpacks to more than 1000 bytes" in " ".join(ended.err.split())
    assert "raise it with --reader-unpacked-gb" in " ".join(ended.err.split())


def test_a_limit_that_cannot_be_is_refused(hotscan: Hotscan) -> None:
    ended = hotscan("info", DENSE, "--reader-seconds", 0)
    assert (ended.code, "[reader] seconds is 0.0; allowed: greater than 0" in ended.err) == (
        2,
        True,
    )


def test_resume_reads_with_another_limit(scan: Hotscan, hotscan: Hotscan, tmp_path: Path) -> None:
    """A scan that a limit refused is resumed as its error advises."""
    assert scan("--reader-seconds", 1e-3, "--reader-extent-mm", 50).code == 3
    assert hotscan("resume", "run", "--workers", 0, "--quiet").code == 3
    ended = hotscan("resume", "run", "--workers", 0, "--quiet", "--reader-seconds", 600)
    assert ended.code == 0, ended.err
    config = ScanSettings.of(read_record(Run(tmp_path / "run"))).config
    assert (config.reader.seconds, config.reader.extent_mm) == (600, 50)
    assert change_reader(config, None) == config
