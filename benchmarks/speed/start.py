"""From the first second: what commands take to start, and what compiling their kernels takes.

Run as ``python -m benchmarks.speed.start [--against CHECKOUT] [--kernels 40]``. Each command runs
in a process of its own, with a new cache for the first scan and the same one afterwards; of two
checkouts, each command runs in both at once, so that both meet the same machine. Seconds are of the
wall, then of all processors.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.machine import machine

HERE = Path(__file__).resolve().parents[2]
LAYOUT = HERE / "sample_layouts" / "tiny.gds"
COMMANDS = {
    "--version": ["--version"],
    "first scan": ["scan", str(LAYOUT), "--layer", "68/20", "--out", "first", "--quiet"],
    "next scan": ["scan", str(LAYOUT), "--layer", "68/20", "--out", "next", "--quiet"],
    "info": ["info", str(LAYOUT)],
}
RECORDER = """
import json, os, time
from numba.core import event

class Recorder(event.Listener):
    begun, log = [], open(os.path.join(os.environ["COMPILED"], str(os.getpid())), "w")

    def on_start(self, event):
        self.begun.append([time.thread_time(), 0.0])

    def on_end(self, event):
        start, inner = self.begun.pop()
        taken = time.thread_time() - start
        if self.begun:
            self.begun[-1][1] += taken
        function = event.data["dispatcher"].py_func
        row = [function.__module__, function.__qualname__, taken - inner]
        print(json.dumps(row), file=self.log, flush=True)

event.register("numba:compile", Recorder())
"""
"""``sitecustomize.py`` of a recorded command and of the processes that it starts."""


def run_command(checkout: Path, folder: Path, arguments: list[str]) -> tuple[float, float]:
    """Return the seconds that a command takes, of the wall and of the processors."""
    paths = [str(checkout)] if "COMPILED" not in os.environ else [str(folder), str(checkout)]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(paths), "HOTSCAN_CACHE": str(folder / "cache"),
    }  # fmt: skip
    command, started = [sys.executable, "-m", "hotscan", *arguments], time.perf_counter()
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)  # with the processes that it waited for
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return time.perf_counter() - started, used.ru_utime + used.ru_stime


def compare(checkouts: list[Path]) -> Iterator[str]:
    """Yield the rows of the table of commands, each run in all checkouts at once."""
    yield "| command | " + " | ".join(f"{path.name}: s | CPU s" for path in checkouts) + " |"
    yield "|---|" + "--:|--:|" * len(checkouts)
    with TemporaryDirectory() as scratch, ThreadPoolExecutor(len(checkouts)) as pool:
        folders = [Path(scratch, str(number)) for number in range(len(checkouts))]
        for folder in folders:
            folder.mkdir()
        for name, arguments in COMMANDS.items():
            taken = pool.map(run_command, checkouts, folders, repeat(arguments))
            figures = [f"{seconds:.2f}" for both in taken for seconds in both]
            yield f"| {name} | " + " | ".join(figures) + " |"


def list_kernels(most: int) -> Iterator[str]:
    """Yield the rows of the table of what the first scan compiles, the most expensive first."""
    with TemporaryDirectory() as scratch:
        folder, log = Path(scratch, "run"), Path(scratch, "log")
        folder.mkdir()
        log.mkdir()
        (folder / "sitecustomize.py").write_text(RECORDER)
        os.environ["COMPILED"] = str(log)
        run_command(HERE, folder, COMMANDS["first scan"])
        rows = [json.loads(line) for file in log.iterdir() for line in file.open()]
    taken: defaultdict[tuple[str, str], float] = defaultdict(float)
    for module, name, seconds in rows:
        taken[module, name] += seconds
    times = Counter((module, name) for module, name, _ in rows)
    whole = sum(taken.values())
    yield f"{len(rows)} functions compiled or loaded, {whole:.1f} CPU s"
    yield "\n| function | times | CPU s |\n|---|--:|--:|"
    for key, seconds in sorted(taken.items(), key=lambda item: -item[1])[:most]:
        yield f"| `{'.'.join(key)}` | {times[key]} | {seconds:.2f} |"


def main() -> None:
    """Print the tables that are asked for."""
    parser = argparse.ArgumentParser(description="Time the first seconds of a command.")
    parser.add_argument("--against", type=Path, help="another checkout, run in the same minutes")
    parser.add_argument("--kernels", type=int, default=0, help="list so many functions, too")
    asked = parser.parse_args()
    for line in compare([HERE] if asked.against is None else [HERE, asked.against.resolve()]):
        print(line, flush=True)
    print(f"\n{machine()}")
    if asked.kernels:
        print("\n".join(list_kernels(asked.kernels)))


if __name__ == "__main__":
    main()
