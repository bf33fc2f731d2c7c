"""How long correcting masks takes, beside another version of this program, in one run.

python -m benchmarks.speed.opc_speed [--before CHECKOUT] [--fields N] [--rounds N]

Corrects fields at three places of a chip's first metal under `krf130`, and of dense random wires of
least width and space under both processes, then simulates them for defects. Versions take turns,
each in a process of its own with one thread; the least of each one's seconds counts. CHECKOUT is a
working tree of the other version, such as ``git worktree add ../before COMMIT`` makes; both use the
processes as they are there. All masks are measured with the code of this version, at every corner
and with all kernels.
"""

from __future__ import annotations

import argparse
import os
import pickle
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.machine import machine
from benchmarks.open_benchmark.regions import CHIP
from pipeline.layout.ingest import open_packed, pack_into
from pipeline.simulate.tiles import read_target
from stages.contracts import Box, Floats, Int64s, Layer
from stages.lithography.correction.placement import choose_nominal, measure_edge_errors
from stages.lithography.optics.fields import compute_halo_nm, make_lattice
from stages.lithography.process import Process, process_of

ROOT = Path(__file__).parents[2]
PLACES = ((0.15, 0.2), (0.5, 0.5), (0.8, 0.35))
"""Of the chip's extent."""
TIMED = """
import pickle, sys, time
import torch
from stages.contracts import Box
from stages.lithography.correction.opc import correct
from stages.lithography.measure.defects import find_defects
from stages.lithography.process import process_of
torch.set_num_threads(1)
cases, answers = pickle.load(open(sys.argv[1], "rb")), []
for settings, dbu_nm, windows in cases:
    process, windows = process_of(settings), [(target, Box(*box)) for target, box in windows]
    masks = [correct(target, window, dbu_nm, process) for target, window in windows[:1]]  # compiles
    started = time.process_time()
    masks = [correct(target, window, dbu_nm, process) for target, window in windows]
    corrected = time.process_time() - started
    started = time.process_time()
    found = sum(
        len(find_defects(target, window, dbu_nm, process, mask))
        for (target, window), mask in zip(windows, masks)
    )
    answers.append((masks, corrected, time.process_time() - started, found))
pickle.dump(answers, open(sys.argv[2], "wb"))
"""
"""What each version runs: it must not use what only one of them has."""

Windows = list[tuple[Int64s, Box]]


class Case(NamedTuple):
    """What is corrected."""

    title: str
    settings: dict[str, Any]
    """The process, as in its file."""
    dbu_nm: float
    windows: Windows
    """Targets, and where they are corrected: whole cores of fields."""


class Timed(NamedTuple):
    """One version on one case."""

    masks: list[Int64s]
    corrected_s: float
    simulated_s: float
    defects: int


