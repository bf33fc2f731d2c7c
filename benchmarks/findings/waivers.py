"""Whether comparing and waiving are right on edited layouts, against what was edited.

python -m benchmarks.findings.waivers [--edits N] [--work DIR]

A layout of places that may fail, each different and alone in its slot, with a shape out of sight of
them in every slot. It is scanned, all classes are waived, edited, scanned again and compared. Edits
are of whole slots, so what must come out is known of every hotspot that either scan finds:

    moved      the place moved and turned: moved; waived
    neighbour  the shape out of sight edited: the same; waived
    deleted    the place removed: fixed
    added      a place that was nowhere before: new; not waived
    copied     another one of a place that is there: new; waived, as its geometry is accepted
    changed    edges within sight of what fails moved by 1 nm: fixed and new; not waived
    none       the same; waived

"Moved by clips" moves by whole clips of the grid; "moved anywhere" by any number of dbu, where the
clips, and what simulation samples, lie otherwise over the place than before. There a waiver, which
knows the tightest places of clips, may not cover what it did: that is counted by itself.
"""

from __future__ import annotations

import argparse
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import gdstk
import torch

import hotscan
from benchmarks.machine import machine
from sample_layouts.draw import Rect

SLOT_NM = 12_800
"""Ten cores: a place, a clip's reach around it, and room to move."""
STRIDE_NM = 1280
LAYER = 68, 20
INK = 0.1
"""Share of a clip that is drawn where the detector flags it. What is compared is not the model: one
whose answer is known flags every place."""

SHARES = {
    "moved": 0.3, "neighbour": 0.25, "deleted": 0.15, "added": 0.075, "copied": 0.075,
    "changed": 0.15,
}  # fmt: skip
EXPECTED = {
    "moved": ({"moved"}, {"moved"}, True), "neighbour": ({"same"}, {"same"}, True),
    "deleted": ({"fixed"}, set(), True), "added": (set(), {"new"}, False),
    "copied": (set(), {"new"}, True), "changed": ({"fixed"}, {"new"}, False),
    "none": ({"same"}, {"same"}, True),
}  # fmt: skip
"""Of each edit what the hotspots before and after must be, and whether those after are waived."""


class Ink(torch.nn.Module):
    """Flags clips by how much of them is drawn."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = torch.nn.Parameter(torch.tensor(100.0))

    def forward(self, x: torch.Tensor) -> Any:
        """Return the logits."""
        return self.gain * (x.mean((1, 2, 3)) - INK)


@dataclass(frozen=True, slots=True)
class Place:
    """A place that may fail: line ends that face each other among lines.

    The spaces are what is tightest, and lines are so narrow that space and width are in sight from
    there: no two places have both.
    """

    gap: int
    shift: int
    width: int
    space: int
    x: int = 0
    y: int = 0
    turn: int = 0

    def draw(self) -> list[Rect]:
        """Return its shapes about the origin, before it is turned."""
        width, pitch, low = self.width, self.width + self.space, -(self.gap // 2)
        lines = [(-1500, at * pitch, 1500, at * pitch + width) for at in range(-3, 4) if at]
        return [
            *lines, (-1500, 0, low, width),
            (low + self.gap, self.shift, 1500, self.shift + width),
        ]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Slot:
    """A slot of the layout."""

    edit: str
    before: Place | None
    after: Place | None
    neighbour: tuple[int, int]
    """Height of the shape out of sight, before and after."""


def make_slots(edits: int, rng: random.Random, step_nm: int) -> list[Slot]:
    """Return the edits in random order, among as many slots that are not edited."""
    kinds = [kind for kind, share in SHARES.items() for _ in range(round(share * edits))]
    kinds += ["none"] * (edits // 2)
    places = list_places(rng)
    slots = []
    for kind in kinds:
        place, height = next(places), rng.randrange(200, 900, 10)
        before: Place | None = place
        after: Place | None = place
        if kind == "moved":
            x, y = (rng.randrange(-1280 // step_nm, 1280 // step_nm + 1) * step_nm for _ in "xy")
            after = replace(place, x=x or step_nm, y=y, turn=rng.randrange(8))
        elif kind == "deleted":
            after = None
        elif kind == "added":
            before = None
        elif kind == "changed":
            after = replace(place, space=place.space + 1)
        new_height = height + 50 if kind == "neighbour" else height
        slots.append(Slot(kind, before, after, (height, new_height)))
    unedited = [slot.after for slot in slots if slot.edit == "none"]
    slots = [
        replace(slot, before=None, after=rng.choice(unedited)) if slot.edit == "copied" else slot
        for slot in slots
    ]
    rng.shuffle(slots)
    return slots


def list_places(rng: random.Random) -> Iterator[Place]:
    """Return places that all differ; their spaces are even, those of changed ones odd."""
    every = [
        Place(rng.randrange(300, 400, 10), rng.randrange(0, 60, 10), width, space)
        for width in range(80, 121)
        for space in range(100, 180, 2)
    ]
    rng.shuffle(every)
    return iter(every)


def write_layout(path: Path, slots: Sequence[Slot], after: bool) -> None:
    """Write the layout before or after the edits."""
    library = gdstk.Library(unit=1e-6, precision=1e-9)
    top, side = library.new_cell("top"), find_side(slots)
    for number, slot in enumerate(slots):
        x, y = (SLOT_NM * at for at in divmod(number, side))
        height = slot.neighbour[after]
        top.add(draw_rect((x - 6200, y - 6200, x - 5700, y - 6200 + height)))
        place = slot.after if after else slot.before
        if place is not None:
            cell = library.new_cell(f"{'new' if after else 'old'}_{number}")
            cell.add(*map(draw_rect, place.draw()))
            turned = place.turn & 4 > 0
            top.add(
                gdstk.Reference(
                    cell, ((x + place.x) / 1000, (y + place.y) / 1000),
                    rotation=(place.turn & 3) * 1.5707963267948966, x_reflection=turned,
                )
            )  # fmt: skip
    library.write_gds(path, timestamp=datetime(2000, 1, 1))


def draw_rect(rect: Rect) -> Any:
    x_0, y_0, x_1, y_1 = (value / 1000 for value in rect)
    return gdstk.rectangle((x_0, y_0), (x_1, y_1), *LAYER)


def find_side(slots: Sequence[Slot]) -> int:
    return int(len(slots) ** 0.5) + 1


def find_slot(x_um: float, y_um: float, side: int) -> int:
    """Return the number of the slot that a place is in."""
    column, row = (round(1000 * value / SLOT_NM) for value in (x_um, y_um))
    return column * side + row


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came out."""

    right: Counter[str]
    """By edit: hotspots that it was right about."""
    wrong: Counter[str]
    """By edit, what is wrong of which: hotspots."""
    places: Counter[str]
    """By edit: slots with a hotspot in either scan."""
    waived: Counter[str]
    """By edit: hotspots that are waived, or not waived, as they should not be."""


