"""A file of gigabytes: the memory of ``hotscan info``, and of reading one layer or all of it.

python -m benchmarks.speed.large_file [info|layout ...] [--chips 10] [--work DIR]

The file has the cells of the real chip so many times, each time under other names, and a top cell
that places all: ten make 2.4 GB of GDSII, nothing of which is shared. Memory is sampled: what the
reader, a process of its own, holds for itself; that with the pages of the file that it has mapped,
which the system takes back when it needs them; and what the driver holds.
"""

from __future__ import annotations

import argparse
import gzip
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

from benchmarks.machine import machine
from benchmarks.speed.scale import CHIP
from benchmarks.speed.scan_process import find_peak, watch_command

STRNAME, SNAME, ENDSTR, ENDLIB, BGNSTR = 0x0606, 0x1206, 0x0700, 0x0400, 0x0502
PITCH_DBU = 4_000_000
"""Of the chips; one is 2.9 x 3.5 mm."""
SAMPLE_S = 0.5
LAYER = "68/20"


def write_chips(source: Path, path: Path, chips: int) -> None:
    """Write a GDSII file with the cells of another one so many times, under other names."""
    with gzip.open(source) as stream:
        content = stream.read()
    names = list(_find_names(content))
    first = content.index(struct.pack(">HH", 28, BGNSTR))
    defined = {name for kind, _, _, name in names if kind == STRNAME}
    placed = {name for kind, _, _, name in names if kind == SNAME}
    (top,) = defined - placed
    with path.open("wb") as sink:
        sink.write(content[:first])
        for chip in range(chips):
            _write_renamed(sink, content, first, names, b"$%d" % chip)
        sink.write(content[first : first + 28] + _record(STRNAME, b"CHIPS"))
        for chip in range(chips):
            row, column = divmod(chip, 5)
            place = struct.pack(">ii", column * PITCH_DBU, row * PITCH_DBU)
            sink.write(_record(0x0A00) + _record(SNAME, top + b"$%d" % chip))
            sink.write(_record(0x1003, place) + _record(0x1100))
        sink.write(_record(ENDSTR) + _record(ENDLIB))


def _find_names(content: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Yield kind, begin, end and name of each record that names a cell."""
    at, read = 0, struct.Struct(">HH").unpack_from
    while True:
        length, kind = read(content, at)
        if kind in (STRNAME, SNAME):
            yield kind, at, at + length, content[at + 4 : at + length].rstrip(b"\0")
        if kind == ENDLIB:
            return
        at += length


def _write_renamed(
    sink: BinaryIO, content: bytes, first: int,
    names: Sequence[tuple[int, int, int, bytes]], suffix: bytes,
) -> None:  # fmt: skip
    """Write all structures, with a suffix on each name."""
    view, at, pieces = memoryview(content), first, list[bytes | memoryview]()
    for kind, begin, end, name in names:
        pieces += (view[at:begin], _record(kind, name + suffix))
        at = end
    pieces.append(view[at : content.rindex(_record(ENDLIB))])
    sink.writelines(pieces)


def _record(kind: int, content: bytes = b"") -> bytes:
    content += b"\0" * (len(content) % 2)
    return struct.pack(">HH", 4 + len(content), kind) + content


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=["info", "layout", []], default=[])
    parser.add_argument("--chips", type=int, default=10)
    parser.add_argument("--work", type=Path, help="keep the file here")
    asked = parser.parse_args()
    with TemporaryDirectory() as folder:
        file = (asked.work or Path(folder)) / f"chips{asked.chips}.gds"
        if not file.exists():
            write_chips(CHIP, file, asked.chips)
        size_mb = file.stat().st_size / 1e6
        scan = ("scan", str(file), "--layer", LAYER, "--roi", "0,0,20,20", "--workers", "0")
        print("| command | MB of file | s | CPU s | reader MB | with the file | driver MB |")
        print("|---|" + "--:|" * 6)
        commands = {
            "info": ("`hotscan info`", ("info", str(file))),
            "layout": (f"layout pass, {LAYER}", (*scan, "--out", f"{folder}/run", "--quiet")),
        }
        for part in asked.parts or commands:
            name, command = commands[part]
            watched, wall_s = watch_command(*command, sample_s=SAMPLE_S)
            most = find_peak([one for _, one in watched.samples])
            print(
                f"| {name} | {size_mb:,.0f} | {wall_s:.1f} | {watched.processor_s:.1f} "
                f"| {most.reader_anonymous:,.0f} | {most.reader:,.0f} | {most.driver:,.0f} |",
                flush=True,
            )
    print(f"\n{machine()}")


if __name__ == "__main__":
    main()