def main() -> None:
    """Time the versions and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--before", type=Path)
    parser.add_argument("--fields", type=int, default=9)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    chip = Path(os.environ.get("HOTSCAN_DATA", "../shared/data")) / CHIP
    processes = (asked.before or ROOT) / "stages" / "lithography" / "processes"
    krf130, arfi45 = (
        tomllib.loads((processes / f"{name}.toml").read_text()) for name in ("krf130", "arfi45")
    )
    cases = [
        cut_chip(chip, krf130, asked.fields), make_wires(krf130, 140, asked.fields),
        make_wires(arfi45, 45, asked.fields),
    ]  # fmt: skip
    versions = {"before": asked.before, "this": ROOT} if asked.before else {"this": ROOT}
    runs: dict[str, list[list[Timed]]] = {name: [] for name in versions}
    for _ in range(asked.rounds):
        for name, checkout in versions.items():
            runs[name].append(run(checkout.resolve(), cases))
    print(machine() + "\n")
    print(
        "| case | version | correction, s a field | with defects | nominal, nm: mean, 99 % ", end=""
    )
    print("| worst corner: mean, 99 % | defects |\n|---|---|" + "--:|" * 5)
    for index, case in enumerate(cases):
        for name, found in runs.items():
            report(case, name, [every[index] for every in found], asked.fields)


def cut_chip(layout: Path, settings: dict[str, Any], fields: int) -> Case:
    """Return fields in rows at three places of a chip's first metal."""
    process = process_of(settings)
    with tempfile.TemporaryDirectory() as folder:
        pack_into(layout, Path(folder, "l"), [Layer.parse("68/20")])
        chip = open_packed(Path(folder, "l"))
        core = make_lattice(process, chip.dbu_nm).core_dbu
        halo = int(compute_halo_nm(process) / chip.dbu_nm) + 1
        windows: Windows = []
        for x, y in PLACES:
            x_dbu = round(chip.extent.x_min + x * chip.extent.width) // core * core
            y_dbu = round(chip.extent.y_min + y * chip.extent.height) // core * core
            box = Box(x_dbu, y_dbu, x_dbu + core * -(-fields // len(PLACES)), y_dbu + core)
            target = read_target(chip.packed[0], box.grow(2 * halo), chip.dbu_nm, process)
            windows.append((target, box))
        return Case("met1 of a chip", settings, chip.dbu_nm, windows)


def make_wires(settings: dict[str, Any], width_nm: int, fields: int) -> Case:
    """Return fields of random wires and ties between them, of least width and space."""
    process, dbu_nm, rng = process_of(settings), 1.0, np.random.default_rng(0)
    core = make_lattice(process, dbu_nm).core_dbu
    box = Box(0, 0, core * fields, core)
    around = box.grow(2 * (int(compute_halo_nm(process)) + 1))
    rects = []
    for y in range(around.y_min, around.y_max, 2 * width_nm):
        x = around.x_min
        while x < around.x_max:
            length, space = (int(rng.integers(*span)) * width_nm for span in ((3, 30), (2, 6)))
            rects.append((x, y, x + length, y + width_nm))
            x += length + space
    return Case("dense wires", settings, dbu_nm, [(np.array(rects, np.int64), box)])


def run(checkout: Path, cases: list[Case]) -> list[Timed]:
    """Run the cases with the code of a working tree."""
    with tempfile.TemporaryDirectory() as folder:
        given, answered = Path(folder, "cases"), Path(folder, "answers")
        given.write_bytes(pickle.dumps([
            (case.settings, case.dbu_nm, [(t, w.as_tuple()) for t, w in case.windows])
            for case in cases
        ]))  # fmt: skip
        environment = os.environ | {"PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-c", TIMED, str(given), str(answered)]
        subprocess.run(command, check=True, cwd=checkout, env=environment)
        return [Timed(*answer) for answer in pickle.loads(answered.read_bytes())]


def report(case: Case, version: str, runs: list[Timed], fields: int) -> None:
    """Print a line of the table."""
    process = process_of(case.settings)
    nominal = process.corners.index(choose_nominal(process))
    errors = np.concatenate([
        measure(case, process, target, window, mask)
        for (target, window), mask in zip(case.windows, runs[0].masks, strict=True)
    ], axis=1)  # fmt: skip
    at_nominal, worst = np.abs(errors[nominal]), np.abs(errors).max(axis=0)
    corrected = min(each.corrected_s for each in runs)
    both = min(each.corrected_s + each.simulated_s for each in runs)
    cells = [
        f"{corrected / fields:.4f}", f"{both / fields:.4f}",
        f"{at_nominal.mean():.2f}, {np.percentile(at_nominal, 99):.1f}",
        f"{worst.mean():.2f}, {np.percentile(worst, 99):.1f}", f"{runs[0].defects}",
    ]  # fmt: skip
    print(f"| {case.title}, `{process.name}` | {version} | " + " | ".join(cells) + " |")


def measure(case: Case, process: Process, target: Int64s, window: Box, mask: Int64s) -> Floats:
    """Return a mask's edge placement errors, (corners, places) in nm."""
    inner = window.grow(-make_lattice(process, case.dbu_nm).guard_dbu)
    corners = [replace(process, corners=(corner,)) for corner in process.corners]
    return np.stack(
        [measure_edge_errors(target, inner, case.dbu_nm, each, mask)[1] for each in corners]
    )


if __name__ == "__main__":
    main()
