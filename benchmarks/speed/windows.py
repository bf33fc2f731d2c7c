"""How long confirming a clip takes, beside another version of this program, in one run.

python -m benchmarks.speed.windows [--before CHECKOUT] [--windows N] [--rounds N]

Simulates clips around shapes of a chip that are drawn at random: its first metal as drawn under
`krf130`, and after OPC, shrunk to the least width of the process, the same metal under `arfi45` and
the vias above it under `arfi45-via`. Versions take turns, each in a process of its own with one
thread; the least of each one's processor seconds counts. CHECKOUT is a working tree of the other
version; both use the processes of this one.
"""

from __future__ import annotations

import argparse
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.machine import machine
from benchmarks.open_benchmark.regions import CHIP
from pipeline.layout.ingest import open_packed, pack_into
from stages.contracts import Box, Floats, Int64s, Layer, Shapes
from stages.geometry.union import merge
from stages.geometry.window_query import query
from stages.lithography.clip_window import make_window, read_window
from stages.lithography.process import load_process

ROOT = Path(__file__).parents[2]
AREA_UM = Box(1500, 1000, 1620, 1120)
"""Of the chip, where shapes are drawn from."""
TIMED = """
import pickle, sys, time
import torch
from stages.lithography import clip_window
from stages.lithography.process import process_of
torch.set_num_threads(1)

def simulate(drawn, *about):
    if hasattr(clip_window, "simulate_clips"):
        parts = (drawn[at : at + 16] for at in range(0, len(drawn), 16))
        return [found for part in parts for found in clip_window.simulate_clips(part, *about)]
    return [clip_window.simulate_clip(*each, *about) for each in drawn]  # before 2026-11-27

cases, answers = pickle.load(open(sys.argv[1], "rb")), []
for settings, core_dbu, opc, drawn in cases:
    process = process_of(settings)
    about = clip_window.make_window(process, 1.0, core_dbu, opc), 1.0, process, opc
    simulate(drawn, *about)  # compiles, and fills caches
    started = time.process_time()
    found = simulate(drawn, *about)
    answers.append((time.process_time() - started, [each.margin for each in found]))
pickle.dump(answers, open(sys.argv[2], "wb"))
"""


@dataclass(frozen=True, slots=True)
class Case:
    """Clips of one layer, and what prints them."""

    process: str
    layer: str
    core_nm: int
    opc: str
    drawn_nm: int
    """Least width on the chip; 0 where it is not shrunk."""


CASES = (
    Case("krf130", "68/20", 1280, "none", 0),
    Case("arfi45", "68/20", 640, "model", 140),
    Case("arfi45-via", "68/44", 640, "model", 150),
)


def main() -> None:
    """Time the versions and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--before", type=Path)
    parser.add_argument("--windows", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    chip = Path(os.environ.get("HOTSCAN_DATA", "../shared/data")) / CHIP
    drawn = [draw_windows(case, chip, asked.windows) for case in CASES]
    versions = {"before": asked.before, "this": ROOT} if asked.before else {"this": ROOT}
    runs: dict[str, list[list[tuple[float, list[Floats]]]]] = {name: [] for name in versions}
    for _ in range(asked.rounds):
        for name, checkout in versions.items():
            runs[name].append(run(checkout.resolve(), drawn))
    print(machine() + "\n")
    print(
        "| case | version | ms of a processor a clip | verdicts as before | margins: most apart |"
    )
    print("|---|---|--:|--:|--:|")
    for at, case in enumerate(CASES):
        first = next(iter(runs.values()))[0][at][1]
        for name, found in runs.items():
            each_ms = 1000 * min(every[at][0] for every in found) / len(drawn[at])
            mine, before = np.array(found[0][at][1]), np.array(first)
            alike = np.mean((mine.max(axis=1) > 0) == (before.max(axis=1) > 0))
            apart = np.abs(mine - before).max()
            title = f"{case.process}, {'as drawn' if case.opc == 'none' else 'after OPC'}"
            print(f"| {title} | {name} | {each_ms:.1f} | {alike:.1%} | {apart:.4f} |")


def draw_windows(case: Case, chip: Path, count: int) -> list[tuple[Int64s, Int64s]]:
    """Return the targets around shapes that are drawn at random, as of `read_window`."""
    process = load_process(case.process)
    with tempfile.TemporaryDirectory() as folder:
        pack_into(chip, Path(folder, "l"), [Layer.parse(case.layer)])
        area = Box(*(1000 * side for side in AREA_UM.as_tuple()))
        rects = query(open_packed(Path(folder, "l")).packed[0], area).rects
    scale = process.min_width_nm / case.drawn_nm if case.drawn_nm else 1
    shapes = merge(np.rint((rects - np.array(area.as_tuple()[:2] * 2)) * scale).astype(np.int64))
    window = make_window(process, 1.0, case.core_nm, case.opc)
    half = case.core_nm // 2 + window.guard_dbu
    middles = (shapes[:, :2] + shapes[:, 2:]) // 2
    drawn = []
    for x, y in np.random.default_rng(0).permutation(middles)[:count].tolist():
        near = (shapes[:, :2] < (x + half, y + half)) & (shapes[:, 2:] > (x - half, y - half))
        local = Shapes(shapes[near.all(axis=1)], np.empty((0, 2), np.int64), np.zeros(1, np.int64))
        drawn.append(read_window(local, (x - half, y - half), window, 0, process, 1.0))
    return drawn


def run(
    checkout: Path, drawn: Sequence[list[tuple[Int64s, Int64s]]]
) -> list[tuple[float, list[Floats]]]:
    """Return seconds and margins of each case with the code of a working tree."""
    with tempfile.TemporaryDirectory() as folder:
        given, answered = Path(folder, "cases"), Path(folder, "answers")
        given.write_bytes(pickle.dumps([
            (load_process(case.process).as_dict(), case.core_nm, case.opc, windows)
            for case, windows in zip(CASES, drawn, strict=True)
        ]))  # fmt: skip
        environment = os.environ | {"PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-c", TIMED, str(given), str(answered)]
        subprocess.run(command, check=True, cwd=checkout, env=environment)
        answers: list[tuple[float, list[Floats]]] = pickle.loads(answered.read_bytes())
        return answers


if __name__ == "__main__":
    main()
