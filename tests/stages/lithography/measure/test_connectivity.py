"""Connections of what prints against those of what is drawn, by graph and by plain cases."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from stages.contracts import Box, Defect, Float32s, Floats, Int64s
from stages.geometry.union import merge
from stages.lithography.measure.connectivity import find_breaks
from stages.lithography.measure.defects import find_defects
from stages.lithography.measure.sections import KINDS, Rules
from stages.lithography.optics.fields import make_lattice
from stages.lithography.optics.kernels import make_field
from stages.lithography.optics.resist import compute_threshold
from stages.lithography.process import Corner
from tests.support.optical import KRF, imaged, make_cell

SIDE = 96
EVERYWHERE = Rules(
    core=(0, 0, SIDE, SIDE), scale=0.5, pitch=1, step=1, straight=1, width=1, space=1, line_end=1,
    pinch_share=0.5, space_share=0.5, epe=1, line_end_epe=1,
)  # fmt: skip
"""The lattice that topology looks at has one point per dbu."""


def blobs(seed: int) -> Float32s:
    """Coefficients of a smooth random image, periodic, of about 0 mean and 1 deviation."""
    rng = np.random.default_rng(seed)
    n = SIDE // 2
    order = np.fft.fftfreq(n, 1 / n)
    low = np.exp(-((order[:, None] ** 2 + order[None, :] ** 2) / 2 / 3.5**2))
    image = np.fft.ifft2(np.fft.fft2(rng.standard_normal((n, n))) * low).real
    return (image / image.std()).astype(np.float32)


def spline(coef: Float32s, shift: float = 0.0) -> Floats:
    """Values at every half step, or `shift` steps on, by the definition of the cubic B-spline."""
    n = len(coef)
    at = np.arange(2 * n)[:, None] / 2 + shift
    apart = np.abs((at - np.arange(n) + n / 2) % n - n / 2)
    inner, outer = 2 / 3 - apart**2 + apart**3 / 2, np.maximum(2 - apart, 0) ** 3 / 6
    basis = np.where(apart < 1, inner, outer)
    values: Floats = basis @ coef @ basis.T
    return values


def squares(seed: int) -> Int64s:
    """Return crosses and squares that are at least two dbu apart, some over the border."""
    rng = np.random.default_rng(seed)
    taken = np.zeros((SIDE + 60, SIDE + 60), bool)
    rects: list[tuple[int, int, int, int]] = []
    for _ in range(60):
        x, y, w, h = (int(v) for v in rng.integers((-5, -5, 3, 3), (SIDE, SIDE, 22, 22)))
        bars = [(x, y, x + w, y + h), (x + w // 3, y - h // 3, x + w // 2 + 1, y + h + h // 3)]
        spaces = [np.s_[b[1] + 18 : b[3] + 22, b[0] + 18 : b[2] + 22] for b in bars]
        if not any(taken[space].any() for space in spaces):
            for space in spaces:
                taken[space] = True
            rects += bars
    clipped = np.clip(np.array(rects), 0, SIDE)
    return merge(clipped[(clipped[:, 0] < clipped[:, 2]) & (clipped[:, 1] < clipped[:, 3])])


def parts(of: Int64s, links: list[tuple[Int64s, Int64s]]) -> Int64s:
    """Label the points where `of` holds, from 1, by what links them."""
    a, b = (np.concatenate(ends) for ends in zip(*links, strict=True))
    size = of.size
    graph = coo_array((np.ones(len(a)), (a, b)), shape=(size, size))
    labels = connected_components(graph, directed=False)[1].reshape(of.shape) + 1
    return np.where(of, labels, 0)


def neighbours(dy: int, dx: int) -> tuple[Int64s, Int64s]:
    at = np.arange(SIDE * SIDE).reshape(SIDE, SIDE)
    if dx < 0:
        return at[:-1, 1:].ravel(), at[1:, :-1].ravel()
    return at[: SIDE - dy, : SIDE - dx].ravel(), at[dy:, dx:].ravel()


def printed_pieces(coef: Float32s, level: float) -> Int64s:
    bright, middle = spline(coef) > level, spline(coef, 0.25)[:-1, :-1] > level
    bright[[0, -1]] = bright[:, [0, -1]] = False
    links = []
    for dy, dx in ((0, 1), (1, 0), (1, 1), (1, -1)):
        a, b = neighbours(dy, dx)
        holds = bright.ravel()[a] & bright.ravel()[b]
        if dy and dx:
            holds &= middle.ravel()
        links.append((a[holds], b[holds]))
    return parts(bright, links)


def drawn_shapes(runs: Int64s) -> Int64s:
    drawn = np.zeros((SIDE, SIDE), bool)
    for x_0, y_0, x_1, y_1 in runs:
        drawn[y_0:y_1, x_0:x_1] = True
    drawn[[0, -1]] = drawn[:, [0, -1]] = False
    links = []
    for dy, dx in ((0, 1), (1, 0)):
        a, b = neighbours(dy, dx)
        holds = drawn.ravel()[a] & drawn.ravel()[b]
        links.append((a[holds], b[holds]))
    return parts(drawn, links)


def pairs_of(owners: Int64s, within: Int64s) -> dict[int, set[int]]:
    """Return who is found within each label."""
    found: dict[int, set[int]] = {int(label): set() for label in np.unique(within[within > 0])}
    for label, owner in zip(within.ravel().tolist(), owners.ravel().tolist(), strict=True):
        if label and owner:
            found[label].add(owner)
    return found


@pytest.mark.parametrize("seed", range(12))
def test_failures_are_those_of_the_graph_of_all_points(seed: int) -> None:
    coef, runs = blobs(seed), squares(seed)
    levels = np.array([-0.3, 0.4])
    rows = find_breaks(coef, runs, levels, EVERYWHERE, make_cell(SIDE))
    assert (rows[:, 4] == 1).all()
    shapes = drawn_shapes(runs)
    told_of = dict.fromkeys(KINDS, 0)
    for c, level in enumerate(levels):
        pieces = printed_pieces(coef, level)
        shapes_of, pieces_of = pairs_of(shapes, pieces), pairs_of(pieces, shapes)
        expected = {
            "bridge": {piece for piece, touched in shapes_of.items() if len(touched) > 1},
            "extra": {piece for piece, touched in shapes_of.items() if not touched},
            "open": {shape for shape, held in pieces_of.items() if len(held) > 1},
            "missing": {shape for shape, held in pieces_of.items() if not held},
        }
        for kind, labels in expected.items():
            mine = rows[(rows[:, 0] == KINDS.index(kind)) & (rows[:, 3] == c), 1:3].astype(int)
            within, outside = (pieces, shapes) if kind in ("bridge", "extra") else (shapes, pieces)
            assert set(within[mine[:, 1], mine[:, 0]].tolist()) == labels, kind
            assert not outside[mine[:, 1], mine[:, 0]].any(), "it lies in the one, not the other"
            told_of[kind] += len(labels)
    assert sum(told_of.values()) > 4


def test_the_random_cases_have_failures_of_every_kind() -> None:
    levels = np.array([-0.3, 0.4])
    kinds = [
        find_breaks(blobs(s), squares(s), levels, EVERYWHERE, make_cell(SIDE)) for s in range(12)
    ]
    assert {KINDS[int(kind)] for kind in np.concatenate(kinds)[:, 0]} == {
        "bridge", "open", "missing", "extra",
    }  # fmt: skip


def test_only_places_in_the_half_open_core_are_told() -> None:
    coef, runs, levels = blobs(1), squares(1), np.array([0.05])
    every = find_breaks(coef, runs, levels, EVERYWHERE, make_cell(SIDE))
    x, y = (int(v) for v in every[len(every) // 2, 1:3])
    for core in ((x, y, SIDE, SIDE), (0, 0, x, y), (x - 3, y - 3, x + 1, y + 1)):
        inside = (every[:, 1] >= core[0]) & (every[:, 1] < core[2])
        inside &= (every[:, 2] >= core[1]) & (every[:, 2] < core[3])
        assert inside.any()
        got = find_breaks(coef, runs, levels, EVERYWHERE._replace(core=core), make_cell(SIDE))
        np.testing.assert_array_equal(got, every[inside])


WINDOW = Box(-1500, -1500, 1500, 1500)
CONNECTION = {"bridge", "open", "missing", "extra"}
Rects = list[tuple[int, int, int, int]]


def find(
    target: Rects, mask: Rects | None = None, shift: int = 0, doses: tuple[float, ...] = (1.0,)
) -> list[Defect]:
    """Return the failures of connection in focus; a corner is named by the index of its dose."""
    corners = tuple(Corner(str(index), dose, 0) for index, dose in enumerate(doses))
    shapes = [np.array(rects) + shift for rects in (target, mask) if rects is not None]
    box = Box(*(side + shift for side in WINDOW.as_tuple()))
    process = replace(KRF, corners=corners)
    found = find_defects(merge(shapes[0]), box, 1.0, process, *shapes[1:])
    return [defect for defect in found if defect.kind in CONNECTION]


def corners_apart(gap: int) -> Rects:
    """Two plates that are nearest where their corners face each other, across a diagonal."""
    return [(-900, -900, 0, 0), (gap, gap, 900 + gap, 900 + gap)]


def brightness(rects: Rects, x_nm: float, y_nm: float) -> float:
    """Return the image at nominal focus, in shares of the threshold, from its harmonics."""
    side = make_lattice(KRF, 1.0).side_dbu
    field = make_field(KRF, side)
    coarse = imaged(KRF, 0.0, np.array(rects) + side // 2, field)
    order = np.arange(1 - field.pixels // 2, field.pixels // 2)
    harmonics = np.fft.fft2(coarse, norm="forward")[np.ix_(order, order)]
    across, up = (np.exp(2j * np.pi * order * (v + side // 2) / side) for v in (x_nm, y_nm))
    return float((up @ harmonics @ across).real / compute_threshold(KRF))


# Off the border of fields: a place is known to a step, and each field may see it beyond its own.
@pytest.mark.parametrize("shift", [300, 307, 330])
@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("gap", [2, 20, 70])
def test_plates_bridge_across_a_diagonal(gap: int, mirrored: bool, shift: int) -> None:
    # The image has a saddle in the middle of the gap, by symmetry: it alone decides.
    plates = corners_apart(gap)
    dose = 1 / brightness(plates, gap / 2, gap / 2)
    if mirrored:
        plates = [(-x_1, y_0, -x_0, y_1) for x_0, y_0, x_1, y_1 in plates]
    found = find(plates, None, shift, (0.97 * dose, 1.03 * dose))
    assert {defect.kind for defect in found} == {"bridge"}
    for bridge in found:
        assert bridge.corner == "1"
        assert abs(bridge.x_dbu - shift) <= gap + 45
        assert abs(bridge.y_dbu - shift) <= gap + 45


@pytest.mark.parametrize("gap", [140, 200])
def test_plates_far_apart_across_a_diagonal_do_not_bridge(gap: int) -> None:
    assert find(corners_apart(gap)) == []


@pytest.mark.parametrize("mirrored", [False, True])
def test_shapes_that_touch_at_a_corner_are_no_bridge(mirrored: bool) -> None:
    touching = [(-900, -900, 0, 0), (0, 0, 900, 900)]
    if mirrored:
        touching = [(-x_1, y_0, -x_0, y_1) for x_0, y_0, x_1, y_1 in touching]
    assert find(touching) == []


def test_a_square_too_small_to_print_is_missing() -> None:
    (missing,) = find([(300, 200, 390, 290), (-1400, -600, 1400, -200)])
    assert missing.kind == "missing"
    assert abs(missing.x_dbu - 345) <= 23
    assert abs(missing.y_dbu - 245) <= 23


def test_a_sliver_thinner_than_the_lattice_is_missing() -> None:
    (missing,) = find([(300, 201, 309, 207), (-1400, -600, 1400, -200)])
    assert missing.kind == "missing"
    assert abs(missing.x_dbu - 304) <= 23


def test_a_mask_with_a_shape_too_many_prints_an_extra() -> None:
    plate, stray = (-1400, -900, 1400, -500), (300, 200, 700, 600)
    extras = find([plate], [plate, stray])
    assert {extra.kind for extra in extras} == {"extra"}
    assert all(300 <= each.x_dbu < 700 and 200 <= each.y_dbu < 600 for each in extras)
    # Lines across it say that its width does not print at all.
    missing, *opens = sorted(find([plate, stray], [plate]), key=lambda defect: defect.kind)
    assert missing.kind == "missing"
    assert {defect.kind for defect in opens} == {"open"}
    assert (abs(missing.x_dbu - 500) <= 23, abs(missing.y_dbu - 400) <= 23) == (True, True)


def test_a_mask_with_a_cut_prints_an_open() -> None:
    line = (-9000, -150, 9000, 150)
    cut = [(-9000, -150, -100, 150), (100, -150, 9000, 150)]
    opens = find([line], cut)
    assert {defect.kind for defect in opens} == {"open"}
    assert min(abs(defect.x_dbu) for defect in opens) <= 100


def test_shapes_joined_outside_the_window_are_apart_where_their_gap_prints_clear() -> None:
    # A comb's teeth: one shape, whose spaces print; nothing fails though fields clip it.
    teeth = [(x, -12_000, x + 300, 12_000) for x in range(-1500, 1500, 700)]
    assert find([*teeth, (-1500, 12_000, 1600, 12_300)]) == []


@pytest.mark.parametrize("reach", range(1, 60, 7))
def test_what_only_reaches_into_the_guard_of_a_field_is_not_missing(reach: int) -> None:
    # The field of the box begins a guard before it: of the plate it sees a sliver.
    begins = WINDOW.x_min // 39 * 39 - make_lattice(KRF, 1.0).guard_dbu
    assert find([(-5000, -400, begins + reach, 400), (200, -400, 1200, 400)]) == []
