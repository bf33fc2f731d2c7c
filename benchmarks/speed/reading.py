"""Reading a whole chip: all layers of its GDSII and of its OASIS, beside KLayout.

Run as ``python -m benchmarks.speed.reading [FILE] [--times 3]``. The file is unpacked first, and
written as OASIS by KLayout. Of both, each reading is in a process of its own, one right after the
other: KLayout's ``Layout.read``, which keeps shapes as they are in the file, and ours, which checks
the file and packs every layer with its spatial index, kernels loaded before. Seconds are of the
wall, then of all processors.
"""

from __future__ import annotations

import argparse
import gzip
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import klayout.db as kdb

from benchmarks.machine import machine
from stages.contracts import Layer
from stages.layout.builder import describe_layout, load_kernels, pack_layout

Seconds = tuple[float, float]


def timed(work: Callable[[], object]) -> Seconds:
    """Return the seconds that work takes, of the wall and of the processors."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def read_by_klayout(path: Path, layers: list[Layer]) -> Seconds:
    """Read a file with KLayout; it reads all layers, whichever are asked for."""
    del layers
    return timed(lambda: kdb.Layout().read(str(path)))


def read_by_hotscan(path: Path, layers: list[Layer]) -> Seconds:
    """Check a file and pack all of `layers`."""
    load_kernels(oasis=path.suffix == ".oas")
    return timed(lambda: pack_layout(path, layers, None))


READERS = {"KLayout": read_by_klayout, "hotscan": read_by_hotscan}


def compare(path: Path, times: int) -> None:
    """Print a row for each reading of a file, and of the ratio of the shortest ones."""
    layers = [Layer.parse(text) for text in describe_layout(path).layers]
    best: dict[str, float] = {}
    for _ in range(times):
        row = f"| {path.suffix[1:]} | {path.stat().st_size / 1e6:.0f} | {len(layers)} |"
        for name, read in READERS.items():
            with ProcessPoolExecutor(1, get_context("spawn")) as process:
                wall, cpu = process.submit(read, path, layers).result()
            best[name] = min(wall, best.get(name, wall))
            row += f" {wall:.2f} | {cpu:.2f} |"
        print(f"{row} {best['hotscan'] / best['KLayout']:.2f} |", flush=True)


def main() -> None:
    """Print the table."""
    from benchmarks.speed.scale import CHIP  # torch, which the readers' processes do without

    parser = argparse.ArgumentParser(description="Time the reading of all layers of a file.")
    parser.add_argument("file", type=Path, nargs="?", default=CHIP, help="GDSII, plain or gzip")
    parser.add_argument("--times", type=int, default=3)
    asked = parser.parse_args()
    print("| format | MB | layers | KLayout: s | CPU s | hotscan: s | CPU s | ratio of best |")
    print("|---|" + "--:|" * 7)
    with TemporaryDirectory() as folder:
        gdsii, oasis = Path(folder, "layout.gds"), Path(folder, "layout.oas")
        unpack = gzip.open if asked.file.suffix == ".gz" else open
        with unpack(asked.file, "rb") as source, gdsii.open("wb") as sink:
            shutil.copyfileobj(source, sink)
        layout = kdb.Layout()
        layout.read(str(gdsii))
        layout.write(str(oasis))
        for path in (gdsii, oasis):
            compare(path, asked.times)
    print(f"\n{machine()}")


if __name__ == "__main__":
    main()
