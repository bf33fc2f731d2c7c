"""The drawings of the report page: the chip map and the histogram of scores.

in       `ReportData`
out      plain values in units of the drawing, y downward, that the template puts into SVG
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from markupsafe import Markup

from stages.contracts import Box, Hotspot
from stages.exports.pages.formats import round_down
from stages.exports.pages.kinds import NOT_SIMULATED, PRINTS, name_kind
from stages.exports.pages.report_data import ReportData
from stages.rows import read_field

_SIDE = 1000.0
_DOTS = 500
_LARGE = 10
"""Dots drawn large: the first cards."""
_REGIONS = 500
_CELLS, _SHADES = 60, 8
_BINS = 20


def draw_histogram(data: ReportData) -> list[dict[str, float]]:
    """Return bars of the hotspots' scores from the threshold to 1: range, count, height 0 to 1."""
    if not data.hotspots:
        return []
    low = min(data.threshold, 0.99)
    scores = read_field(data.hotspots, "score")
    counts, edges = np.histogram(np.clip(scores, low, 1), _BINS, (low, 1.0))
    tallest = counts.max()
    return [
        {"low": edges[i], "high": edges[i + 1], "count": int(n), "height": float(n / tallest)}
        for i, n in enumerate(counts)
    ]


def draw_map(data: ReportData) -> dict[str, Any]:
    """Return the drawing of the extent, or of the requested region, its longer side 1000 units."""
    extent = _choose_shown(data)
    scale = _SIDE / max(extent.width, extent.height, 1)
    return {
        "width": extent.width * scale,
        "height": extent.height * scale,
        "shown": extent,
        "roi": data.roi and _place_box(data.roi.intersect(extent) or extent, extent, scale),
        "dots": [
            {
                "x": round((spot.x_dbu - extent.x_min) * scale, 2),
                "y": round((extent.y_max - spot.y_dbu) * scale, 2),
                "spot": spot,
                "large": index < min(_LARGE, data.shown),
                "result": _name_result(spot, data),
            }
            for index, spot in enumerate(data.ordered[:_DOTS])
        ],
        "large": min(_LARGE, data.shown),
        "density": _shade_cells(data, extent, scale) if len(data.hotspots) > _DOTS else [],
        "not_scanned": [
            _place_box(region.box, extent, scale, least=6.0)
            for region in data.not_scanned[:_REGIONS]
        ],
        "ticks_x": _place_ticks(extent.x_min, extent.width, data.dbu_nm),
        "ticks_y": _place_ticks(extent.y_min, extent.height, data.dbu_nm),
    }


def _choose_shown(data: ReportData) -> Box:
    if data.roi is None:
        return data.extent
    around = data.roi.grow(max(data.roi.width, data.roi.height) // 20)
    return around.intersect(data.extent) or data.extent


def _name_result(spot: Hotspot, data: ReportData) -> str:
    """Return the class that colours a dot; all are equal where nothing was to be simulated."""
    if data.verdicts is None:
        return "fails"
    kind = name_kind(data.verdicts.get(spot.id))
    return {PRINTS: "prints", NOT_SIMULATED: "unknown"}.get(kind, "fails")


def _place_box(box: Box, extent: Box, scale: float, least: float = 0.0) -> dict[str, float]:
    """Return a box in units of the drawing, each side at least `least`."""
    wide, high = max(box.width * scale, least), max(box.height * scale, least)
    middle_x = (box.x_min + box.x_max) / 2 - extent.x_min
    middle_y = extent.y_max - (box.y_min + box.y_max) / 2
    return {
        "x": round(middle_x * scale - wide / 2, 2),
        "y": round(middle_y * scale - high / 2, 2),
        "w": round(wide, 2),
        "h": round(high, 2),
    }


def _shade_cells(data: ReportData, extent: Box, scale: float) -> list[tuple[float, Markup]]:
    """Return the cells of a coarse grid that hold hotspots: a shade and the path of its cells.

    Shades go by the logarithm of how many hotspots a cell holds.
    """
    pitch = _SIDE / _CELLS
    x = (read_field(data.hotspots, "x_dbu") - extent.x_min) * scale // pitch
    y = (extent.y_max - read_field(data.hotspots, "y_dbu")) * scale // pitch
    cells, counts = np.unique(np.stack([x, y]), axis=1, return_counts=True)
    shade = np.ceil(_SHADES * np.log1p(counts) / np.log1p(counts.max()))
    return [
        (
            round(0.08 + 0.5 * step / _SHADES, 3),
            Markup("").join(
                f"M{cx * pitch:.4g} {cy * pitch:.4g}h{pitch:.4g}v{pitch:.4g}h-{pitch:.4g}z"
                for cx, cy in cells[:, shade == step].T
            ),
        )
        for step in range(1, _SHADES + 1)
        if (shade == step).any()
    ]  # fmt: skip


def _place_ticks(start_dbu: int, length_dbu: int, dbu_nm: float) -> list[dict[str, Any]]:
    """Return round positions in um along one side, each with its fraction of that side."""
    um = dbu_nm / 1000
    step = round_down(max(length_dbu * um, 1e-3) / 3)
    first, last = math.ceil(start_dbu * um / step), math.floor((start_dbu + length_dbu) * um / step)
    return [
        {"at": (n * step / um - start_dbu) / max(length_dbu, 1), "label": f"{n * step:g}"}
        for n in range(first, last + 1)
    ]
