"""Report: one offline HTML page that says what was found, what was not scanned, and how surely.

In: `ReportData`, plain values that the run gathered. Out: the page, as text.
Unit of work: a whole scan.
Promise: the page needs no network and no script to be read, an incomplete scan never looks like
a complete one, and a capped list says that it is capped.
"""

from __future__ import annotations

import base64
import math
import shlex
import struct
import zlib
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from shapely import Polygon

from stages.contracts import Box, Bytes, Float32s, Hotspot, RasterSpec, Verdict
from stages.exports.pages.pictures import likeliest, place, polygons_path

_MAP_DOTS = 500
_MAP_REGIONS = 1000
_MAP_CELLS = 60
_MAP_SIZE = 1000.0
_GROUPS = 15
_REGIONS = 12
_BINS = 20
_WARM = 0.3
# Blue, ochre, green, plum: told apart by colour-blind readers, and visible on white and on black.
_LAYER_COLOURS = ((62, 124, 186), (217, 160, 40), (46, 150, 110), (168, 92, 160))


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What the page says of the network."""

    name: str
    digest: str
    process: str
    """Name of the process whose printing failures the network was trained on."""
    recall: float | None
    """Share of the hotspots that it finds at this threshold; None when that was not measured."""
    false_alarm_rate: float | None
    """Share of the other clips that it flags at this threshold; None when not measured."""
    measured_on: str
    """The clips that the two rates were measured on, in words."""


@dataclass(frozen=True, slots=True)
class NotScanned:
    """A region without a verdict."""

    box: Box
    why: str


@dataclass(frozen=True, slots=True)
class Alike:
    """A hotspot that the model learnt from."""

    picture: Bytes
    """(layer, row, column), rows upward, turned as patterns are."""
    distance: float
    """Of the features that the verdicts are drawn from: 0 where they are equal, 2 at most."""


@dataclass(frozen=True, slots=True)
class ReportData:
    """All that the page shows."""

    layout: str
    """Name of the layout file."""
    layout_digest: str
    top: str
    dbu_nm: float
    layers: tuple[str, ...]
    """Names of the layers, in the order of the pictures' channels."""
    extent: Box
    """Box of the chosen layers."""
    roi: Box | None
    """The part that was asked for; None for all of it."""
    raster: RasterSpec
    model: ModelCard
    sampling: str
    """How clips were chosen, in words."""
    threshold: float
    hotspots: tuple[Hotspot, ...]
    """By rank."""
    pictures: Mapping[int, Bytes]
    """Id of a hotspot to the raster of its clip as placed, (layer, row, column), rows upward."""
    occurrences: Mapping[int, int]
    """Index of a pattern to the number of clips in the scan that are that pattern."""
    clips: int
    patterns: int
    clips_not_scored: int
    complete: bool
    coverage_fraction: float
    """Area scanned, of the area asked for."""
    area_covered_um2: float
    not_scanned: tuple[NotScanned, ...]
    seconds: Mapping[str, float]
    """Stage to elapsed seconds, in the order of the flow."""
    config: str
    """The resolved configuration, as TOML."""
    version: str
    """Of hotscan."""
    finished: str
    """When the scan ended, in words."""
    warnings: tuple[str, ...] = ()
    shown: int = 30
    """Most hotspots to show with a picture."""
    verdicts: Mapping[int, Verdict] | None = None
    """What simulation says of each hotspot, by id; None when none was to be simulated."""
    to_simulate: Set[int] | None = None
    """Ids of the hotspots that were to be simulated; all when `verdicts` are and this is not."""
    order: tuple[Hotspot, ...] | None = None
    """The hotspots in the order of their pictures; by rank by default."""
    contours: Mapping[int, Sequence[Polygon]] = field(default_factory=dict)
    """Id of a shown hotspot to what prints there at the corner of its worst defect, in dbu."""
    where: Mapping[int, Float32s] = field(default_factory=dict)
    """Id of a shown hotspot to what each place adds to its log odds, (row, column), upward."""
    alike: Mapping[int, Alike] = field(default_factory=dict)
    """Id of a shown hotspot to the nearest that the model learnt from."""

    @property
    def not_simulated(self) -> int:
        """How many hotspots were to be simulated and are not."""
        if self.verdicts is None:
            return 0
        asked = self.hotspots if self.to_simulate is None else self.to_simulate
        return len(asked) - len(self.verdicts)

    @property
    def whole(self) -> bool:
        """Whether the page may say "complete": `complete` alone does not outvote a gap."""
        gaps = self.not_scanned or self.clips_not_scored or self.coverage_fraction < 1
        gaps = gaps or self.not_simulated
        return self.complete and not gaps


