"""The simulation of one clip, in a window of its own.

in       the target in the window of a clip, a process, whether the mask is corrected
out      `ClipPrint`: the samples of the clip's core that fail, how far from their limits the worst
         of all are, and the image where it fails
unit     a clip
promise  a verdict depends on the process and on the geometry up to `Lattice.guard_dbu` around the
         clip's core, and on nothing else: not on where the clip lies in the layout

The window is one periodic field with the clip's core in its middle: the core and, on each side, as
much as light carries from and, with OPC, as corrections of the mask depend on. A window is
simulated in the orientation of its signature (`stages.geometry.signature`), so that windows which
are equal up to the symmetries of the source share one simulation to the byte.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from shapely import Polygon

from stages.contracts import Box, Float32s, Floats, Int64s, Shapes
from stages.errors import ConfigError
from stages.geometry.staircase import cut_into_rects
from stages.geometry.union import merge
from stages.lithography.correction.curves import correct_field_by_curves
from stages.lithography.correction.opc import correct_field
from stages.lithography.measure.contacts import make_contact_rules
from stages.lithography.measure.contours import Images, trace_contours
from stages.lithography.measure.defects import (
    NO_EDGES,
    find_edges_near,
    find_failures,
    make_rules,
)
from stages.lithography.measure.margins import LEAST, round_margins
from stages.lithography.measure.sections import KINDS, Worst
from stages.lithography.measure.slanted import list_slanted_edges
from stages.lithography.optics.exposure import (
    Exposure,
    count_spline_px,
    expose,
    fit_spline,
)
from stages.lithography.optics.fields import (
    Lattice,
    clip_to_field,
    compute_guard_nm,
    compute_slab_dbu,
    make_disjoint,
    make_lattice,
    make_lattice_field,
)
from stages.lithography.optics.resist import compute_threshold
from stages.lithography.process import Corner, Process
from stages.threads import limit_threads

DRAWN = 1.0
"""Contours are drawn up to this far from the window's border, in wavelength / NA."""
Place = tuple[int, int]

_FAST = (2, 3, 5, 7)
"""Prime factors of the sizes that Fourier transforms are fast at."""


@dataclass(frozen=True, slots=True, eq=False)
class ClipPrint:
    """What fails in a clip's core, and the image there; from the corner of the turned window."""

    samples: Floats
    """(n, 5), see `find_failures`; the border of the core is included on all sides."""
    margin: Float32s
    """(kinds,) of the worst of all samples, see `stages.lithography.measure.margins`."""
    image: Float32s | None
    """(pixels, pixels) intensity at the focus where the first of the worst samples fails; None
    where none does."""


def compute_reach_nm(process: Process, opc: str) -> float:
    """Return how far around a clip's core the geometry is taken into account, at least."""
    return compute_guard_nm(process, corrected=opc != "none")


def make_window(process: Process, dbu_nm: float, core_dbu: int, opc: str) -> Lattice:
    """Return the core, guard and side of a clip's window, which the process alone decides.

    Raises
    ------
    ConfigError
        When the kernels of a file are for a field that is too small for the clip.
    """
    resolution_nm = process.wavelength_nm / process.na
    if process.kernels is not None:
        side_nm = process.kernels.period_nm
    else:
        pixels = 4 * (core_dbu * dbu_nm + 2 * compute_reach_nm(process, opc)) / resolution_nm
        side_nm = _round_up_to_fast(pixels) * resolution_nm / 4
    guard_dbu = math.floor((side_nm / dbu_nm - core_dbu) / 2)
    if guard_dbu * dbu_nm < resolution_nm:
        raise ConfigError(
            f"cores of {core_dbu * dbu_nm:g} nm are asked for, but the kernels of {process.name} "
            f"are for fields of {side_nm:g} nm; use kernels of a longer period, or smaller cores"
        )
    pitch_dbu = make_lattice(process, dbu_nm).pitch_dbu
    side_dbu = core_dbu + 2 * guard_dbu if process.kernels is None else round(side_nm / dbu_nm)
    return Lattice(pitch_dbu, core_dbu, guard_dbu, side_dbu)


