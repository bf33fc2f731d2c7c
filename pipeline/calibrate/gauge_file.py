"""The file of gauges: what was measured, where, and at which dose and focus.

in       a CSV file; for gauges at places, the layout
out      `Gauge` rows; the sections of masks that they measure
unit     nm, places in um
promise  a value that is missing, unknown or out of range is refused by line and column
"""

from __future__ import annotations

import csv
import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.simulate.tiles import read_target
from stages.contracts import Box, Floats, PackedLayout
from stages.errors import UsageError
from stages.lithography.calibration.patterns import Pattern, draw_pattern, parse_pattern
from stages.lithography.calibration.sections import Direction, Section, find_section
from stages.lithography.process import Process

COLUMNS = (
    "pattern", "x_um", "y_um", "direction", "drawn_nm", "measured_nm", "sigma_nm", "dose",
    "focus_nm", "note",
)  # fmt: skip
_NEEDED = ("direction", "drawn_nm", "measured_nm", "sigma_nm")
_MOST_ROWS = 100_000
_OFF_NM = 1.0
"""How far a drawn size may be from what is drawn there."""
_LARGEST = 6.0
"""Largest drawn size, in wavelength / NA: light knows no difference beyond."""
_SMALLEST = 0.05
"""Smallest size in a pattern, in wavelength / NA."""


@dataclass(frozen=True, slots=True)
class Gauge:
    """One measurement."""

    line: int
    """Of the file."""
    pattern: Pattern | None
    """None for a place in the layout."""
    place_um: tuple[float, float] | None
    direction: Direction
    drawn_nm: float
    measured_nm: float
    sigma_nm: float
    dose: float
    focus_nm: float

    @property
    def name(self) -> str:
        """What is measured, whatever the exposure."""
        if self.pattern is not None:
            return str(self.pattern)
        assert self.place_um is not None  # a gauge has one of the two
        return "{:g}, {:g} um".format(*self.place_um)


def read_gauges(path: Path) -> tuple[list[Gauge], int]:
    """Return the measurements of a file, and how many rows are not measured yet.

    Raises
    ------
    UsageError
        When the file, or a row of it, cannot be used.
    """
    found, blank = [], 0
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, strict=True)
            _check_columns(path, reader.fieldnames or ())
            for row in reader:
                if None in row:
                    raise UsageError(f"{path}, line {reader.line_num}: more values than columns")
                cells = {name: (value or "").strip() for name, value in row.items()}
                if not any(cells.values()):
                    continue
                if not cells["measured_nm"]:
                    blank += 1
                    continue
                found.append(_Cells(f"{path}, line {reader.line_num}", cells).read(reader.line_num))
                if len(found) > _MOST_ROWS:
                    raise UsageError(f"{path} has over {_MOST_ROWS:,} gauges; choose among them")
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is no CSV file in UTF-8: {error}") from error
    if not found:
        raise UsageError(f"{path} has no measurement: measured_nm is blank in all {blank} rows")
    return found, blank


def _check_columns(path: Path, names: Iterable[str]) -> None:
    seen = list(names)
    for name in seen:
        if name not in COLUMNS:
            close = difflib.get_close_matches(str(name), COLUMNS, n=1)
            advice = f"did you mean {close[0]}?" if close else f"known are {', '.join(COLUMNS)}"
            raise UsageError(f"{path} has an unknown column {name!r}; {advice}")
    if len(set(seen)) < len(seen):
        raise UsageError(f"{path} has a column twice: {', '.join(seen)}")
    if missing := [name for name in _NEEDED if name not in seen]:
        raise UsageError(f"{path} has no column {missing[0]}; needed are {', '.join(_NEEDED)}")
    if "pattern" not in seen and not {"x_um", "y_um"} <= set(seen):
        raise UsageError(f"{path} has neither a column pattern nor x_um and y_um; add one")