def render_report(data: ReportData) -> str:
    """Return the page as HTML.

    Everything it needs is inside: style, drawings as SVG, clips as PNG. Lengths are in um.
    """
    folder = Path(__file__).with_name("templates")
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
    )
    environment.filters |= {
        "count": lambda value: f"{value:,}",
        "percent": _percent,
        "um": lambda value_dbu: _um_text(value_dbu, data.dbu_nm),
        "seconds": _seconds_text,
    }
    cards = [_card(spot, data) for spot in (data.order or data.hotspots)[: data.shown]]
    groups = _groups(data)
    return environment.get_template("report.html").render(
        data=data,
        cards=cards,
        groups=groups[:_GROUPS],
        group_count=len(groups),
        regions=data.not_scanned[:_REGIONS],
        map=_chip_map(data),
        histogram=_histogram(data),
        area=_area_text(data.area_covered_um2),
        klayout=f"klayout -e {shlex.quote(data.layout)} -m hotspots.lyrdb.gz",
        overlay=_overlay(data.raster),
    )


def _percent(fraction: float | None) -> str:
    """Return a percentage that is never rounded up to a full 100, nor down to 0.

    Examples
    --------
    >>> _percent(1.0), _percent(0.99996), _percent(0.5), _percent(0.00001), _percent(0.0)
    ('100 %', '99.99 %', '50.0 %', '<0.01 %', '0 %')
    """
    if fraction is None:
        return "not measured"
    if fraction in (0.0, 1.0):
        return f"{fraction:.0%}".replace("%", " %")
    percent = 100 * fraction
    if percent < 0.01:
        return "<0.01 %"
    if percent > 99.9:
        return f"{min(percent, 99.99):.2f} %"
    return f"{percent:.1f} %" if percent >= 1 else f"{percent:.2f} %"


def _um_text(value_dbu: int, dbu_nm: float) -> str:
    """Return a length in um with all the digits that the database unit gives it.

    Examples
    --------
    >>> _um_text(5001, 1.0), _um_text(5001, 0.25), _um_text(5001, 0.1)
    ('5.001', '1.25025', '0.5001')
    """
    digits = (n for n in range(6) if math.isclose(dbu_nm * 10**n, round(dbu_nm * 10**n)))
    return f"{value_dbu * dbu_nm / 1000:.{3 + next(digits, 6)}f}"


def _seconds_text(seconds: float) -> str:
    """Return a duration.

    Examples
    --------
    >>> _seconds_text(0.42), _seconds_text(75), _seconds_text(7322)
    ('0.4 s', '1 min 15 s', '2 h 02 min')
    """
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def _area_text(area_um2: float) -> str:
    return f"{area_um2 / 1e6:,.3f} mm²" if area_um2 >= 1e5 else f"{area_um2:,.0f} µm²"


def _card(spot: Hotspot, data: ReportData) -> dict[str, Any]:
    picture, alike = data.pictures.get(spot.id), data.alike.get(spot.id)
    x, y = _um_text(spot.x_dbu, data.dbu_nm), _um_text(spot.y_dbu, data.dbu_nm)
    return {
        "spot": spot,
        "picture": None if picture is None else _png_uri(picture),
        "occurrences": data.occurrences.get(spot.pattern),
        # What KLayout's "Goto Position" (Ctrl+G) takes: x, y and the side of the window, in um.
        "goto": f"{x},{y},{data.raster.clip_nm / 1000:g}",
        "warm": _warm(data.where.get(spot.id), data.raster.clip_px),
        "alike": alike and {"picture": _png_uri(alike.picture), "distance": alike.distance},
        "likeliest": _likeliest(spot, data),
        **_print(spot, data),
    }


