"""The page of a simulated region: its defects on a map, in pictures and in a list.

in       `PageData`
out      one HTML page that needs no network, as text
promise  a tile that was not simulated is shown; a capped list says so
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from stages.contracts import Box, Defect, Int64s
from stages.exports.pages.environment import make_environment
from stages.exports.pages.pictures import draw_rects, draw_within, to_picture
from stages.findings import Prints

_SIDE = 240.0
_MAP = 900.0
_MAP_DOTS = 4000
_ROWS = 500


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """A defect with the contours around it."""

    window: Box
    target: Int64s
    mask: Int64s | None
    prints: Prints
    defect: Defect


@dataclass(frozen=True, slots=True, eq=False)
class PageData:
    """The content of the page."""

    layout: str
    dbu_nm: float
    area: Box
    not_simulated: tuple[Box, ...]
    defects: tuple[Defect, ...]
    scenes: tuple[Scene, ...]
    metrics: Mapping[str, Any]
    process: str


def render_page(data: PageData) -> str:
    """Return the page as HTML."""
    um = data.dbu_nm / 1000
    environment = make_environment({"um": lambda value: f"{value * um:.3f}"})
    worst = sorted(data.defects, key=lambda d: (-d.severity, d.y_dbu, d.x_dbu))
    return environment.get_template("simulation.html").render(
        data=data,
        side=_SIDE,
        bar_um=0.5,
        bar=_SIDE * 500 / (data.scenes[0].window.width * data.dbu_nm) if data.scenes else 0,
        scenes=[_draw_scene(scene) for scene in data.scenes],
        rows=worst[:_ROWS],
        map=_draw_map(data, worst[:_MAP_DOTS]),
    )


def _draw_scene(scene: Scene) -> dict[str, Any]:
    """Return the paths of a picture: target, mask, contours and process variation band."""
    window = scene.window
    at_worst = scene.prints.by_corner.get(scene.defect.corner, ())
    mask = None
    if scene.mask is not None:
        signed = scene.mask.shape[1] == 5
        added = scene.mask[:, 4] > 0 if signed else np.ones(len(scene.mask), bool)
        mask = tuple(draw_rects(scene.mask[part], window, _SIDE) for part in (added, ~added))
    return {
        "defect": scene.defect,
        "target": draw_rects(scene.target, window, _SIDE),
        "mask": mask,
        "band": draw_within(scene.prints.band, window, _SIDE),
        "contour": draw_within(at_worst, window, _SIDE),
        "at": to_picture(scene.defect.x_dbu, scene.defect.y_dbu, window, _SIDE),
    }


def _draw_map(data: PageData, defects: list[Defect]) -> dict[str, Any]:
    scale = _MAP / max(data.area.width, data.area.height)
    area = data.area

    def box(part: Box) -> dict[str, float]:
        cut = part.intersect(area) or part
        return {
            "x": round((cut.x_min - area.x_min) * scale, 1),
            "y": round((area.y_max - cut.y_max) * scale, 1),
            "w": round(cut.width * scale, 1),
            "h": round(cut.height * scale, 1),
        }

    return {
        "width": area.width * scale,
        "height": area.height * scale,
        "dots": [
            (round((d.x_dbu - area.x_min) * scale, 1), round((area.y_max - d.y_dbu) * scale, 1))
            for d in defects
        ],
        "missed": [box(part) for part in data.not_simulated],
    }
