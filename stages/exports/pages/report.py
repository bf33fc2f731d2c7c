"""Report: one offline HTML page with the hotspots, the regions not scanned, and what is known.

in       `ReportData`, plain values that the run gathered
out      the page, as text
unit     a whole scan
promise  the page needs no network and no script; an incomplete scan never looks complete; a
         capped list says so; a rate that was measured elsewhere is never given as this layout's;
         however much there is, it has at most `MOST_BYTES`
"""

from __future__ import annotations

import math
import shlex
from typing import Any

import numpy as np

from stages.contracts import Float32s, Hotspot, RasterSpec
from stages.exports.pages.charts import draw_histogram, draw_map
from stages.exports.pages.environment import make_environment
from stages.exports.pages.formats import (
    format_area,
    format_percent,
    format_seconds,
    format_um,
    round_down,
)
from stages.exports.pages.kinds import count_kinds
from stages.exports.pages.pictures import (
    draw_within,
    encode_png,
    locate_evidence,
    name_colour,
    to_picture,
)
from stages.exports.pages.report_data import MANY, KnownHotspot, ReportData
from stages.rows import read_field, share_by_id

MOST_BYTES = 2_000_000
"""Every list of the templates has its share of this (``fit``), every text and drawing a limit."""
_REGIONS = 12
_DARKEST = 0.3
"""Opacity of the strongest evidence: the shapes and the defect under it stay visible."""
_SHADED = 0.3
"""Places are shaded whose evidence is over this share of the strongest."""


def render_report(data: ReportData) -> str:
    """Return the page as HTML.

    Everything it needs is inside: style, drawings as SVG, clips as PNG. Lengths are in um.
    """
    environment = make_environment({
        "percent": format_percent,
        "um": lambda value_dbu: format_um(value_dbu, data.dbu_nm),
        "seconds": format_seconds,
    })  # fmt: skip
    return environment.get_template("report.html").render(
        data=data,
        cards=(_make_card(spot, data) for spot in data.ordered[: data.shown]),
        kinds=() if data.verdicts is None else count_kinds(data.hotspots, data.verdicts),
        level_by=_list_judges(data),
        sampled_by_rule=bool((read_field(data.hotspots, "rule") != "grid").any()),
        colours=[name_colour(index) for index in range(len(data.layers))],
        regions=data.not_scanned[:_REGIONS],
        map=draw_map(data),
        histogram=draw_histogram(data),
        area=format_area(data.area_covered_um2),
        klayout=f"klayout -e {shlex.quote(data.layout)} -m hotspots.lyrdb.gz",
        overlay=_draw_overlay(data.raster),
        many=MANY,
    )


def _list_judges(data: ReportData) -> list[str]:
    """Return what the levels of the hotspots are by, each once."""
    few, which = share_by_id(data.reviews, np.array(list(data.reviews), np.int64))
    return sorted({few[at].level_by for at in np.unique(which).tolist()})


def _make_card(spot: Hotspot, data: ReportData) -> dict[str, Any]:
    picture, known = data.pictures.get(spot.id), data.known.get(spot.id)
    x, y = format_um(spot.x_dbu, data.dbu_nm), format_um(spot.y_dbu, data.dbu_nm)
    return {
        "spot": spot,
        "picture": None if picture is None else encode_png(picture),
        "occurrences": data.occurrences.get(spot.pattern),
        # What KLayout's "Goto Position" (Ctrl+G) takes: x, y and the side of the window, in um.
        "goto": f"{x},{y},{data.raster.clip_nm / 1000:g}",
        "evidence": _shade_evidence(data.evidence.get(spot.id), data.raster.clip_px),
        "known": known and _describe_known(known),
        "likely": _locate_defect(spot, data),
        **_draw_print(spot, data),
    }


def _describe_known(known: KnownHotspot) -> dict[str, Any]:
    """Return a known hotspot on a card, shaded where it is like the one of the scan."""
    more = None if known.alike is None else known.alike - known.alike.min()
    side = known.picture.shape[1]
    return {
        "picture": encode_png(known.picture), "distance": known.distance, "side": side,
        "alike": _shade_evidence(more, side),
    }  # fmt: skip


def _locate_defect(spot: Hotspot, data: ReportData) -> dict[str, Any] | None:
    """Return where in the core the hotspot is most likely: in pixels of the picture, and in dbu."""
    adds, raster = data.evidence.get(spot.id), data.raster
    found = None if adds is None else locate_evidence(adds, raster.clip_px, raster.core_px)
    if found is None:
        return None
    pixel = raster.pixel_dbu(data.dbu_nm)
    x_dbu, y_dbu = spot.x_dbu + round(found[0] * pixel), spot.y_dbu + round(found[1] * pixel)
    at = to_picture(x_dbu, y_dbu, spot.core(raster.clip_px * pixel), raster.clip_px)
    return {"x": at[0], "y": at[1], "x_dbu": x_dbu, "y_dbu": y_dbu}


def _shade_evidence(adds: Float32s | None, side: float) -> list[dict[str, float]]:
    """Return the places of the strongest evidence, in pixels of the picture, shaded by it."""
    if adds is None or adds.max() <= 0:
        return []
    rows, columns = np.nonzero(adds > _SHADED * adds.max())
    wide, high = side / adds.shape[1], side / adds.shape[0]
    return [
        {"x": column * wide, "y": side - (row + 1) * high, "w": wide, "h": high,
         "shade": round(_DARKEST * float(adds[row, column] / adds.max()), 2)}
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True)
    ]  # fmt: skip


def _draw_print(spot: Hotspot, data: ReportData) -> dict[str, Any]:
    """Return the simulation on a card, in pixels of the picture."""
    verdict = None if data.verdicts is None else data.verdicts.get(spot.id)
    side = data.raster.clip_px
    window = spot.core(side * data.raster.pixel_dbu(data.dbu_nm))
    worst = verdict.worst if verdict else None
    at = to_picture(worst.x_dbu, worst.y_dbu, window, side) if worst else None
    # Of a hotspot of several clips, the worst defect may lie in the core of another one.
    inside = at is not None and all(0 <= along <= side for along in at)
    return {
        "verdict": verdict,
        # Sorts by severity, then hotspots that were not simulated, then those that print.
        "severity_rank": 2 if verdict and not worst else -worst.severity if worst else 1,
        "asked": data.to_simulate is None or spot.id in data.to_simulate,
        "contour": draw_within(data.contours.get(spot.id, ()), window, side),
        "defect_at": at if inside else None,
        "defect_beyond": _point_towards(at, side) if at and not inside else None,
    }


def _point_towards(at: tuple[float, float], side: float) -> dict[str, float]:
    """Return an arrow at the edge of a picture that points to a place outside it, in degrees."""
    x, y = (min(max(along, 0.03 * side), 0.97 * side) for along in at)
    angle = math.degrees(math.atan2(at[1] - y, at[0] - x))
    return {"x": round(x, 2), "y": round(y, 2), "angle": round(angle, 1)}


def _draw_overlay(raster: RasterSpec) -> dict[str, Any]:
    """Return the overlay of every picture, in pixels: the core, and a bar of a round length."""
    bar_nm = round_down(raster.clip_nm / 3)
    label = f"{bar_nm:g} nm" if bar_nm < 1000 else f"{bar_nm / 1000:g} µm"
    margin = (raster.clip_px - raster.core_px) / 2
    return {
        "side": raster.clip_px,
        "margin": margin,
        "core": raster.core_px,
        "bar": bar_nm / raster.pixel_nm,
        "label": label,
    }
