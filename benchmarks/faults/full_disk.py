"""Fill the disk at every write of every command, and compare what it comes to with more room.

python -m benchmarks.faults.full_disk [COMMAND ...] [--pages N]

Must run as root: a command writes to a small tmpfs. It has no room at first; each time that the
command fails, the disk grows by some pages and the command runs again, until it ends with exit
code 0. So every write fails once, and every stop is resumed. No failure may end with code 0, with a
traceback, or with a half-written file where a whole one is expected; the last one must leave the
bytes of a command on a large disk. Exit code 1 where it is otherwise.
"""

from __future__ import annotations

import argparse
import io
import mmap
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

from benchmarks.faults.answers import list_differences, list_unfinished, read_answer
from benchmarks.faults.damage import CROSSING_UM, LABELLED_UM
from benchmarks.faults.small_runs import SmallRuns, make_small_runs
from pipeline.cli import app
from pipeline.report.export import FORMATS
from tests.support.small_scan import DENSE

ROOM_KIB = 1 << 18
MOST_STOPS = 5000


@dataclass(slots=True)
class Result:
    """What came of one command."""

    stops: int = 0
    """Times that it failed for want of room."""
    wrong: list[str] = field(default_factory=list)
    messages: set[str] = field(default_factory=set)


class Disk:
    """A tmpfs whose size can change."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def resize(self, kib: int) -> None:
        """Set its size."""
        subprocess.run(["mount", "-o", f"remount,size={kib}k", self.folder], check=True)

    def used_kib(self) -> int:
        """Return how much of it is used."""
        stat = os.statvfs(self.folder)
        return (stat.f_blocks - stat.f_bfree) * stat.f_frsize // 1024


@contextmanager
def mount_disk(folder: Path) -> Iterator[Disk]:
    """Mount an empty disk.

    Raises
    ------
    OSError
        When that is not allowed here.
    """
    folder.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={ROOM_KIB}k", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"no tmpfs can be mounted here: {done.stderr.strip()}")
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@dataclass(frozen=True, slots=True)
class Command:
    """A command, and what it writes."""

    arguments: Callable[[SmallRuns, Path], list[str]]
    """Of ``hotscan``; given the disk."""
    needs_scan: bool = False
    """Whether a finished run lies on the disk, in ``run``."""


def _region(corners: tuple[float, ...]) -> str:
    return ",".join(f"{value:g}" for value in corners)


def _export(form: str) -> Command:
    return Command(
        lambda runs, disk: [
            "export", str(runs.folder / "scanned"), "--format", form, "--out",
            str(disk / f"out.{form}"),
        ],
    )  # fmt: skip


COMMANDS = {
    "scan --confirm": Command(lambda runs, disk: [
        *runs.arguments(disk / "run"), "--workers", "0", "--quiet", "--verbose",
    ]),
    "report": Command(lambda runs, disk: ["report", str(disk / "run")], needs_scan=True),
    **{f"export {form}": _export(form) for form in FORMATS},
    "simulate": Command(lambda runs, disk: [
        "simulate", str(DENSE), "--layer", "68/20", "--roi", _region(CROSSING_UM), "--opc",
        "model", "--process", str(runs.process), "--out", str(disk / "out"), "--workers", "0",
        "--quiet",
    ]),
    "label": Command(lambda runs, disk: [
        "label", str(DENSE), "--layer", "68/20", "--roi", _region(LABELLED_UM), "--process",
        str(runs.process), "--out", str(disk / "out"), "--workers", "0", "--quiet",
    ]),
    "select": Command(lambda runs, disk: [
        "select", str(runs.folder / "scanned"), "--count", "6", "--out", str(disk / "out"),
        "--workers", "0", "--quiet",
    ]),
}  # fmt: skip


def run_command(arguments: list[str]) -> tuple[int, str]:
    """Run ``hotscan`` in this process; return its exit code and what it said of errors."""
    said = io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["hotscan", *arguments]),
        redirect_stderr(said), redirect_stdout(io.StringIO()),
    ):  # fmt: skip
        try:
            app.main()
        except SystemExit as end:
            return int(end.code or 0), said.getvalue()
    return 0, said.getvalue()


def fill(runs: SmallRuns, command: Command, disk: Disk, pages: int) -> Result:
    """Run a command on a growing disk until it ends well."""
    arguments = command.arguments(runs, disk.folder)
    if command.needs_scan:
        shutil.copytree(runs.folder / "scanned", disk.folder / "run")
    before = disk.used_kib()
    code, said = run_command(arguments)
    if code != 0:
        raise RuntimeError(f"hotscan {arguments} failed on a large disk: {said}")
    answer = read_answer(disk.folder)
    _empty(disk)
    if command.needs_scan:
        shutil.copytree(runs.folder / "scanned", disk.folder / "run")
    result, kib, step = Result(), max(before, 4), pages * mmap.PAGESIZE // 1024
    while result.stops < MOST_STOPS:
        disk.resize(max(kib, disk.used_kib()))
        code, said = run_command(arguments)
        if code == 0:
            break
        result.stops += 1
        text = said.strip() or f"exit code {code}"
        result.messages.add(text.splitlines()[-1].replace(str(disk.folder), ""))
        if "Traceback" in said or "fault of hotscan" in said:
            result.wrong.append(f"traceback at {kib} KiB: {said[-1500:]}")
        kib += step
    result.wrong += list_differences(answer, read_answer(disk.folder))
    result.wrong += [f"{name} was left" for name in list_unfinished(disk.folder)]
    return result


def _empty(disk: Disk) -> None:
    for path in disk.folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def main() -> int:
    """Fill, resume, compare, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("commands", nargs="*", metavar="COMMAND", help=", ".join(COMMANDS))
    parser.add_argument("--pages", type=int, default=1, help="pages by which the disk grows")
    options = parser.parse_args()
    results: dict[str, Result] = {}
    with tempfile.TemporaryDirectory() as name:
        runs = make_small_runs(Path(name))
        runs.scan(runs.folder / "scanned")
        for command in options.commands or COMMANDS:
            with mount_disk(Path(name, "disk")) as disk:
                results[command] = fill(runs, COMMANDS[command], disk, options.pages)
            print(command, results[command], flush=True)
    print("\n| command | stops | tracebacks | same bytes in the end |\n|---|--:|--:|---|")
    for command, result in results.items():
        tracebacks = sum("traceback" in text for text in result.wrong)
        same = "yes" if len(result.wrong) == tracebacks else "no"
        print(f"| {command} | {result.stops} | {tracebacks} | {same} |")
    return int(any(result.wrong for result in results.values()))


if __name__ == "__main__":
    sys.exit(main())
