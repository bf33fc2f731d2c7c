"""How few classes the hotspots of a scan make, at one and two windows, and what that costs.

python -m benchmarks.findings.classes RUN [--generated N]

Every hotspot is compared with its representative on the grid of all their edges, equal pairs once:
by another way than the one that grouped them. Of a run with ``--confirm``, also how far the
simulated margins of a class spread. N hotspots of known kinds, their edges moved within the
tolerance, are generated and grouped as well.
"""

from __future__ import annotations

import argparse
import itertools
import resource
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.machine import machine
from pipeline.engine.storage.run_directory import Run
from pipeline.passes.job import load_model_process
from pipeline.report.classify import make_rules
from pipeline.report.run_view import RunView, open_view
from stages.cells import find_owners
from stages.classes.classify import Classes, Rules, Spots, classify
from stages.classes.cover import Tolerance
from stages.classes.patterns import turn_rects
from stages.classes.windows import read_window
from stages.contracts import Int64s, PackedLayer
from stages.geometry.union import merge
from stages.layout.pack import NO_PLACEMENTS, LayerBuilder

LARGEST = 20
KINDS = [
    np.array([[-1000, -low, -gap // 2, low], [gap // 2, -high, 1000, high]])
    for gap in (140, 180)
    for low, high in itertools.combinations_with_replacement((70, 110, 150, 190, 1000), 2)
]
"""Two shapes beside a gap: ends of wires, or sides of wide ones; two differ by at least 20 nm."""
PITCH, OFF, MOVED = 8000, 300, 0.1
"""Distance between generated hotspots and how far they lie from the middle of their clips, in dbu,
and the share of edges that are moved by 5 dbu."""

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Checked:
    """What comparing every hotspot with its representative found."""

    mismatches: int
    """Hotspots that are further off than is said, or than is allowed."""
    compared: int
    """Different pairs among them."""


def gather_spots(view: RunView) -> Spots:
    """Return the hotspots as if they were not simulated."""
    x, y = (np.array([getattr(s, n) for s in view.hotspots], np.int64) for n in ("x_dbu", "y_dbu"))
    return Spots(x, y, np.zeros(len(x), bool))


def check_members(layers: Sequence[PackedLayer], classes: Classes, tolerance: Tolerance) -> Checked:
    """Compare the layout around every hotspot with that around its representative."""
    known: dict[tuple[bytes, bytes, int], bool] = {}
    read: dict[tuple[int, int], list[Int64s]] = {}
    wrong = 0
    for at, number in enumerate(classes.number.tolist()):
        first, turn = int(classes.representative[number]), int(classes.turn[at])
        if (first, turn) not in read:
            read[first, turn] = _read_as(layers, classes, tolerance, first, turn)
        one, other = read[first, turn], _read_as(layers, classes, tolerance, at, 0)
        other = [rects + np.tile(classes.move[at], 2) for rects in other]
        distance = int(classes.distance[at])
        key = _join(one), _join(other), distance
        if key not in known:
            known[key] = distance <= tolerance.edge and all(
                is_within(p, q, distance, tolerance) for p, q in zip(one, other, strict=True)
            )
        wrong += not known[key]
    return Checked(wrong, len(known))


def _read_as(
    layers: Sequence[PackedLayer], classes: Classes, tolerance: Tolerance, at: int, turn: int
) -> list[Int64s]:
    """Return the geometry around a hotspot, turned to its pattern and then again."""
    place = int(classes.place[at, 0]), int(classes.place[at, 1])
    return [
        merge(turn_rects(turn_rects(rects, int(classes.symmetry[at])), turn))
        for rects in read_window(layers, place, tolerance.reach, tolerance.step)
    ]


def _join(parts: Sequence[Int64s]) -> bytes:
    return b"|".join(rects.tobytes() for rects in parts)


def is_within(p: Int64s, q: Int64s, distance: int, tolerance: Tolerance) -> bool:
    """Return whether each region, and what it leaves free, lies in the other one grown."""
    inner, side = tolerance.half, tolerance.half + tolerance.edge
    return all(
        _is_covered(a, b + np.array([-distance, -distance, distance, distance]), inner)
        for one, other in ((p, q), (_invert(p, side), _invert(q, side)))
        for a, b in ((one, other), (other, one))
    )


def _is_covered(a: Int64s, b: Int64s, half: int) -> bool:
    """Return whether the rectangles of `b` cover those of `a` within a window."""
    xs, ys = _list_cuts(np.concatenate((a, b)), half)
    return not (_fill(a, xs, ys) & ~_fill(b, xs, ys)).any()


def _invert(rects: Int64s, half: int) -> Int64s:
    """Return the rectangles of a window that are free."""
    xs, ys = _list_cuts(rects, half)
    row, column = np.nonzero(~_fill(rects, xs, ys))
    return np.stack((xs[column], ys[row], xs[column + 1], ys[row + 1]), axis=1)


def _list_cuts(rects: Int64s, half: int) -> tuple[Int64s, Int64s]:
    """Return the coordinates of all edges in a window, and its own."""
    x, y = (
        np.unique(np.clip(np.concatenate((rects[:, axis::2].ravel(), [-half, half])), -half, half))
        for axis in (0, 1)
    )
    return x, y


def _fill(rects: Int64s, xs: Int64s, ys: Int64s) -> Bools:
    """Return which cells of a grid rectangles cover, (rows, columns)."""
    across = (rects[:, :1] <= xs[:-1]) & (rects[:, 2:3] >= xs[1:])
    along = (rects[:, 1:2] <= ys[:-1]) & (rects[:, 3:] >= ys[1:])
    filled: Bools = along.T.astype(np.int64) @ across.astype(np.int64) > 0
    return filled


def print_spread(view: RunView, grouped: Mapping[str, Int64s]) -> None:
    """Print how far the simulated margins of the members of a class spread, and of ten classes.

    Parameters
    ----------
    grouped
        The class of each hotspot, from 0, by how they were grouped; the last are those of the scan.
    """
    verdicts = view.verdicts or {}
    found = [verdicts.get(spot.id) for spot in view.hotspots]
    margin = np.array([np.nan if each is None else each.margin for each in found], np.float64)
    known = ~np.isnan(margin)
    print(f"\n{known.sum():,} simulated, {(margin[known] > 0).mean():.1%} fail; margins spread by "
          f"{margin[known].std():.3f} (standard deviation)\n")  # fmt: skip
    print("| grouped by | classes | spread within a class | in classes that fail and print |")
    print("|---|--:|--:|--:|")
    for way, numbers in grouped.items():
        number, values = numbers[known], margin[known]
        count = np.bincount(number)
        mean = np.bincount(number, values) / np.maximum(count, 1)
        within = np.sqrt(((values - mean[number]) ** 2).sum() / (len(values) - (count > 0).sum()))
        fails = np.bincount(number, values > 0) / np.maximum(count, 1)
        mixed = ((fails > 0) & (fails < 1))[number]
        print(f"| {way} | {(count > 0).sum()} | {within:.3f} | {mixed.mean():.1%} |")
    print("\n| class | hotspots | fail | margin: least | 5 % | median | 95 % | most |")
    print("|--:|--:|--:|--:|--:|--:|--:|--:|")
    numbers = [*grouped.values()][-1]
    for each in range(min(10, int(numbers.max()) + 1)):
        values = margin[known & (numbers == each)]
        if len(values):
            ends = np.quantile(values, (0, 0.05, 0.5, 0.95, 1))
            told = " | ".join(f"{end:.3f}" for end in ends)
            print(f"| {each + 1} | {len(values):,} | {(values > 0).mean():.0%} | {told} |")


def generate(count: int) -> tuple[PackedLayer, Spots, Int64s]:
    """Return a layout with hotspots of known kinds, turned and with edges moved, and the kinds."""
    random = np.random.default_rng(0)
    kind = random.integers(0, len(KINDS), count)
    moved = 5 * random.integers(-1, 2, (count, 2, 4)) * (random.random((count, 2, 4)) < MOVED)
    shapes, turn = np.array(KINDS)[kind] + moved, random.integers(0, 8, count)
    for each in range(8):
        rows = turn == each
        shapes[rows] = turn_rects(shapes[rows].reshape(-1, 4), each).reshape(-1, 2, 4)
    side = int(np.ceil(np.sqrt(count)))
    at = PITCH * np.stack((np.arange(count) % side, np.arange(count) // side), axis=1)
    builder = LayerBuilder()
    rects = (shapes + np.tile(at, 2)[:, None]).reshape(-1, 4)
    builder.add_cell("top", rects, [], NO_PLACEMENTS)
    x, y = (at + random.integers(-OFF, OFF + 1, (count, 2))).T
    return builder.build(), Spots(x, y, np.zeros(count, bool)), kind


def print_generated(count: int, rules: Rules) -> None:
    """Group generated hotspots; print time, memory, and whether the kinds come back."""
    layer, spots, kind = generate(count)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    classes, wall, spent = measure(partial(classify, [layer], spots, rules))
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    pairs = np.unique(np.stack((classes.number, kind)), axis=1)
    mixed = np.flatnonzero(np.bincount(pairs[0]) > 1)
    print(
        f"\n{count:,} generated hotspots of {len(KINDS)} kinds, {classes.pattern.max() + 1:,} "
        f"different surroundings: {classes.number.max() + 1} classes, {len(mixed)} of them of "
        f"several kinds; {wall:.0f} s, {spent:.0f} CPU s, {(after - before) / 1024:,.0f} MB more "
        "than layout and hotspots"
    )


def measure(work: Callable[[], Classes]) -> tuple[Classes, float, float]:
    """Return what some work returns, its seconds, and its CPU seconds."""
    started, wall = time.process_time(), time.perf_counter()
    return work(), time.perf_counter() - wall, time.process_time() - started


def print_classes(view: RunView, spots: Spots, rules: Rules) -> list[tuple[str, Classes]]:
    """Group the hotspots at one and two windows, check them, and print a row for each."""
    layers, dbu_nm = view.layout.packed, view.layout.dbu_nm
    few = replace(spots, **{name: getattr(spots, name)[:9] for name in Spots.__slots__})
    classify(layers, few, rules)  # compiled
    heads = ("window, nm", "surroundings", "classes", f"in the {LARGEST} largest", "furthest, nm",
             "pairs compared", "mismatches", "s", "CPU s")  # fmt: skip
    print("|", " | ".join(heads), "|\n|" + "--:|" * len(heads))
    named = []
    for factor in (1, 2):
        wider = replace(rules.tolerance, half=factor * rules.tolerance.half)
        work = partial(classify, layers, spots, replace(rules, tolerance=wider))
        classes, wall, spent = measure(work)
        sizes, furthest = np.bincount(classes.number), classes.distance.max(initial=0) / 2
        checked = check_members(layers, classes, wider)
        window = f"{wider.half * dbu_nm:.0f}"
        print(
            f"| {window} | {classes.pattern.max() + 1} | {len(sizes)} "
            f"| {sizes[:LARGEST].sum() / len(spots):.1%} | {furthest * dbu_nm:g} "
            f"| {checked.compared} | {checked.mismatches} | {wall:.1f} | {spent:.1f} |", flush=True,
        )  # fmt: skip
        named.append((window, classes))
    return named


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--generated", type=int, default=0, help="how many to generate")
    given = parser.parse_args()
    view = open_view(Run(given.run))
    spots, process = gather_spots(view), load_model_process(view.model)
    rules = make_rules(view.config.classes, process, view.job, view.layout.dbu_nm)
    named = print_classes(view, spots, rules)
    place = named[0][1].place // 2
    started = time.process_time()
    list(find_owners(view.layout, np.concatenate((place - 213, place + 213), axis=1)))
    spent = time.process_time() - started
    print(f"\n{len(spots):,} hotspots; naming their cells took {spent:.1f} CPU s; {machine()}")
    if view.verdicts:
        grouped = {f"the tightest place, {nm} nm": each.number for nm, each in named}
        ids = [view.findings[spot.id].class_id for spot in view.hotspots]
        print_spread(view, grouped | {"the worst defect, as the scan does": np.array(ids) - 1})
    if given.generated:
        print_generated(given.generated, rules)


if __name__ == "__main__":
    main()
