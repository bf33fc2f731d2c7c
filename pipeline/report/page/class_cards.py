"""The classes of hotspots as the report page shows them.

in       a run
out      `ClassCard` values: representative, spread of the members' edges, cells, hotspots
unit     a class
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from pipeline.report.classify import make_rules
from pipeline.report.fix_table import NOT_FIXED, FixRow
from pipeline.report.run_view import RunView
from stages.cells import count_cells
from stages.classes.cover import Tolerance
from stages.classes.patterns import turn_rects
from stages.classes.windows import read_window
from stages.contracts import Box, Int64s
from stages.exports.pages.class_card import ClassCard
from stages.findings import CellCount, Finding, HotspotClass, Owner
from stages.geometry.symmetry import invert_symmetry
from stages.lithography.process import Process
from stages.rows import PART, list_values, read_by_id, read_field

_MOST_OUTLINES = 24
"""Distinct patterns whose edges are drawn, those moved furthest."""
_MOST_LISTED = 20
"""Hotspots listed on the card of their class."""
_MOST_CELLS = 3


def gather_class_cards(view: RunView, process: Process) -> tuple[ClassCard, ...]:
    """Return the cards of the largest classes."""
    tolerance = make_rules(view.config.classes, process, view.job, view.layout.dbu_nm).tolerance
    shown = view.classes[: view.config.report.top]
    ids = np.asarray(read_field(view.order, "id"), np.int64)
    class_of = view.findings.rows.get_column("class_id")[ids - 1]
    return tuple(_make_card(view, row, ids[class_of == row.id], tolerance) for row in shown)


def gather_cells(view: RunView) -> list[CellCount]:
    """Return the cells at fault, those of most hotspots first."""
    parts = view.findings.rows.table.select(["cell_kind", "cell", "cell_path"]).to_batches(PART)
    rows = (row for part in parts for row in zip(*map(list_values, part.columns), strict=True))
    return count_cells(view.layout, (Owner(*row) for row in rows))


def _make_card(view: RunView, row: HotspotClass, ids: Int64s, tolerance: Tolerance) -> ClassCard:
    first, fixes, spots = view.findings[row.representative], view.fixes or {}, ids.tolist()
    told = read_by_id(view.findings, ids)
    cells = Counter(zip(*(list_values(told[name]) for name in ("cell_kind", "cell")), strict=True))
    _, distinct = np.unique(told["surroundings"].to_numpy(), return_index=True)
    drawn = _choose_drawn([view.findings[spots[at]] for at in distinct.tolist()], first)
    outlines = [_draw_as(view, each, first, tolerance) for each in drawn]
    layers = list(zip(*outlines, strict=True))  # by layer, then pattern
    half = tolerance.half
    return ClassCard(
        row=row,
        review=view.class_reviews[row.id],
        window=Box(-half, -half, half, half),
        drawn=[each[0] for each in layers],
        spread=[
            shapely.difference(shapely.union_all(each), shapely.intersection_all(each))
            for each in layers
        ],
        feature=first.feature,
        measured_nm=first.measured_dbu * view.layout.dbu_nm,
        moved_nm=None if row.moved_dbu is None else row.moved_dbu * view.layout.dbu_nm,
        cells=sorted(cells.items(), key=lambda item: (-item[1], item[0]))[:_MOST_CELLS],
        listed=[
            (view.hotspots[number - 1], view.findings[number]) for number in spots[:_MOST_LISTED]
        ],
        fix=_describe_fix([fixes[number] for number in spots if number in fixes]),
    )


def _describe_fix(rows: Sequence[FixRow]) -> str:
    """Say what mends a class, or why nothing does; empty where nothing was searched."""
    fixed = [row for row in rows if row.scope != NOT_FIXED]
    if not fixed:
        return f"none: {rows[0].reason}" if rows else ""
    moves = Counter(row.moves for row in fixed).most_common(1)[0][0]
    return f"{moves} ({len(fixed):,} of {len(rows):,} mended)"


def _choose_drawn(by_pattern: Sequence[Finding], first: Finding) -> list[Finding]:
    """Return the representative, and one hotspot of each pattern, the furthest moved first."""
    away = sorted(
        (row for row in by_pattern if row.surroundings != first.surroundings),
        key=lambda row: (-(row.moved_dbu or row.differs or 0), row.id),
    )
    return [first, *away[:_MOST_OUTLINES]]


def _draw_as(
    view: RunView, row: Finding, first: Finding, tolerance: Tolerance
) -> list[BaseGeometry]:
    """Return the geometry around a hotspot's place, by layer, as the representative's lies."""
    place = round(2 * row.place_x_dbu), round(2 * row.place_y_dbu)
    move = round(2 * row.move_x_dbu), round(2 * row.move_y_dbu)
    window = shapely.box(*(-tolerance.half,) * 2, *(tolerance.half,) * 2)
    drawn = []
    for rects in read_window(view.layout.packed, place, tolerance.reach, tolerance.step):
        rects = turn_rects(rects, row.symmetry) + np.array(move * 2)
        rects = turn_rects(rects, invert_symmetry(row.turn))
        rects = turn_rects(rects, invert_symmetry(first.symmetry))
        drawn.append(shapely.intersection(shapely.union_all(shapely.box(*rects.T)), window))
    return drawn
