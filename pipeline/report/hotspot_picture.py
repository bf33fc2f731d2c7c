"""The drawing of one hotspot, as SVG.

in       a run, the id of a hotspot
out      the clip's shapes, its core, and, if it was simulated, its contours and worst defect
"""

from __future__ import annotations

from collections.abc import Sequence

import shapely

from pipeline.report.run_view import RunView
from stages.contracts import Box, Hotspot, Shapes
from stages.exports.pages.pictures import draw_polygons, draw_rects, to_picture
from stages.geometry.window_query import query, split_polygons

SIDE = 320.0
"""Side of the drawing, in its own units."""
COLOURS = ("#4878a8", "#a8785c", "#6b9a58", "#8a6aa8")
"""Of the layers, in order."""


def draw_hotspot(view: RunView, hotspot: int) -> str:
    """Return the drawing of a hotspot's clip.

    Raises
    ------
    KeyError
        When there is no hotspot of that id.
    """
    if not 1 <= hotspot <= len(view.hotspots):
        raise KeyError(f"there is no hotspot {hotspot}; ids go from 1 to {len(view.hotspots)}")
    spot = view.hotspots[hotspot - 1]
    window, core = spot.core(view.job.clip_dbu), spot.core(view.job.core_dbu)
    layers = view.layout.packed[: view.job.spec.layers]
    parts = [
        f'<path d="{_draw_shapes(query(layer, window), window)}" fill="{colour}" '
        'fill-opacity=".55" fill-rule="nonzero"/>'
        for layer, colour in zip(layers, COLOURS * len(layers), strict=False)
    ]
    parts += [_draw_core(core, window), *_draw_print(view, spot, window)]
    title = f"hotspot {spot.id}, score {spot.score:.3f}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {SIDE:g} {SIDE:g}" '
        f'width="{SIDE:g}" height="{SIDE:g}" role="img"><title>{title}</title>'
        f'<rect width="100%" height="100%" fill="#fff"/>{"".join(parts)}</svg>'
    )


def _draw_shapes(shapes: Shapes, window: Box) -> str:
    cut = shapely.box(*window.as_tuple())
    rings = [shapely.make_valid(shapely.Polygon(ring)) for ring in split_polygons(shapes)]
    inside = shapely.get_parts(shapely.intersection(rings, cut)) if rings else []
    polygons: Sequence[shapely.Polygon] = [
        part for part in inside if isinstance(part, shapely.Polygon)
    ]
    return draw_rects(shapes.rects, window, SIDE) + draw_polygons(polygons, window, SIDE)


def _draw_core(core: Box, window: Box) -> str:
    x, y = to_picture(core.x_min, core.y_max, window, SIDE)
    side = SIDE * core.width / window.width
    return (
        f'<rect x="{x:g}" y="{y:g}" width="{side:g}" height="{side:g}" fill="none" '
        'stroke="#333" stroke-dasharray="4 3"/>'
    )


def _draw_print(view: RunView, spot: Hotspot, window: Box) -> list[str]:
    """Return the contours of the clip, and its worst defect, if it was simulated."""
    defect = view.worst(spot)
    if defect is None:
        return []
    path = draw_polygons(view.draw_print(spot, (spot.x_dbu, spot.y_dbu)).contours, window, SIDE)
    x, y = to_picture(defect.x_dbu, defect.y_dbu, window, SIDE)
    return [
        f'<path d="{path}" fill="none" stroke="#111" stroke-width="1.2"/>',
        f'<circle cx="{x:g}" cy="{y:g}" r="7" fill="none" stroke="#c02020" stroke-width="2">'
        f"<title>{defect.kind}, severity {defect.severity:.2f}</title></circle>",
    ]