def _likeliest(spot: Hotspot, data: ReportData) -> dict[str, Any] | None:
    """Return where in the core the verdict comes from: in pixels of the picture, and in dbu."""
    adds, raster = data.where.get(spot.id), data.raster
    found = None if adds is None else likeliest(adds, raster.clip_px, raster.core_px)
    if found is None:
        return None
    pixel = raster.pixel_dbu(data.dbu_nm)
    x_dbu, y_dbu = spot.x_dbu + round(found[0] * pixel), spot.y_dbu + round(found[1] * pixel)
    at = place(x_dbu, y_dbu, spot.core(raster.clip_px * pixel), raster.clip_px)
    return {"x": at[0], "y": at[1], "x_dbu": x_dbu, "y_dbu": y_dbu}


def _warm(adds: Float32s | None, side: float) -> list[dict[str, float]]:
    """Return the places that speak most for a hotspot, in pixels of the picture, shaded."""
    if adds is None or adds.max() <= 0:
        return []
    rows, columns = np.nonzero(adds > _WARM * adds.max())
    wide, high = side / adds.shape[1], side / adds.shape[0]
    return [
        {"x": column * wide, "y": side - (row + 1) * high, "w": wide, "h": high,
         "shade": round(0.5 * float(adds[row, column] / adds.max()), 2)}
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True)
    ]  # fmt: skip


def _print(spot: Hotspot, data: ReportData) -> dict[str, Any]:
    """Return what a card shows of the simulation, drawn in pixels of the picture."""
    verdict = None if data.verdicts is None else data.verdicts.get(spot.id)
    side = data.raster.clip_px
    window = spot.core(side * data.raster.pixel_dbu(data.dbu_nm))
    worst = verdict and verdict.worst
    return {
        "verdict": verdict,
        "asked": data.to_simulate is None or spot.id in data.to_simulate,
        "contour": polygons_path(data.contours.get(spot.id, ()), window, side),
        "defect_at": worst and place(worst.x_dbu, worst.y_dbu, window, side),
    }


def _groups(data: ReportData) -> list[dict[str, Any]]:
    """Return the hotspots' patterns, worst first: the best hotspot of each, and how many."""
    groups: dict[int, dict[str, Any]] = {}
    for spot in data.hotspots:
        group = groups.setdefault(spot.group, {"best": spot, "hotspots": 0})
        group["hotspots"] += 1
        group["occurrences"] = data.occurrences.get(spot.pattern)
    return list(groups.values())


def _overlay(raster: RasterSpec) -> dict[str, Any]:
    """Return what is drawn over every picture, in pixels: the core, and a bar of a round length."""
    bar_nm = _round_below(raster.clip_nm / 3)
    label = f"{bar_nm:g} nm" if bar_nm < 1000 else f"{bar_nm / 1000:g} µm"
    margin = (raster.clip_px - raster.core_px) / 2
    return {
        "side": raster.clip_px,
        "margin": margin,
        "core": raster.core_px,
        "bar": bar_nm / raster.pixel_nm,
        "label": label,
    }


def _round_below(value: float) -> float:
    """Return the largest of 1, 2 or 5 times a power of ten that is not over `value`.

    Examples
    --------
    >>> _round_below(853), _round_below(2.0), _round_below(0.19)
    (500.0, 2.0, 0.1)
    """
    power = 10.0 ** math.floor(math.log10(value))
    return max(step * power for step in (1.0, 2.0, 5.0) if step * power <= value * (1 + 1e-9))


def _png_uri(raster: Bytes) -> str:
    """Return a picture, (layer, row, column) with rows upward, as a PNG data URI.

    Layers are painted over one another in order; where nothing is drawn it is transparent.
    """
    _, height, width = raster.shape
    colour = np.zeros((height, width, 3))
    alpha = np.zeros((height, width, 1))
    for index, layer in enumerate(raster):
        cover = layer[::-1, :, None] / 255 * 0.9
        alpha_over = cover + alpha * (1 - cover)
        paint = np.array(_LAYER_COLOURS[index % len(_LAYER_COLOURS)])
        mixed = paint * cover + colour * alpha * (1 - cover)
        colour = mixed / np.maximum(alpha_over, 1e-9)
        alpha = alpha_over
    rgba = np.concatenate([colour, alpha * 255], axis=2).round().astype(np.uint8)  # (h, w, 4)
    rows = np.insert(rgba.reshape(height, width * 4), 0, 0, axis=1)  # filter type 0 on each row
    header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 9)), (b"IEND", b""))
    png = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )
    return "data:image/png;base64," + base64.b64encode(png).decode()


