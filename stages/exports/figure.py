"""A simulated window as a picture: light, drawn shapes, mask, contours, band and defects.

in       `SimulatedWindow`, or an image alone
out      a PNG or an SVG, as bytes
promise  equal input gives equal bytes, whatever the user's settings of matplotlib; colours differ
         in lightness, lines in dashes and marks in shape, so that a grey print can be read
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
import shapely
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, PathPatch
from matplotlib.path import Path
from matplotlib.patheffects import withStroke
from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar
from shapely import Polygon
from shapely.geometry.polygon import orient

from stages.contracts import Box, Defect, Float32s, Floats, Int64s
from stages.findings import Prints

Form = Literal["png", "svg"]
Extent = tuple[float, float, float, float]
"""Left, right, bottom and top, as matplotlib has them."""
FORMS: tuple[Form, ...] = ("png", "svg")
_PANEL_IN, _DPI = 8.0, 120
_BESIDE = 1.5
"""Width over height from which the panels are drawn one above the other."""
_NAMED = 8
"""Number of defects, the worst, whose kind and severity are written beside them."""
_DRAWN, _BAND, _MASK, _DEFECT = "#dcdcdc", "#5e9fdc", "#7a3b8f", "#b3122a"
# Thin, as the band between them is often no wider than 20 nm.
_CORNER_STYLES: tuple[dict[str, Any], ...] = (
    {"edgecolor": "#000000", "linestyle": "-", "linewidth": 0.7},
    {"edgecolor": "#c2571a", "linestyle": (0, (6, 3)), "linewidth": 0.6},
    {"edgecolor": "#1d6b4c", "linestyle": (0, (1.5, 2)), "linewidth": 0.7},
    {"edgecolor": "#6b6b00", "linestyle": (0, (6, 2, 1, 2)), "linewidth": 0.6},
)
"""Contours: the first corner, then the others in turn."""
_MARKS = {
    "bridge": "s", "open": "X", "pinch": "o", "space": "D", "epe": "P", "line_end": "^",
    "missing": "v", "extra": "*",
}  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class SimulatedWindow:
    """What a picture shows."""

    title: str
    window: Box
    dbu_nm: float
    target: Int64s
    """Disjoint rectangles of the drawn shapes, (n, 4)."""
    mask: Int64s | None
    """Disjoint rectangles of the mask; None where the drawn shapes are the mask."""
    prints: Prints
    intensity: Float32s
    """Image at the first corner of `prints`, (rows, columns), row 0 at the lowest y."""
    samples: Box
    """The box of the pixels whose centres are sampled."""
    threshold: float
    defects: Sequence[Defect]


def draw_window(data: SimulatedWindow, form: Form) -> bytes:
    """Draw the light on one panel and what prints on the other."""
    um = data.dbu_nm / 1000
    wide = data.window.width >= _BESIDE * data.window.height
    with _own_settings():
        figure, (left, right) = _make_panels(data.window.width, data.window.height, 2, wide)
        figure.suptitle(data.title, fontsize=11, parse_math=False)
        extent = _as_extent(data.samples, um)
        nominal = next(iter(data.prints.by_corner))
        drawn = _unite(data.target, data.window)
        left.set_title(f"light in the resist, corner {nominal}", fontsize=10, parse_math=False)
        _draw_light(left, data.intensity, extent, data.threshold, [left, right])
        _add(left, drawn, um, fill=False, edgecolor="white", linestyle=":", linewidth=0.8)
        right.set_title("what prints", fontsize=10)
        handles = [Line2D([], [], color="white", linestyle=":", label="drawn, on the light"),
                   *_draw_prints(right, data, drawn, um),
                   *_draw_defects(right, data.defects, um)]  # fmt: skip
        handles[0].set_path_effects([withStroke(linewidth=3, foreground="#00224e")])
        for axes in (left, right):
            _finish(axes, _as_extent(data.window, um), "um")
        figure.legend(handles=handles, loc="outside lower center", ncols=4, fontsize=9)
        return _save(figure, form)


def draw_light(
    intensity: Float32s, x_nm: Floats, y_nm: Floats, threshold: float, form: Form
) -> bytes:
    """Draw an image alone, with the contour of what prints.

    Parameters
    ----------
    intensity : (rows, columns) float32
    x_nm, y_nm : (columns,), (rows,)
    """
    (x_0, x_1), (y_0, y_1) = ((float(at[0]), float(at[-1])) for at in (x_nm, y_nm))
    half_x, half_y = ((at[1] - at[0]) / 2 if len(at) > 1 else 0.5 for at in (x_nm, y_nm))
    extent = (x_0 - half_x, x_1 + half_x, y_0 - half_y, y_1 + half_y)
    with _own_settings():
        size = extent[1] - extent[0], extent[3] - extent[2]
        figure, (axes,) = _make_panels(*size, 1, wide=False)
        _draw_light(axes, intensity, extent, threshold, [axes])
        _finish(axes, extent, "nm")
        return _save(figure, form)


def _own_settings() -> Any:
    """Return a context without the user's settings, in which names in an SVG are always equal."""
    return mpl.rc_context(mpl.rcParamsDefault | {"svg.hashsalt": "hotscan"})


