"""How far margins move when the fields lie otherwise: the noise within which a clip is marginal.

python -m benchmarks.lithography.marginal [--process NAME] [--side UM] [--shifts N]

A square of the chip is simulated with its geometry shifted by shares of the pitch of the lines and
of the fields, and each core's margin is compared with that of the square as it lies. Prints
quantiles of the spread, of all cores and of those near the limit, and the share of verdicts that
change outside `MARGINAL`.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np

from benchmarks.machine import machine
from pipeline.layout.ingest import open_packed, pack_into
from pipeline.simulate.tiles import read_slanted, read_target
from stages.contracts import Box, Floats, Layer, PackedLayout
from stages.lithography.correction.opc import correct
from stages.lithography.measure.defects import check_window
from stages.lithography.measure.margins import (
    LEAST,
    MARGINAL,
    find_worst_margin,
    take_clip_margins,
)
from stages.lithography.optics.fields import compute_halo_nm, make_lattice
from stages.lithography.process import Process, load_process

CHIP = "layouts/tt02_user_project_wrapper.gds.gz"
CORE_NM = 1280.0
PLACES_UM = ((1500.0, 500.0), (900.0, 2000.0), (2400.0, 1200.0))
"""Where squares are taken, none of them where a shipped model was trained."""
STEP = 16
"""Shifts are whole multiples of this, in dbu, and so are cores: it is the side of the cells."""
NEAR = 0.2
"""Cores whose margin is at most this far from the limit are also counted separately."""


def main() -> None:
    """Simulate each square as it lies and shifted, and print the spread."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--process", default="krf130")
    parser.add_argument("--opc", choices=("none", "model"), default="none")
    parser.add_argument("--side", type=float, default=40.0, help="um")
    parser.add_argument("--shifts", type=int, default=4)
    parser.add_argument("--work", type=Path, default=Path("build/marginal"))
    asked = parser.parse_args()
    print(machine())
    process = load_process(asked.process)
    chip = Path(os.environ.get("HOTSCAN_DATA", "../shared/data")) / CHIP
    if not asked.work.exists():
        asked.work.mkdir(parents=True)
        pack_into(chip, asked.work / "layout", [Layer.parse("68/20")], None)
    layout = open_packed(asked.work / "layout")
    before, after = [], []
    for place in PLACES_UM:
        whole = measure(layout, place, asked.side, (0, 0), process, asked.opc)
        for shift in choose_shifts(process, layout.dbu_nm, asked.shifts):
            moved = measure(layout, place, asked.side, shift, process, asked.opc)
            before.append(whole)
            after.append(moved)
    report(np.concatenate(before), np.concatenate(after))


def choose_shifts(process: Process, dbu_nm: float, count: int) -> list[tuple[int, int]]:
    """Return shifts up to a field's core, in dbu: no whole pitches of lines, but whole `STEP`."""
    core = make_lattice(process, dbu_nm).core_dbu
    steps = np.random.default_rng(0).integers(1, core // STEP, (count, 2))
    return [(int(x) * STEP, int(y) * STEP) for x, y in steps]


def measure(
    layout: PackedLayout, place_um: tuple[float, float], side_um: float, shift: tuple[int, int],
    process: Process, opc: str,
) -> Floats:  # fmt: skip
    """Return the worst margin of each core of a square, simulated as if it lay elsewhere."""
    dbu_nm = layout.dbu_nm
    core = round(CORE_NM / dbu_nm / STEP) * STEP
    count = int(side_um * 1000 / CORE_NM)
    x, y = (round(um * 1000 / dbu_nm / STEP) * STEP for um in place_um)
    square = Box(x, y, x + count * core, y + count * core)
    around = square.grow(round(3 * compute_halo_nm(process) / dbu_nm))
    move = np.array([*shift, *shift])
    target = read_target(layout.packed[0], around, dbu_nm, process) + move
    slanted = read_slanted(layout.packed[0], around) + move
    window = Box(*(np.array(square.as_tuple()) + move).tolist())
    mask = None
    if opc == "model":
        halo = window.grow(round(compute_halo_nm(process) / dbu_nm) + 1)
        mask = correct(target, halo, dbu_nm, process)
    cells = check_window(target, window, dbu_nm, process, STEP, mask, slanted).margins
    at = np.arange(count) * core + core // 2
    row, column = (each.ravel() for each in np.meshgrid(at, at, indexing="ij"))
    margin = take_clip_margins(cells, STEP, column + window.x_min, row + window.y_min, core)
    return find_worst_margin(margin).astype(float)


def report(before: Floats, after: Floats) -> None:
    """Print how far margins moved."""
    shown = (before > LEAST) | (after > LEAST)
    near = shown & (np.abs(before) <= NEAR)
    print("\n| cores | number | median | 90 % | 99 % | 99.9 % | most |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for name, which in (("all that show anything", shown), (f"within {NEAR} of the limit", near)):
        moved = np.abs(after - before)[which]
        spread = " | ".join(f"{q:.4f}" for q in np.quantile(moved, (0.5, 0.9, 0.99, 0.999, 1)))
        print(f"| {name} | {which.sum():,} | {spread} |")
    changed = shown & ((before > 0) != (after > 0))
    marginal = np.abs(before) <= MARGINAL
    print(
        f"\n{changed.sum():,} of {shown.sum():,} verdicts change, {(changed & ~marginal).sum():,} "
        f"of them of cores further than {MARGINAL} from the limit; marginal are "
        f"{(marginal & shown).sum():,}, fail {(before > 0).sum():,}"
    )


if __name__ == "__main__":
    main()