def _round_up_to_fast(pixels: float) -> int:
    """Return the next even size whose Fourier transform is fast."""
    size = 2 * math.ceil(pixels / 2)
    while True:
        rest = size
        for factor in _FAST:
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return size
        size += 2


def read_window(
    shapes: Shapes, place: Place, window: Lattice, symmetry: int, process: Process, dbu_nm: float
) -> tuple[Int64s, Int64s]:
    """Return the target of a window and its slanted edges, in dbu from the window's corner.

    Parameters
    ----------
    shapes
        Everything that overlaps the window.
    place
        Lower left corner of the window.
    symmetry
        How the window is turned, see `stages.geometry.symmetry.SYMMETRIES`; 0 where it has slanted
        edges.

    Returns
    -------
    target : (r, 4) int64
        As `merge` returns it: the same for the same region, however it was cut into shapes.
    slanted : (k, 4) int64
        See `list_slanted_edges`.
    """
    local = Shapes(shapes.rects - np.array(place * 2), shapes.points - place, shapes.point_start)
    step = compute_slab_dbu(process, dbu_nm)
    rects = clip_to_field(cut_into_rects(local, step), (0, 0), window.side_dbu)
    slanted = find_edges_near(list_slanted_edges(local), (0, 0), window.side_dbu)
    return merge(_turn_rects(rects, symmetry, window.side_dbu)), slanted


def _turn_rects(rects: Int64s, symmetry: int, side_dbu: int) -> Int64s:
    if symmetry & 1:
        rects = rects[:, [2, 1, 0, 3]] * np.array([-1, 1, -1, 1]) + np.array(
            [side_dbu, 0, side_dbu, 0]
        )
    if symmetry & 2:
        rects = rects[:, [0, 3, 2, 1]] * np.array([1, -1, 1, -1]) + np.array(
            [0, side_dbu, 0, side_dbu]
        )
    return rects[:, [1, 0, 3, 2]] if symmetry & 4 else rects


def turn_back(points: Floats, symmetry: npt.ArrayLike, side_dbu: int) -> Floats:
    """Return places (n, 2) of turned windows where they are in the windows as they lie.

    Parameters
    ----------
    symmetry : int or (n,) int64
        How each window was turned.
    """
    turn = np.broadcast_to(symmetry, len(points))[:, None]
    points = np.where(turn & 4, points[:, ::-1], points)
    return np.where(turn & [1, 2], side_dbu - points, points)


def simulate_clips(
    drawn: Sequence[tuple[Int64s, Int64s]],
    window: Lattice,
    dbu_nm: float,
    process: Process,
    opc: str,
) -> list[ClipPrint]:
    """Simulate clips at every corner of the process, each as if it were alone.

    Parameters
    ----------
    drawn
        Of each clip, target and slanted edges as of `read_window`.
    """
    found = [ClipPrint(np.empty((0, 5)), np.full(len(KINDS), LEAST, np.float32), None)] * len(drawn)
    filled = [at for at, (target, _) in enumerate(drawn) if len(target)]
    simulated = _simulate([drawn[at] for at in filled], window, dbu_nm, process, opc)
    for at, (samples, margin, exposures) in zip(filled, simulated, strict=True):
        image = None
        if len(samples):
            corner = int(samples[find_first(samples), 3])
            (image,) = (each.images[0].copy() for each in exposures if corner in each.corners)
        found[at] = ClipPrint(samples, margin, image)
    return found


def find_clip_failures(
    targets: Sequence[Int64s],
    window: Lattice,
    dbu_nm: float,
    process: Process,
    opc: str,
    corners: Sequence[Corner] | None = None,
) -> list[Floats]:
    """Return the failing samples of several clips, each as if it were alone.

    Parameters
    ----------
    corners
        Those of the process that are simulated; all by default.
    """
    drawn = [(target, NO_EDGES) for target in targets]
    return [samples for samples, *_ in _simulate(drawn, window, dbu_nm, process, opc, corners)]