def _make_panels(width: float, height: float, n: int, wide: bool) -> tuple[Figure, list[Axes]]:
    """Return a figure of `n` panels whose longer side has one length, whatever the window."""
    scale = _PANEL_IN / max(width, height)
    across, up = max(width * scale, 3.5), max(height * scale, 1.5)
    rows, columns = (n, 1) if wide else (1, n)
    size = (across * columns + 1.5, up * rows + 1.2)
    figure = Figure(figsize=size, layout="constrained", facecolor="white")
    return figure, list(figure.subplots(rows, columns, squeeze=False).flat)


def _as_extent(box: Box, um: float) -> Extent:
    return box.x_min * um, box.x_max * um, box.y_min * um, box.y_max * um


def _unite(rects: Int64s, window: Box) -> list[Polygon]:
    """Return the outlines of rectangles inside a window."""
    x_0, y_0, x_1, y_1 = window.as_tuple()
    cut = np.clip(rects[:, :4], (x_0, y_0, x_0, y_0), (x_1, y_1, x_1, y_1))
    cut = cut[(cut[:, 0] < cut[:, 2]) & (cut[:, 1] < cut[:, 3])]
    return list(shapely.get_parts(shapely.union_all(shapely.box(*cut.T))))


def _add(axes: Axes, polygons: Iterable[Polygon], um: float, **style: Any) -> None:
    """Add polygons, in dbu, with their holes as one patch."""
    rings = [ring for one in polygons for each in [orient(one)]
             for ring in (each.exterior, *each.interiors)]  # fmt: skip
    if rings:
        paths = [Path(shapely.get_coordinates(ring) * um, closed=True) for ring in rings]
        axes.add_patch(PathPatch(Path.make_compound_path(*paths), **style))


def _draw_light(
    axes: Axes,
    intensity: Float32s,
    extent: Extent,
    threshold: float,
    panels: Sequence[Axes],
) -> None:
    """Draw the image, and the contour at the threshold; its scale stands beside the panels."""
    top = max(1.0, float(intensity.max()))
    image = axes.imshow(
        intensity, cmap="cividis", vmin=0, vmax=top, origin="lower", extent=extent,
        interpolation="bilinear",
    )  # fmt: skip
    if intensity.min() < threshold < intensity.max():
        axes.contour(intensity, levels=[threshold], colors="white", linewidths=1.3, extent=extent)
    bar = axes.figure.colorbar(image, ax=panels, shrink=0.8, pad=0.02)
    bar.set_label("intensity, clear field 1; the white line: prints above", fontsize=8)
    bar.ax.axhline(threshold, color="white", linewidth=1.5)
    bar.ax.tick_params(labelsize=8)