def _histogram(data: ReportData) -> list[dict[str, float]]:
    """Return bars of the hotspots' scores from the threshold to 1: range, count, height 0 to 1."""
    if not data.hotspots:
        return []
    low = min(data.threshold, 0.99)
    scores = np.array([spot.score for spot in data.hotspots])
    counts, edges = np.histogram(np.clip(scores, low, 1), _BINS, (low, 1.0))
    tallest = counts.max()
    return [
        {"low": edges[i], "high": edges[i + 1], "count": int(n), "height": float(n / tallest)}
        for i, n in enumerate(counts)
    ]


def _chip_map(data: ReportData) -> dict[str, Any]:
    """Return the drawing of the whole extent, in units of a thousandth of its longer side."""
    extent = data.extent
    scale = _MAP_SIZE / max(extent.width, extent.height, 1)
    height = extent.height * scale

    def placed(box: Box, least: float = 0.0) -> dict[str, float]:
        wide, high = max(box.width * scale, least), max(box.height * scale, least)
        middle_x = (box.x_min + box.x_max) / 2 - extent.x_min
        middle_y = extent.y_max - (box.y_min + box.y_max) / 2
        return {
            "x": round(middle_x * scale - wide / 2, 2),
            "y": round(middle_y * scale - high / 2, 2),
            "w": round(wide, 2),
            "h": round(high, 2),
        }

    dots = [
        {
            "x": round((spot.x_dbu - extent.x_min) * scale, 2),
            "y": round((extent.y_max - spot.y_dbu) * scale, 2),
            "spot": spot,
        }
        for spot in data.hotspots[:_MAP_DOTS]
    ]
    return {
        "width": extent.width * scale,
        "height": height,
        "extent": placed(extent),
        "roi": None if data.roi is None else placed(data.roi.intersect(extent) or extent),
        "dots": dots,
        "density": _density(data, scale) if len(data.hotspots) > _MAP_DOTS else [],
        "not_scanned": [placed(r.box, least=6.0) for r in data.not_scanned[:_MAP_REGIONS]],
        "ticks_x": _ticks(extent.x_min, extent.width, data.dbu_nm),
        "ticks_y": _ticks(extent.y_min, extent.height, data.dbu_nm),
    }


def _density(data: ReportData, scale: float) -> list[dict[str, float]]:
    """Return the cells of a coarse grid that hold hotspots, shaded by the logarithm of how many."""
    pitch = _MAP_SIZE / _MAP_CELLS
    x = np.array([spot.x_dbu - data.extent.x_min for spot in data.hotspots]) * scale // pitch
    y = np.array([data.extent.y_max - spot.y_dbu for spot in data.hotspots]) * scale // pitch
    cells, counts = np.unique(np.stack([x, y]), axis=1, return_counts=True)
    shade = np.log1p(counts) / np.log1p(counts.max())
    return [
        {"x": cx * pitch, "y": cy * pitch, "side": pitch, "shade": round(0.08 + 0.5 * s, 3)}
        for cx, cy, s in zip(*cells, shade, strict=True)
    ]


def _ticks(start_dbu: int, length_dbu: int, dbu_nm: float) -> list[dict[str, Any]]:
    """Return round positions in um along one side, each with its fraction of that side."""
    um = dbu_nm / 1000
    step = _round_below(max(length_dbu * um, 1e-3) / 3)
    first, last = math.ceil(start_dbu * um / step), math.floor((start_dbu + length_dbu) * um / step)
    return [
        {"at": (n * step / um - start_dbu) / max(length_dbu, 1), "label": f"{n * step:g}"}
        for n in range(first, last + 1)
    ]
