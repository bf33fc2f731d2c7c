"""What prints around a hotspot, simulated when somebody asks for it.

in       a run, a hotspot
out      contours at every corner of the process, and the band between them, in dbu
unit     a hotspot
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import shapely

from pipeline.passes.job import load_model_process
from pipeline.report.run_view import RunView
from stages.contracts import Box
from stages.geometry.window_query import query
from stages.lithography.clip_window import correct_window, make_window, read_window
from stages.lithography.measure.prints import simulate_prints


def simulate_contours(view: RunView, place_dbu: tuple[int, int]) -> dict[str, Any]:
    """Return the contours in the core of a clip around a place, as plain values.

    Returns
    -------
    dict
        ``box``, ``opc``, and in ``contours`` and ``band`` rings of coordinates in dbu.
    """
    process, dbu_nm = load_model_process(view.model), view.layout.dbu_nm
    opc = view.config.confirm.opc or "none"
    window = make_window(process, dbu_nm, view.job.core_dbu, opc)
    half = window.core_dbu // 2 + window.guard_dbu
    corner = place_dbu[0] - half, place_dbu[1] - half
    around = Box(*corner, corner[0] + window.side_dbu, corner[1] + window.side_dbu)
    target, _ = read_window(
        query(view.layout.packed[0], around), corner, window, 0, process, dbu_nm
    )
    mask = correct_window(target, window, dbu_nm, process, opc)
    # Outside of the core, what lies beyond the window would be missed.
    low, high = window.guard_dbu, window.guard_dbu + window.core_dbu
    shown = Box(low, low, high, high)
    prints = simulate_prints(mask, shown, dbu_nm, process)
    return {
        "box": [side + corner[at % 2] for at, side in enumerate(shown.as_tuple())],
        "opc": opc,
        "contours": {name: _list_rings(found, corner) for name, found in prints.by_corner.items()},
        "band": _list_rings(prints.band, corner),
    }


def _list_rings(
    polygons: Sequence[shapely.Polygon], by: tuple[int, int]
) -> list[list[list[float]]]:
    """Return outlines and holes, to be filled by the even-odd rule."""
    return [
        np.round(shapely.get_coordinates(ring) + by, 1).tolist()
        for polygon in polygons
        for ring in (polygon.exterior, *polygon.interiors)
    ]