def _draw_prints(
    axes: Axes, data: SimulatedWindow, drawn: Sequence[Polygon], um: float
) -> list[Artist]:
    """Draw shapes, band, contours and mask; return what the legend shows of them."""
    filled: dict[str, Any] = {"facecolor": _DRAWN, "edgecolor": "none", "linewidth": 0}
    band: dict[str, Any] = {"facecolor": _BAND, "edgecolor": "none", "linewidth": 0}
    _add(axes, drawn, um, **filled)
    handles: list[Artist] = [Patch(label="drawn", **filled)]
    if data.prints.band:
        _add(axes, data.prints.band, um, **band)
        handles.append(Patch(label="process variation band", **band))
    if data.mask is not None:
        mask = {"edgecolor": _MASK, "linestyle": (0, (3, 1, 1, 1, 1, 1)), "linewidth": 0.9}
        _add(axes, _unite(data.mask, data.window), um, fill=False, **mask)
        handles.append(_make_line("mask", mask))
    for index, (name, polygons) in enumerate(data.prints.by_corner.items()):
        style = _CORNER_STYLES[index and (index - 1) % (len(_CORNER_STYLES) - 1) + 1]
        _add(axes, polygons, um, fill=False, **style)
        handles.append(_make_line(f"prints at {name}", style))
    return handles


def _make_line(label: str, style: dict[str, Any]) -> Line2D:
    line = Line2D([], [], color=style["edgecolor"], label=label, linestyle=style["linestyle"])
    line.set_linewidth(1.5 * style["linewidth"])
    return line


def _draw_defects(axes: Axes, defects: Sequence[Defect], um: float) -> list[Artist]:
    """Mark the defects by kind, and name the worst; return what the legend shows of them."""
    white = [withStroke(linewidth=2.5, foreground="white")]
    handles: list[Artist] = []
    for kind in sorted({defect.kind for defect in defects}):
        at = np.array([(d.x_dbu * um, d.y_dbu * um) for d in defects if d.kind == kind])
        (marks,) = axes.plot(
            *at.T, _MARKS[kind], color="none", markeredgecolor=_DEFECT, markersize=11,
            markeredgewidth=1.6, path_effects=white, label=f"{kind} ({len(at)})",
        )  # fmt: skip
        handles.append(marks)
    worst = sorted(defects, key=lambda d: (-d.severity, d.y_dbu, d.x_dbu))[:_NAMED]
    for defect in worst:
        axes.annotate(
            f"{defect.kind} {defect.severity:.2f}", (defect.x_dbu * um, defect.y_dbu * um),
            (8, 6), textcoords="offset points", fontsize=8, color=_DEFECT, path_effects=white,
        )  # fmt: skip
    return handles


def _finish(axes: Axes, extent: Extent, unit: str) -> None:
    """Set the limits, and add the scale bar."""
    across, up = extent[:2], extent[2:]
    axes.set(xlim=across, ylim=up, aspect="equal")
    axes.set_xlabel(unit, fontsize=9)
    axes.tick_params(labelsize=8)
    quarter = (across[1] - across[0]) / 4
    power = 10 ** math.floor(math.log10(quarter))
    length = power * max(n for n in (1, 2, 5) if n * power <= quarter)
    bar = AnchoredSizeBar(
        axes.transData, length, f"{length:g} {unit}", "lower left", pad=0.4, sep=3,
        size_vertical=(up[1] - up[0]) / 150, fill_bar=True, color="black",
    )  # fmt: skip
    bar.patch.set(alpha=0.9, edgecolor="none")
    axes.add_artist(bar)


def _save(figure: Figure, form: Form) -> bytes:
    content = io.BytesIO()
    undated = {"Date": None} if form == "svg" else {"Software": None}
    figure.savefig(content, format=form, dpi=_DPI, metadata=undated)
    return content.getvalue()
