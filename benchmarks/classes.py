"""How few classes the hotspots of a scan make, at one and two windows, and what that costs.

python -m benchmarks.classes RUN

Whether each hotspot matches its representative is checked by pictures with a pixel per half dbu.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.ndimage import maximum_filter

from benchmarks.machine import machine
from pipeline.engine.run_directory import Run
from pipeline.passes.job import load_model_process
from pipeline.report.classify import make_rules
from pipeline.report.run_view import RunView, open_view
from stages.cells import find_owners
from stages.classes.classify import Classes, Spots, classify, read_window
from stages.classes.cover import Tolerance
from stages.classes.patterns import turn_rects
from stages.contracts import Int64s, PackedLayer


def gather_spots(view: RunView) -> Spots:
    """Return the hotspots as if they were not simulated."""
    x, y = (np.array([getattr(s, n) for s in view.hotspots], np.int64) for n in ("x_dbu", "y_dbu"))
    return Spots(x, y, np.zeros(len(x), bool))


def count_mismatches(layers: Sequence[PackedLayer], classes: Classes, tolerance: Tolerance) -> int:
    """Return how many hotspots are not as far from their representative as is said."""

    def draw(at: int, turn: int, move: Int64s) -> list[npt.NDArray[np.bool_]]:
        place = int(classes.place[at, 0]), int(classes.place[at, 1])
        found = []
        for rects in read_window(layers, place, tolerance.reach, tolerance.step):
            turned = turn_rects(turn_rects(rects, int(classes.symmetry[at])), turn)
            side = tolerance.half + tolerance.edge
            picture = np.zeros((2 * side, 2 * side), bool)
            for x0, y0, x1, y1 in np.clip(turned + np.tile(move, 2) + side, 0, 2 * side).tolist():
                picture[y0:y1, x0:x1] = True
            found.append(picture)
        return found

    wrong = 0
    for at in range(len(classes.number)):
        first = int(classes.representative[classes.number[at]])
        one = draw(first, int(classes.turn[at]), np.zeros(2, np.int64))
        other = draw(at, 0, classes.move[at])
        distance = int(classes.distance[at])
        wrong += distance > tolerance.edge or not all(
            is_within(p, q, distance, tolerance) for p, q in zip(one, other, strict=True)
        )
    return wrong


def is_within(
    p: npt.NDArray[np.bool_], q: npt.NDArray[np.bool_], distance: int, tolerance: Tolerance
) -> bool:
    """Return whether each picture, and what it leaves free, lies in the other one grown."""
    inner = slice(tolerance.edge, tolerance.edge + 2 * tolerance.half)
    return all(
        bool((maximum_filter(b, 2 * distance + 1)[inner, inner] >= a[inner, inner]).all())
        for one, other in ((p, q), (~p, ~q))
        for a, b in ((one, other), (other, one))
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    view = open_view(Run(parser.parse_args().run))
    spots, layers = gather_spots(view), view.layout.packed
    process = load_model_process(view.model)
    rules = make_rules(view.config.classes, process, view.job, view.layout.dbu_nm)
    classify(layers, replace(spots, **{n: getattr(spots, n)[:9] for n in Spots.__slots__}), rules)
    print("| window, nm | surroundings | classes | in the 20 largest | mismatches | CPU s |")
    print("|--:|--:|--:|--:|--:|--:|")
    for factor in (1, 2):
        wider = replace(rules.tolerance, half=factor * rules.tolerance.half)
        started = time.process_time()
        classes = classify(layers, spots, replace(rules, tolerance=wider))
        spent = time.process_time() - started
        sizes = np.bincount(classes.number)
        wrong = count_mismatches(layers, classes, wider)
        print(
            f"| {wider.half * view.layout.dbu_nm:.0f} | {classes.pattern.max() + 1} "
            f"| {len(sizes)} | {sizes[:20].sum() / len(spots):.1%} | {wrong} | {spent:.1f} |"
        )
    started = time.process_time()
    place = classes.place // 2
    find_owners(view.layout, np.concatenate((place - 213, place + 213), axis=1))
    spent = time.process_time() - started
    print(f"\n{len(spots)} hotspots; naming their cells took {spent:.1f} CPU s; {machine()}")


if __name__ == "__main__":
    main()
