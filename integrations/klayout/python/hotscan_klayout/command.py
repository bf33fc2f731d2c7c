"""The command lines of hotscan, run in the background.

in       what to scan, and how
out      `Job`: its progress, its exit code
promise  KLayout is never blocked; a job that is cancelled leaves a run that can be resumed
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

RUN_FOLDER = "hotscan_run"
"""Beside the layout, unless another folder is chosen."""
_SHARE = re.compile(r"(\w+) +\d+/\d+ .*?(\d+) %")


@dataclass(frozen=True)
class ScanSettings:
    """What the dialog asks for."""

    layout: Path
    out: Path
    layer: str
    model: str = ""
    """Empty: hotscan's default."""
    region_um: tuple[float, float, float, float] | None = None
    """The visible part; None for the whole layout."""
    confirm: bool = True
    workers: int = 1
    cell: str = ""
    """Top cell; empty where there is one."""


def find_program(asked: str = "") -> str:
    """Return the program hotscan: the one that was asked for, or the one on the PATH.

    Raises
    ------
    FileNotFoundError
        When there is none; the text says what to do.
    """
    found = shutil.which(asked or "hotscan")
    if found is None:
        raise FileNotFoundError(
            f"no program {asked or 'hotscan'!r} was found; install hotscan (pip install hotscan), "
            "or give its path in the dialog"
        )
    return found


def make_scan_command(program: str, settings: ScanSettings) -> list[str]:
    """Return the command line of a scan; the same one resumes it."""
    command = [
        program, "scan", str(settings.layout), "--layer", settings.layer,
        "--out", str(settings.out), "--workers", str(settings.workers),
    ]  # fmt: skip
    if settings.region_um is not None:
        command += ["--roi", ",".join(f"{value:.12g}" for value in settings.region_um)]
    if settings.model:
        command += ["--model", settings.model]
    if settings.cell:
        command += ["--cell", settings.cell]
    return [*command, "--confirm"] if settings.confirm else command


def make_waive_command(program: str, run: Path, hotspot: int, reason: str, by: str) -> list[str]:
    """Return the command line that accepts a hotspot."""
    return [
        program, "waive", str(run), "--hotspot", str(hotspot), "--reason", reason, "--by", by
    ]  # fmt: skip


def make_fix_command(program: str, run: Path) -> list[str]:
    """Return the command line that searches fixes."""
    return [program, "fix", str(run)]


class Job:
    """A command in a process group of its own.

    Parameters
    ----------
    command
        Program and arguments.
    """

    def __init__(self, command: list[str]) -> None:
        self.command = command
        self._printed = tempfile.TemporaryFile()  # noqa: SIM115  (open as long as the job)
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        for name in ("PYTHONHOME", "PYTHONPATH"):  # those of KLayout's own Python
            environment.pop(name, None)
        self._process = subprocess.Popen(
            command, stdout=self._printed, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            start_new_session=True, env=environment,
        )  # fmt: skip

    @property
    def code(self) -> int | None:
        """The exit code; None while it runs."""
        return self._process.poll()

    def read(self) -> str:
        """Return everything that was printed so far."""
        size = os.fstat(self._printed.fileno()).st_size
        return os.pread(self._printed.fileno(), size, 0).decode(errors="replace")

    def progress(self) -> tuple[str, int]:
        """Return the stage that runs, and how many percent of it are done."""
        return parse_progress(self.read())

    def cancel(self) -> None:
        """Stop it as Ctrl-C does, so that it ends in order."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGINT)

    def wait(self, seconds: float | None = None) -> int:
        """Wait until it ends; return its exit code."""
        return self._process.wait(seconds)


def parse_progress(printed: str) -> tuple[str, int]:
    """Return stage and percent of the last line that tells them.

    Examples
    --------
    >>> parse_progress("clips  4/16 tiles  25 %  0.6/s  13 s left")
    ('clips', 25)
    """
    for line in reversed(re.split(r"[\r\n]+", printed)):
        if match := _SHARE.match(line.strip()):
            return match[1], int(match[2])
    return "", 0
