"""The fixes of a run as the report page shows them.

in       a run whose fixes were searched
out      `FixSummary`: pictures of the largest classes before and after, and what is not fixed
unit     a class
promise  what would print after a fix is simulated at the corner where the hotspot failed
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
import shapely
from shapely.affinity import translate

from pipeline.report.fix_table import IN_CELL, NOT_FIXED, FixRow
from pipeline.report.run_view import RunView
from pipeline.simulate.tiles import read_target
from stages.contracts import Box, Defect, Int64s
from stages.exports.pages.fix_card import FixCard, FixPicture, FixSummary, NotFixed
from stages.fixes.moves import Rects
from stages.lithography.clip_window import draw_clip, make_window

_MOST_CARDS = 12
"""Classes that are drawn: what prints after the fix is simulated for each."""
_AROUND_NM = 200.0
_LEAST_NM = 700.0
"""What a picture shows around the change, and its least side."""


def gather_fixes(view: RunView) -> FixSummary | None:
    """Return what the page says of fixes; None where none were searched."""
    if view.fixes is None:
        return None
    by_class: dict[int, list[FixRow]] = defaultdict(list)
    for spot in view.order:
        if spot.id in view.fixes:
            row = view.fixes[spot.id]
            by_class[row.class_id].append(row)
    rows = [row for each in by_class.values() for row in each]
    fixed = [row for row in rows if row.scope != NOT_FIXED]
    mended = [each for _, each in sorted(by_class.items()) if any(row.scope for row in each)]
    drawn = mended[: min(_MOST_CARDS, view.config.report.top)]
    return FixSummary(
        fixed=len(fixed), failing=len(rows), classes=len(mended),
        cells=len({row.cell for row in fixed if row.scope == IN_CELL}),
        cards=[_make_card(view, each) for each in drawn],
        not_fixed=_count_reasons(rows),
    )  # fmt: skip


def _count_reasons(rows: Sequence[FixRow]) -> list[NotFixed]:
    hotspots = Counter(row.reason for row in rows if row.scope == NOT_FIXED)
    classes: Mapping[str, set[int]] = {
        reason: {row.class_id for row in rows if row.reason == reason} for reason in hotspots
    }
    return [
        NotFixed(reason, count, len(classes[reason]))
        for reason, count in sorted(hotspots.items(), key=lambda item: (-item[1], item[0]))
    ]


def _make_card(view: RunView, rows: Sequence[FixRow]) -> FixCard:
    """Return the card of a class, with the picture of its representative if that is fixed."""
    fixed = [row for row in rows if row.scope != NOT_FIXED]
    first = view.classes[rows[0].class_id - 1].representative
    row = next((row for row in fixed if row.hotspot == first), fixed[0])
    spot = view.hotspots[row.hotspot - 1]
    defect = view.worst(spot)
    assert defect is not None  # what does not fail is not fixed
    window = _choose_window(view, row, defect)
    before, after = _draw_both(view, row, window)
    shown = row.change.clip(window)
    printed = view.draw_print(spot, (defect.x_dbu, defect.y_dbu)).contours
    return FixCard(
        class_id=row.class_id, hotspot=row.hotspot, defect=defect, moves=row.moves.split("; "),
        cell=row.cell if row.scope == IN_CELL else "", placements=row.placements,
        fixed=len(fixed), failing=len(rows), window=window,
        before=FixPicture(before, _to_boxes(shown.removed), printed),
        after=FixPicture(after, _to_boxes(shown.added), _print_after(view, row, window, defect)),
    )  # fmt: skip


def _choose_window(view: RunView, row: FixRow, defect: Defect) -> Box:
    """Return the square around the defect and what is changed within half a core of it."""
    dbu_nm, x, y = view.layout.dbu_nm, defect.x_dbu, defect.y_dbu
    near = row.change.clip(Box(x, y, x, y).grow(view.confirmation.core_dbu // 2))
    corners = np.array([(x, y, x, y), *near.removed, *near.added])
    low, high = corners[:, :2].min(axis=0).tolist(), corners[:, 2:].max(axis=0).tolist()
    side = max(high[0] - low[0], high[1] - low[1]) + 2 * _AROUND_NM / dbu_nm
    half = round(max(side, _LEAST_NM / dbu_nm) / 2)
    x, y = (low[0] + high[0]) // 2, (low[1] + high[1]) // 2
    return Box(x - half, y - half, x + half, y + half)


def _draw_both(
    view: RunView, row: FixRow, window: Box
) -> tuple[list[shapely.Polygon], list[shapely.Polygon]]:
    process = view.confirmation.process
    drawn = read_target(view.layout.packed[0], window, view.layout.dbu_nm, process)
    frame = shapely.box(*window.as_tuple())
    before, after = (
        shapely.intersection(shapely.union_all(shapely.box(*rects.T)), frame)
        for rects in (drawn, row.change.apply_to(drawn))
    )
    return [before], [after]


def _to_boxes(rects: Rects) -> list[shapely.Polygon]:
    return [shapely.box(*rect) for rect in rects]


def _print_after(view: RunView, row: FixRow, shown: Box, defect: Defect) -> list[shapely.Polygon]:
    """Return what would print in the middle of a picture and around, simulated as clips are."""
    job = view.confirmation
    dbu_nm = view.layout.dbu_nm
    lattice = make_window(job.process, dbu_nm, job.core_dbu, job.opc)
    x, y = (low + (shown.width - lattice.side_dbu) // 2 for low in shown.as_tuple()[:2])
    window = Box(x, y, x + lattice.side_dbu, y + lattice.side_dbu)
    target: Int64s = read_target(view.layout.packed[0], window, dbu_nm, job.process)
    changed = row.change.apply_to(target) - np.array([x, y, x, y])
    corner = [each.name for each in job.process.corners].index(defect.corner)
    polygons = draw_clip(changed, lattice, dbu_nm, job.process, job.opc, corner)
    return [translate(each, x, y) for each in polygons]
