"""Small layouts after public reports, read by hotscan and held against what KLayout reads.

python -m benchmarks.faults.reader_reports FOLDER [--suffix .oas]

FOLDER holds the layouts and ``expected.csv``: what KLayout reads of one layer of each, or that it
refuses. Prints tables by format and by kind, then each file that differs. Exit code 1
where one does, or takes longer than 5 s: run it twice on a machine without compiled kernels.
"""

from __future__ import annotations

import argparse
import csv
import re
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import hotscan
from benchmarks.machine import machine

SLIVER_DBU = 2.0
"""Width of the slivers along the outline that rounding may leave."""


MOST_SECONDS = 5.0
"""Longer than this, with kernels compiled before, is a fault."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How a file was read."""

    file: str
    outcome: str
    """equal, refused as KLayout, tops listed, read with a warning, refused on purpose, different"""
    seconds: float
    said: str = ""


def read_one(path: Path, row: dict[str, str]) -> Reading:
    """Read a file, and hold what comes against what is expected."""
    started = time.perf_counter()
    try:
        layout = hotscan.read_layout(path, layers=row["layer"], cell=row["cell"] or None)
        box, area = layout.bbox_dbu(row["layer"]), layout.area_dbu2(row["layer"])
    except hotscan.HotscanError as error:
        return Reading(path.name, judge_refusal(row, str(error)), time.perf_counter() - started,
                       str(error))  # fmt: skip
    spent = time.perf_counter() - started
    if row["klayout"] != "read":
        warned = "read with a warning" if layout.warnings else "different"
        return Reading(path.name, warned, spent, "; ".join(layout.warnings))
    expected = tuple(int(v) for v in row["bbox_dbu"].split())
    same = is_near(area, float(row["area_dbu2"]), box) and (box or ()) == expected
    return Reading(path.name, "equal" if same else "different", spent, f"{area:g} in {box}")


def is_near(area: float, expected: float, box: tuple[int, int, int, int] | None) -> bool:
    """Return whether two areas differ by slivers at most."""
    around = 0 if box is None else 2 * (box[2] - box[0] + box[3] - box[1])
    return abs(area - expected) <= min(SLIVER_DBU * around, 0.01 * max(expected, 1.0))


def judge_refusal(row: dict[str, str], error: str) -> str:
    """Return what a refusal means beside KLayout's reading."""
    if row["klayout"] == "ambiguous top":
        return "tops listed" if all(t in error for t in row["tops"].split()) else "different"
    if row["klayout"] == "refused":
        return "refused as KLayout"
    if row["klayout"] == "no layer":
        return "no layer, as KLayout" if "has no layer" in error else "different"
    on_purpose = any(word in error for word in ("CRC32", "CHECKSUM32", "limit", "2^31", "32-bit"))
    return "refused on purpose" if on_purpose else "different"


def main() -> None:
    """Read all, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--suffix", default="", help="Only files that end so, like .oas.")
    asked = parser.parse_args()
    with (asked.folder / "expected.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["file"].endswith(asked.suffix)]
    read_one(asked.folder / rows[0]["file"], rows[0])  # compiled kernels are built here
    found = [read_one(asked.folder / row["file"], row) for row in rows]
    print(machine())
    print_table(found, "format", lambda one: Path(one.file).suffix[1:4])
    print_table(found, "kind of file", lambda one: re.split(r"[_\d.]", one.file)[0])
    print_rest(found)
    sys.exit(any(one.outcome == "different" or one.seconds > MOST_SECONDS for one in found))


def print_table(found: list[Reading], title: str, kind_of: Callable[[Reading], str]) -> None:
    """Print how many files of each kind came to which outcome."""
    counts = Counter((kind_of(one), one.outcome) for one in found)
    outcomes = sorted({one.outcome for one in found})
    print(f"| {title} | {' | '.join(outcomes)} |\n|---|{'--:|' * len(outcomes)}")
    for kind in sorted({kind_of(one) for one in found}):
        print(f"| {kind} | {' | '.join(str(counts[kind, outcome]) for outcome in outcomes)} |")


def print_rest(found: list[Reading]) -> None:
    """Print the slowest file, and each one that is neither equal nor refused as by KLayout."""
    slowest = max(found, key=lambda one: one.seconds)
    print(f"slowest: {slowest.file}, {slowest.seconds:.1f} s (limit {MOST_SECONDS:g})")
    for one in found:
        if one.outcome in ("different", "refused on purpose", "read with a warning"):
            print(f"{one.outcome}: {one.file}: {one.said}")


if __name__ == "__main__":
    main()