def _simulate(
    drawn: Sequence[tuple[Int64s, Int64s]],
    window: Lattice,
    dbu_nm: float,
    process: Process,
    opc: str,
    corners: Sequence[Corner] | None = None,
) -> list[tuple[Floats, Float32s, list[Exposure]]]:
    """Return the failing samples of each clip, its margins, and the exposures of its window."""
    if not drawn:
        return []
    masks = [correct_window(target, window, dbu_nm, process, opc) for target, _ in drawn]
    field = make_lattice_field(window, process, dbu_nm)
    with limit_threads(1):
        exposures = expose(masks, field, dbu_nm, process, corners)
    # A place on the border of a turned core may be a dbu past it.
    low, high = window.guard_dbu - 1, window.guard_dbu + window.core_dbu + 1
    rules = make_rules(window, count_spline_px(field), dbu_nm, process)
    rules, contacts = (
        rules._replace(core=(low, low, high, high)),
        make_contact_rules(dbu_nm, process),
    )
    found = []
    for at, (target, slanted) in enumerate(drawn):
        own = [each.select(at) for each in exposures]
        nothing = np.full((len(KINDS), 1, 1), LEAST, np.float32)
        worst = Worst(nothing, (low, low), high - low, rules.core)
        samples = find_failures(target, slanted, own, rules, worst, contacts)
        found.append((samples, round_margins(worst.margin[:, 0, 0]), own))
    return found


def correct_window(
    target: Int64s, window: Lattice, dbu_nm: float, process: Process, opc: str
) -> Int64s:
    """Return the mask of a window, corrected as asked, as disjoint rectangles, (m, 4) or (m, 5)."""
    if opc == "none":
        return make_disjoint(target)
    corrected = correct_field_by_curves if opc == "curvy" else correct_field
    mask = corrected(target, window, dbu_nm, process)
    return make_disjoint(clip_to_field(mask, (0, 0), window.side_dbu))


def draw_clip(
    target: Int64s, window: Lattice, dbu_nm: float, process: Process, opc: str, corner: int
) -> list[Polygon]:
    """Return the contours of a clip at one corner of the process, from the window's corner.

    Parameters
    ----------
    target : (r, 4) int64
        Disjoint rectangles, from the corner of the window.
    corner
        Index into `Process.corners`.
    """
    if not len(target):
        return []
    target = clip_to_field(target, (0, 0), window.side_dbu)
    mask = correct_window(target, window, dbu_nm, process, opc)
    field = make_lattice_field(window, process, dbu_nm)
    (exposure,) = expose([mask], field, dbu_nm, process, [process.corners[corner]])
    return trace_print(exposure.images[0], corner, window, dbu_nm, process)[1]


def find_first(samples: Floats) -> int:
    """Return the index of the first of the worst samples, whose corner the image is of."""
    return int(np.argmax(samples[:, 4]))


def trace_print(
    image: Float32s, corner: int, window: Lattice, dbu_nm: float, process: Process
) -> tuple[Box, list[Polygon]]:
    """Return the contours of a clip's print and the box they are drawn in.

    Both are in dbu from the corner of the turned window. The box ends `DRAWN` wavelength / NA
    within the window: from there on the image is wrong.
    """
    with limit_threads(1):  # more are slower for so small an image
        coef = fit_spline(torch.from_numpy(image))
    margin = math.ceil(DRAWN * process.wavelength_nm / process.na / dbu_nm)
    drawn = Box(0, 0, window.side_dbu, window.side_dbu).grow(-margin)
    images = Images([drawn], [(0, 0)], [[coef]], len(coef) / window.side_dbu)
    level = compute_threshold(process) / process.corners[corner].dose
    return drawn, trace_contours(images, [(0, level)])
