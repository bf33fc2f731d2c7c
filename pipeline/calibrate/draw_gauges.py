"""The layout of patterns to measure, and the file of gauges to fill in.

in       a process, a layer
out      ``gauges.gds`` and ``gauges.csv`` in a directory
promise  what is around each pattern is at least what the fit supposes
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.calibrate.gauge_file import COLUMNS
from pipeline.engine.storage.run_directory import write_library, write_whole
from stages.contracts import Layer
from stages.errors import UsageError
from stages.exports.markers import Drawing, build_drawing
from stages.lithography.calibration.gauges import make_gauge_field
from stages.lithography.calibration.patterns import Pattern, choose_patterns, draw_pattern
from stages.lithography.calibration.sections import Direction
from stages.lithography.correction.placement import choose_nominal
from stages.lithography.process import Process, load_process

_SIGMA_NM = 1.0
"""Standard error that the file begins with."""
_WINDOW_EVERY = 3
"""Of so many patterns, one is measured through dose and focus, too."""
_DOSES = (0.94, 1.06)
_FOCI = (-1.0, -0.5, 0.5, 1.0)
"""Of the largest defocus of the process window."""


@dataclass(frozen=True, slots=True)
class _Placed:
    pattern: Pattern
    direction: Direction
    x_nm: float
    y_nm: float


def draw_gauges(process_name: str, out: Path, layer: Layer) -> dict[str, object]:
    """Write the layout and the file to fill in; return counts and paths.

    Raises
    ------
    UsageError
        When files of these names are there already.
    """
    process = load_process(process_name)
    layout, table = out / "gauges.gds", out / "gauges.csv"
    for path in (layout, table):
        if path.exists():
            raise UsageError(f"{path} exists, perhaps with measurements; choose another directory")
    patterns = choose_patterns(process.min_width_nm, process.min_space_nm)
    field = make_gauge_field(process, max(pattern.drawn_nm for pattern in patterns))
    # Even numbers of nm, so that no half of a width falls between database units.
    pitch = 2 * math.ceil(field.side_nm)
    placed = list(_place(patterns, pitch))
    dbu_nm = 0.5

    def drawings() -> Iterator[Drawing]:
        for each in placed:
            rects = draw_pattern(each.pattern, math.ceil(field.side_nm / 2))
            rects = rects if each.direction == "x" else rects[:, [1, 0, 3, 2]]
            moved = (rects + np.array([each.x_nm, each.y_nm] * 2)) / dbu_nm
            yield Drawing(
                layer, np.rint(moved).astype(np.int64), f"{each.pattern} {each.direction}"
            )

    rows = list(_list_rows(placed, process))
    write_library(layout, build_drawing("gauges", dbu_nm, drawings()))
    write_whole(table, _format_rows(rows).encode())
    return {"patterns": len(placed), "rows": len(rows), "layout": str(layout), "table": str(table)}


def _place(patterns: list[Pattern], pitch_nm: float) -> Iterator[_Placed]:
    """Place every pattern along x, and every second one along y, in rows."""
    directions: tuple[Direction, Direction] = ("x", "y")
    wanted = [
        (pattern, direction)
        for step, direction in enumerate(directions, 1) for pattern in patterns[::step]
    ]  # fmt: skip
    columns = math.ceil(math.sqrt(len(wanted)))
    for n, (pattern, direction) in enumerate(wanted):
        yield _Placed(pattern, direction, n % columns * pitch_nm, n // columns * pitch_nm)


def _list_rows(placed: list[_Placed], process: Process) -> Iterator[tuple[object, ...]]:
    """Yield the rows to measure: all at nominal, some through dose and focus."""
    nominal = choose_nominal(process).defocus_nm
    deepest = max(abs(corner.defocus_nm - nominal) for corner in process.corners)
    window = [(dose, 0.0) for dose in _DOSES] + [(1.0, share * deepest) for share in _FOCI]
    for index, each in enumerate(placed):
        through = window if index % _WINDOW_EVERY == 0 else []
        for dose, focus_nm in [(1.0, 0.0), *dict.fromkeys(through)]:
            yield (
                each.pattern, each.x_nm / 1000, each.y_nm / 1000, each.direction,
                f"{each.pattern.drawn_nm:g}", "", f"{_SIGMA_NM:g}", f"{dose:g}", f"{focus_nm:g}",
                "",
            )  # fmt: skip


def _format_rows(rows: list[tuple[object, ...]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(rows)
    return text.getvalue()
