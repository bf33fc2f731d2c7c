"""Make the open benchmark: draw or fetch its layouts, and label them by simulation after OPC.

python -m benchmarks.open_benchmark [--out DIR] [--set SET ...] [--workers N] [--seconds S]
                                    [--small] [--write]
python -m benchmarks.open_benchmark --check SET/REGION [--out DIR]

Prints what each set holds and what it took of a processor. A stopped run resumes; after `--seconds`
no region is begun. ``--check`` builds a region again beside the first, and ends with 1 where a
label differs that is not marginal. expected.csv, beside this file, has the digests of layouts, and
what the regions hold that were labelled; ``--write`` writes the rows of the asked sets.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from benchmarks.machine import machine
from benchmarks.open_benchmark.labels import (
    Counts,
    compare,
    label_region,
    read_digests,
    read_expected,
    read_record,
    write_expected,
)
from benchmarks.open_benchmark.regions import SETS, Region, list_regions
from pipeline.cli.progress import Progress
from pipeline.config import Resources
from pipeline.datasets.store import load_dataset

LEAST_HOTSPOTS, MOST_SHARE = 1000, 0.01
"""What the clips to test on of each set must hold."""


def main() -> None:
    """Label what is not labelled, and print the table; or check a region."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("build/open_benchmark"))
    parser.add_argument("--set", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--small", action="store_true", help="tiny sets that try the program")
    parser.add_argument("--write", action="store_true", help="write expected.csv")
    parser.add_argument("--check", metavar="SET/REGION")
    asked = parser.parse_args()
    regions = list_regions(small=asked.small)
    if asked.small and asked.write:
        parser.error("expected.csv is of the full size; leave out --small or --write")
    expected, digests = read_expected(), read_digests()
    if asked.small or asked.write:
        expected, digests = {}, {}
    resources = Resources(workers=asked.workers)
    print(machine())
    if asked.check:
        named = [region for region in regions if region.name == asked.check]
        if not named:
            parser.error(f"no region {asked.check}; they are named as {regions[-1].name}")
        name = named[0].name
        if not check(named[0], asked.out, digests.get(name), expected.get(name), resources):
            sys.exit(1)
        return
    chosen = [region for region in regions if region.set in asked.set]
    label(sorted(chosen, key=lambda region: region.number), asked.out, digests, resources,
          time.monotonic() + asked.seconds)  # fmt: skip
    if asked.write:
        write_expected(asked.out, chosen)
    print("\n".join(make_table(asked.out, regions)))


def label(
    regions: Iterable[Region], out: Path, digests: dict[str, str], resources: Resources,
    until: float,
) -> None:  # fmt: skip
    """Label the regions that are not labelled, until a time."""
    with Progress() as progress:
        for region in regions:
            if time.monotonic() > until:
                return
            label_region(region, out, digests.get(region.name), resources, progress)


def make_table(out: Path, regions: Iterable[Region]) -> list[str]:
    """Return what the sets hold, as far as they are done."""
    lines = [
        "| set | split | regions | clips | hotspots | share | surely | marginal | processor, s |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    parts: dict[tuple[str, str], list[Region]] = {}
    for region in (every := list(regions)):
        parts.setdefault((region.set, region.split), []).append(region)
    for region in every:
        if region.set != "metal":
            parts.setdefault(("vias merged", region.split), []).append(region)
    for (name, split), asked in parts.items():
        found = [record for record in (read_record(out, region) for region in asked) if record]
        clips, hotspots, surely, marginal = (
            sum(getattr(counts, column) for counts, _ in found)
            for column in ("clips", "hotspots", "surely", "marginal")
        )
        done = f"{len(found)}" if len(found) == len(asked) else f"{len(found)} of {len(asked)}"
        share = hotspots / max(clips, 1)
        short = " (short)" if split == "test" and hotspots < LEAST_HOTSPOTS else ""
        many = " (over)" if split == "test" and share > MOST_SHARE else ""
        lines.append(
            f"| {name} | {split} | {done} | {clips:,} | {hotspots:,}{short} | {share:.2%}{many} "
            f"| {surely:,} | {marginal:,} | {sum(seconds for _, seconds in found):,.0f} |"
        )
    return lines


def check(
    region: Region, out: Path, digest: str | None, expected: Counts | None, resources: Resources
) -> bool:
    """Build a region again, print how it differs, and return whether only marginal labels do."""
    again = out / "check"
    built = (out / region.name).exists()
    if not built and not expected:
        sys.exit(f"{region.name} is neither in {out} nor in expected.csv: build it first")
    shutil.rmtree(again, ignore_errors=True)
    with Progress() as progress:
        label_region(region, again, digest, resources, progress)
    record = read_record(again, region)
    assert record is not None
    counts, same = record[0], True
    print(f"built: {counts}")
    if expected:
        print(f"expected: {expected}")
        same = counts.clips == expected.clips
        same &= abs(counts.hotspots - expected.hotspots) <= expected.marginal
    if built:
        first, rebuilt = load_dataset(out / region.name), load_dataset(again / region.name)
        same &= len(first) == len(rebuilt)
        if same:
            difference = compare(first, rebuilt)
            print(difference)
            same = difference.pictures == difference.sure == 0
    print("the same but for marginal labels" if same else "NOT the same")
    return same


if __name__ == "__main__":
    main()