@dataclass(frozen=True, slots=True)
class _Cells:
    """The values of one row, as they are written."""

    where: str
    cells: Mapping[str, str]

    def read(self, line: int) -> Gauge:
        """Return the row's gauge."""
        pattern, place = self._read_pattern(), None
        if pattern is None:
            if not (self.cells.get("x_um") and self.cells.get("y_um")):
                raise UsageError(f"{self.where}: pattern is blank; give it, or x_um and y_um")
            place = self._read_number("x_um", -math.inf), self._read_number("y_um", -math.inf)
        direction = self.cells["direction"]
        if direction not in ("x", "y"):
            raise UsageError(f"{self.where}: direction is {direction!r}; allowed: x or y")
        return Gauge(
            line, pattern, place, "x" if direction == "x" else "y",
            self._read_number("drawn_nm", 0), self._read_number("measured_nm", 0),
            self._read_number("sigma_nm", 0), self._read_number("dose", 0, 1.0),
            self._read_number("focus_nm", -math.inf, 0.0),
        )  # fmt: skip

    def _read_pattern(self) -> Pattern | None:
        text = self.cells.get("pattern", "")
        try:
            return parse_pattern(text) if text else None
        except UsageError as error:
            raise UsageError(f"{self.where}: pattern {error}") from None

    def _read_number(self, name: str, over: float, default: float | None = None) -> float:
        text = self.cells.get(name, "")
        if not text and default is not None:
            return default
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not over < value < math.inf:
            allowed = "a number" if over == -math.inf else f"a number over {over:g}"
            raise UsageError(f"{self.where}: {name} is {text!r}; allowed: {allowed}")
        return value


def find_sections(
    gauges: Iterable[Gauge], side_nm: float, process: Process, layout: PackedLayout | None
) -> tuple[list[Section], list[int]]:
    """Return the different sections that gauges measure, and which of them each does.

    Raises
    ------
    UsageError
        When a gauge's drawn size is not what is drawn there, or cannot be measured.
    """
    sections: list[Section] = []
    seen: dict[tuple[str, str], int] = {}
    which = []
    for gauge in gauges:
        key = gauge.name, gauge.direction
        if key not in seen:
            seen[key] = len(sections)
            sections.append(_find_section(gauge, side_nm, process, layout))
        which.append(seen[key])
        drawn = sections[seen[key]].drawn_nm
        if abs(drawn - gauge.drawn_nm) > _OFF_NM:
            raise UsageError(
                f"line {gauge.line}: drawn_nm is {gauge.drawn_nm:g}, but {gauge.name} is "
                f"{drawn:g} nm along {gauge.direction}; correct one of the two"
            )
    return sections, which


def check_sizes(gauges: Iterable[Gauge], process: Process) -> None:
    """Refuse gauges that no field holds, or that light cannot resolve.

    Raises
    ------
    UsageError
    """
    unit_nm = process.wavelength_nm / process.na
    low, high = _SMALLEST * unit_nm, _LARGEST * unit_nm
    for gauge in gauges:
        sizes = gauge.pattern.sizes_nm if gauge.pattern else (gauge.drawn_nm,)
        for size in (*sizes, gauge.drawn_nm):
            if not low <= size <= high:
                raise UsageError(
                    f"line {gauge.line}: a size of {size:g} nm; {process.name} can be fitted to "
                    f"{low:.0f} to {high:.0f} nm"
                )


def _find_section(
    gauge: Gauge, side_nm: float, process: Process, layout: PackedLayout | None
) -> Section:
    if gauge.pattern is not None:
        rects = draw_pattern(gauge.pattern, side_nm / 2) + side_nm / 2
        along = rects if gauge.direction == "x" else rects[:, [1, 0, 3, 2]]
    elif layout is None:
        raise UsageError(
            f"line {gauge.line} is a place in a layout; give its file and layer (--layout, --layer)"
        )
    else:
        along = _read_place(gauge, side_nm, process, layout)
    try:
        return find_section(along, side_nm, gauge.direction)
    except UsageError as error:
        raise UsageError(f"line {gauge.line}: {error}") from None


def _read_place(gauge: Gauge, side_nm: float, process: Process, layout: PackedLayout) -> Floats:
    """Return the shapes around a place, (r, 4) in nm from the field's corner."""
    assert gauge.place_um is not None
    dbu_nm = layout.dbu_nm
    corner = [value * 1000 - side_nm / 2 for value in gauge.place_um]
    ends = [corner[0], corner[1], corner[0] + side_nm, corner[1] + side_nm]
    low, high = np.floor(np.array(ends[:2]) / dbu_nm), np.ceil(np.array(ends[2:]) / dbu_nm)
    window = Box(*(int(value) for value in (*low, *high)))
    rects = read_target(layout.packed[0], window, dbu_nm, process) * dbu_nm
    local: Floats = np.clip(rects - np.array(corner * 2), 0, side_nm)
    return local