def judge(slots: Sequence[Slot], rows: Sequence[dict[str, Any]]) -> Outcome:
    """Compare the table of changes with the edits."""
    outcome = Outcome(Counter(), Counter(), Counter(), Counter())
    side, seen = find_side(slots), set[int]()
    for row in rows:
        number = find_slot(row["x_um"], row["y_um"], side)
        edit, change = slots[number].edit, row["change"]
        before, after, waived = EXPECTED[edit]
        is_right = change in (before if change == "fixed" else after)
        if change != "fixed" and row["waived"] != waived:
            outcome.waived[f"{edit}: {'waived' if row['waived'] else 'not waived'}"] += 1
        if number not in seen:
            outcome.places[edit] += 1
            seen.add(number)
        (outcome.right if is_right else outcome.wrong)[
            edit if is_right else f"{edit}: {change}"
        ] += 1
    return outcome


def run_case(
    folder: Path, edits: int, mode: str, confirm: bool, step_nm: int, seed: int
) -> Outcome:
    """Scan, waive, edit, scan again and compare."""
    slots = make_slots(edits, random.Random(seed), step_nm)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "waivers.toml"
    file.unlink(missing_ok=True)
    raster = {"pixel_nm": 40.0, "clip_px": 64, "core_px": 32}
    model = hotscan.Model(Ink(), raster=raster, process="krf130", threshold=0.5)
    runs = []
    for after in (False, True):
        path = folder / f"{'after' if after else 'before'}.gds"
        write_layout(path, slots, after)
        settings: dict[str, Any] = {"layers": "68/20", "mode": mode, "confirm": confirm}
        run = hotscan.scan(
            path, out=folder / path.stem, model=model, progress=False,
            waivers=file if after else None, **settings,
        )  # fmt: skip
        assert isinstance(run, hotscan.Run)  # of one layer
        if not after:
            every = list(range(1, run.classes.num_rows + 1))
            run.waive(file, classes=every, reason="all that was there", by="benchmark")
        runs.append(run)
    return judge(slots, hotscan.diff(*runs).table.to_pylist())


CASES = (
    ("sites, moved anywhere", "sites", False, 1),
    ("sites, simulated, moved anywhere", "sites", True, 1),
    ("grid, moved by clips", "grid", False, STRIDE_NM),
    ("grid, simulated, moved by clips", "grid", True, STRIDE_NM),
    ("grid, moved anywhere", "grid", False, 1),
    ("grid, simulated, moved anywhere", "grid", True, 1),
)


def main() -> None:
    """Print a row per case, and what was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--edits", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--case", type=int, action="append", help="Number of a case, from 0.")
    asked = parser.parse_args()
    print(machine())
    print(f"{asked.edits:,} edits, seed {asked.seed}\n")
    kinds = [*SHARES, "none"]
    print(f"| scan | {' | '.join(kinds)} | hotspots | right | wrong | waivers wrong |")
    print(f"|{'---|' * (len(kinds) + 5)}")
    for number in asked.case or range(len(CASES)):
        name, mode, confirm, step_nm = CASES[number]
        with TemporaryDirectory() as scratch:
            folder = Path(asked.work or scratch) / str(number)
            found = run_case(folder, asked.edits, mode, confirm, step_nm, asked.seed)
        right, wrong = found.right.total(), found.wrong.total()
        places = " | ".join(str(found.places[kind]) for kind in kinds)
        told = " | ".join(map(list_counts, (found.wrong, found.waived)))
        share = right / max(right + wrong, 1)
        print(f"| {name} | {places} | {right + wrong} | {100 * share:.2f} % | {told} |", flush=True)


def list_counts(counts: Counter[str]) -> str:
    return ", ".join(f"{what} {times}" for what, times in sorted(counts.items())) or "0"


if __name__ == "__main__":
    main()
