"""The places where the hotspots of a run fail, with the keys of the geometry around them.

in       a `RunResults`
out      `Failures`, and the `Basis` that their keys are comparable on
unit     a whole scan
promise  nothing is stored: the keys are those of the packed layout and of the verdicts
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.config import ClassesConfig
from pipeline.engine.storage.tables import read_table
from pipeline.passes.job import load_model_process
from pipeline.report.classify import make_rules
from pipeline.report.run_results import RunResults
from pipeline.simulate.hot_clips import CLIPS, HOT_CLIPS
from stages.classes.classify import Rules, Spots
from stages.classes.failures import find_failing_places, sign_geometry
from stages.classes.moved import Flagged, find_moved
from stages.contracts import Hotspot, Int64s
from stages.findings import Failures
from stages.review.waivers import Basis

Item = tuple[int, int, int, str, float, bool]
"""Hotspot, x, y, of a defect its kind and severity (of a clip no kind, and 0), and whether it is
the worst defect, or best clip, of the hotspot."""


def find_failures(results: RunResults, only: Collection[int] | None = None) -> Failures:
    """Return where the hotspots fail; those that print in simulation have no rows.

    Parameters
    ----------
    only
        Ids of the hotspots that are asked for; all by default.
    """
    asked = [spot for spot in results.hotspots if only is None or spot.id in only]
    items = sorted(_list_defects(results, asked) + _list_clips(results, asked))
    owner = np.array([item[0] for item in items], np.int64)
    spots = Spots(
        np.array([item[1] for item in items], np.int64),
        np.array([item[2] for item in items], np.int64),
        np.array([bool(item[3]) for item in items], bool),
    )
    layers = results.layout.packed[: results.job.spec.layers]
    at, place = find_failing_places(layers, spots, _make_rules(results))
    return Failures(
        owner[at], place, sign_layout(results, place), [items[row][3] for row in at.tolist()],
        np.array([items[row][4] for row in at.tolist()], np.float64),
        np.array([items[row][5] for row in at.tolist()], bool),
    )  # fmt: skip


def sign_layout(results: RunResults, places: Int64s) -> list[str]:
    """Return the keys of the geometry of a run's layout around (n, 2) places, in half dbu."""
    layers = results.layout.packed[: results.job.spec.layers]
    different, row = np.unique(places, axis=0, return_inverse=True)
    keys = sign_geometry(layers, different, _make_rules(results))
    return [keys[at] for at in row.ravel().tolist()]


def find_moved_hotspots(
    first: tuple[RunResults, Failures],
    second: tuple[RunResults, Failures],
    gone: Collection[int],
    left: Collection[int],
    known: Mapping[int, int],
) -> dict[int, list[int]]:
    """Return which hotspots of a run were which of one before, see `find_moved`.

    Parameters
    ----------
    gone
        Ids in the first of those that do not fail any more.
    left
        Ids in the second that may be moved.
    known
        Other ids in the second to those of `gone` that they were.
    """
    before, after = _gather(*first, gone), _gather(*second, {*left, *known})
    return find_moved(before, after, gone, left, known, _make_rules(first[0]))


def _gather(results: RunResults, failures: Failures, asked: Collection[int]) -> Flagged:
    rows = {spot: rows for spot, rows in failures.list_hotspots() if spot in asked}
    table = read_table(results.run.path / HOT_CLIPS, CLIPS)
    clips = {spot.id: [(spot.x_dbu, spot.y_dbu)] for spot in results.hotspots if spot.id in asked}
    for spot, x, y in zip(
        *(table[name].to_pylist() for name in ("hotspot", "x_dbu", "y_dbu")), strict=True
    ):
        if spot in clips:
            clips[spot].append((x, y))
    return Flagged(
        results.layout.packed[: results.job.spec.layers],
        {spot: np.array(places, np.int64) for spot, places in clips.items()},
        {spot: failures.place[each.start : each.stop] for spot, each in rows.items()},
        {spot: failures.key[each.start : each.stop] for spot, each in rows.items()},
    )


def make_basis(results: RunResults) -> Basis:
    """Return what must be equal for keys to be comparable."""
    half = _make_rules(results).tolerance.half
    layers = results.config.layout.layers[: results.job.spec.layers]
    process = load_model_process(results.model).name
    return Basis(process, layers, results.layout.dbu_nm, half * results.layout.dbu_nm / 2)


def _make_rules(results: RunResults) -> Rules:
    """Return rules that do not depend on how hotspots are grouped, but on the radius."""
    config = ClassesConfig(radius_nm=results.config.classes.radius_nm)
    process = load_model_process(results.model)
    rules = make_rules(config, process, results.job, results.layout.dbu_nm)
    return replace(rules, tolerance=replace(rules.tolerance, move=0))


def _list_defects(results: RunResults, asked: Iterable[Hotspot]) -> list[Item]:
    """Return the defects of the hotspots that fail in simulation."""
    found = {} if results.simulated is None else results.simulated.defects
    return [
        (
            spot.id, defect.x_dbu, defect.y_dbu, defect.kind, defect.severity,
            defect.severity == max(each.severity for each in found[spot.id]),
        )
        for spot in asked
        for defect in found.get(spot.id, ())
    ]  # fmt: skip


def _list_clips(results: RunResults, asked: Iterable[Hotspot]) -> list[Item]:
    """Return the clips over the threshold of the hotspots that have no verdict."""
    # A hotspot that was not to be simulated has no clips in the list: its best one stands for it.
    verdicts = results.verdicts or {}
    best = {spot.id: (spot.x_dbu, spot.y_dbu) for spot in asked if spot.id not in verdicts}
    table = read_table(results.run.path / HOT_CLIPS, CLIPS)
    table = table.filter(pc.is_in(table["hotspot"], pa.array(best, pa.int64())))
    rows = zip(*(table[name].to_pylist() for name in ("hotspot", "x_dbu", "y_dbu")), strict=True)
    places = set(rows)
    places |= {(spot, x, y) for spot, (x, y) in best.items()}
    return [(spot, x, y, "", 0.0, best[spot] == (x, y)) for spot, x, y in places]
