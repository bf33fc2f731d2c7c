"""Defects of shapes whose fate is plain, and that nothing but the shapes decides it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from stages.contracts import Box, Defect, Floats, Int64s
from stages.lithography.measure.defects import check_window, find_defects, label_clips
from stages.lithography.measure.sections import KINDS
from stages.lithography.optics.fields import compute_halo_nm, make_lattice
from stages.lithography.optics.kernels import make_field
from stages.lithography.optics.resist import compute_threshold
from stages.lithography.process import Corner
from tests.support.optical import KRF, imaged, runs_of, tracks

FAR = 40_000
WINDOW = Box(-1000, -1000, 1000, 1000)

CLEAN = [(-FAR, y, FAR, y + 400) for y in range(-20_000, 20_001, 800)]
LONE = [(-FAR, -200, FAR, 200)]
GAP_OF_60 = [(-FAR, 30, FAR, 330), (-FAR, -330, FAR, -30)]
GAP_OF_110 = [(-FAR, 55, FAR, 355), (-FAR, -355, FAR, -55)]
NECK_OF_60 = [(-FAR, -200, -400, 200), (-400, -30, 400, 30), (400, -200, FAR, 200)]
NECK_OF_100 = [(-FAR, -200, -400, 200), (-400, -50, 400, 50), (400, -200, FAR, 200)]
THIN_END = [(-FAR, -70, 0, 70)]
WIDE_END = [(-FAR, -200, 0, 200)]

Rects = list[tuple[int, int, int, int]]


def find(rects: Rects | Int64s, window: Box = WINDOW, dbu_nm: float = 1.0) -> tuple[Defect, ...]:
    return find_defects(np.array(rects, np.int64).reshape(-1, 4), window, dbu_nm, KRF)


def turned(rects: Rects) -> Rects:
    return [(y_0, x_0, y_1, x_1) for x_0, y_0, x_1, y_1 in rects]


@pytest.mark.parametrize("rects", [[], LONE, CLEAN, turned(CLEAN), WIDE_END], ids=len)
def test_wide_shapes_far_apart_have_no_defect(rects: Rects) -> None:
    assert find(rects) == ()


PLAIN = [
    # shapes, kinds that they must fail by, least severity of one of these, where |y| is at most
    (GAP_OF_60, {"bridge"}, 1.0, 0),
    (GAP_OF_110, {"bridge", "space"}, 0.0, 0),
    (NECK_OF_60, {"open"}, 1.0, 0),
    (NECK_OF_100, {"open", "pinch"}, 0.0, 0),
    (THIN_END, {"line_end"}, 0.0, 0),
]
IDS = ["gap of 60", "gap of 110", "neck of 60", "neck of 100", "thin line end"]


@pytest.mark.parametrize("flip", [False, True], ids=["along x", "along y"])
@pytest.mark.parametrize(("rects", "kinds", "severity", "off"), PLAIN, ids=IDS)
def test_shapes_that_plainly_fail(
    rects: Rects, kinds: set[str], severity: float, off: int, flip: bool
) -> None:
    defects = find(turned(rects) if flip else rects)
    told = [defect for defect in defects if defect.kind in kinds]
    assert told
    assert max(defect.severity for defect in told) >= severity
    across = [defect.x_dbu if flip else defect.y_dbu for defect in told]
    assert min(abs(at) for at in across) <= off
    if kinds == {"line_end"}:
        (end,) = told
        along = end.y_dbu if flip else end.x_dbu
        assert along == 0, "the place is the middle of the drawn end"
    else:
        # A neck that does not print at all is too narrow where the wide parts begin.
        beside = {"epe", "pinch"} if "open" in kinds else {"epe"}
        assert all(defect.kind in kinds | beside for defect in defects)


def test_a_neck_fails_at_less_light_and_a_gap_at_more() -> None:
    corners = Corner("nominal", 1, 0), Corner("over", 1.2, 0), Corner("under", 0.8, 0)
    wide = replace(KRF, corners=corners)
    neck = [(-FAR, -200, -400, 200), (-400, -70, 400, 70), (400, -200, FAR, 200)]
    gap = [(-FAR, 75, FAR, 375), (-FAR, -375, FAR, -75)]
    for rects, kinds, corner in ((neck, {"pinch"}, "under"), (gap, {"space"}, "over")):
        defects = find_defects(np.array(rects), WINDOW, 1.0, wide)
        told = [defect for defect in defects if defect.kind != "epe"]
        assert {defect.kind for defect in told} == kinds
        assert {defect.corner for defect in told} == {corner}


def across(rects: Rects, row_dbu: int, corner: Corner) -> tuple[Floats, Floats]:
    """Places in nm along y = `row_dbu` and what the image is there, in shares of the threshold."""
    side = 11_300
    field = make_field(KRF, side)
    local = np.clip(np.array(rects) + side // 2, 0, side)
    coarse = imaged(KRF, corner.defocus_nm, local, field)
    n = field.pixels
    order = np.arange(1 - n // 2, n // 2)
    harmonics = np.fft.fft2(coarse, norm="forward")[np.ix_(order, order)]
    places = np.arange(-1000, 1000, 0.5)
    x, y = (places + side / 2) / side, (row_dbu + side / 2) / side
    row = np.exp(2j * np.pi * y * order) @ harmonics
    intensity = (np.exp(2j * np.pi * np.outer(x, order)) @ row).real
    return places, intensity * corner.dose / compute_threshold(KRF)


def test_severity_is_that_of_the_interpolated_image() -> None:
    limits = KRF.limits
    corners = {corner.name: corner for corner in KRF.corners}
    (end,) = (defect for defect in find(THIN_END) if defect.kind == "line_end")
    places, bright = across(THIN_END, 0, corners[end.corner])
    pulled_back_nm = -places[bright > 1].max()
    assert abs((1 + end.severity) * limits.line_end_epe_nm - pulled_back_nm) < 2
    neck = turned([(-FAR, -200, -400, 200), (-400, -65, 400, 65), (400, -200, FAR, 200)])
    pinch = max((d for d in find(neck) if d.kind == "pinch"), key=lambda d: d.severity)
    places, bright = across(neck, pinch.y_dbu, corners[pinch.corner])
    printed_nm = 0.5 * (bright[np.abs(places) < 150] > 1).sum()
    assert abs((1 - pinch.severity) * limits.pinch_share * 130 - printed_nm) < 2
    gap = turned([(-FAR, 60, FAR, 360), (-FAR, -360, FAR, -60)])
    space = max((d for d in find(gap) if d.kind == "space"), key=lambda d: d.severity)
    places, bright = across(gap, space.y_dbu, corners[space.corner])
    printed_nm = 0.5 * (bright[np.abs(places) < 150] < 1).sum()
    assert abs((1 - space.severity) * limits.space_share * 120 - printed_nm) < 2


def test_severity_grows_as_the_gap_shrinks() -> None:
    worst = []
    for gap in (130, 120, 110, 100):
        rects = [(-FAR, gap // 2, FAR, 400), (-FAR, -400, FAR, -gap // 2)]
        severities = [d.severity for d in find(rects) if d.kind in ("space", "bridge")]
        worst.append(max(severities, default=0.0))
    assert worst == sorted(worst)
    assert worst[0] < worst[-1] <= 1


def wires(seed: int, box: Box, step: int = 130) -> Int64s:
    """Random wires on tracks and ties, at and under the least width and space: disjoint."""
    drawn = tracks(seed, box.height // step, box.width // step, longest=30, ties=2)
    return runs_of(drawn) * step + np.array([box.x_min, box.y_min] * 2)


SQUARE = Box(-3000, 2000, 9000, 13_000)
WIRES = wires(7, SQUARE.grow(round(compute_halo_nm(KRF)) + 200))


def test_a_window_in_four_has_the_defects_of_the_whole() -> None:
    whole = find(WIRES, SQUARE)
    assert len(whole) > 20
    assert len({defect.kind for defect in whole}) > 1
    x, y = 1234, 9048  # one cut anywhere, one where two fields meet
    parts = [
        Box(SQUARE.x_min, SQUARE.y_min, x, y), Box(x, SQUARE.y_min, SQUARE.x_max, y),
        Box(SQUARE.x_min, y, x, SQUARE.y_max), Box(x, y, SQUARE.x_max, SQUARE.y_max),
    ]  # fmt: skip
    reach = round(compute_halo_nm(KRF)) + 1
    apart: list[Defect] = []
    for part in parts:
        seen = part.grow(reach)
        inside = (WIRES[:, 0] < seen.x_max) & (WIRES[:, 2] > seen.x_min)
        inside &= (WIRES[:, 1] < seen.y_max) & (WIRES[:, 3] > seen.y_min)
        apart += find(WIRES[inside], part)
    assert tuple(sorted(apart, key=lambda d: (d.y_dbu, d.x_dbu, d.kind))) == tuple(whole)


def test_order_and_cutting_of_the_rectangles_do_not_matter() -> None:
    whole = find(WIRES, SQUARE)
    rng = np.random.default_rng(0)
    assert tuple(find(WIRES[rng.permutation(len(WIRES))], SQUARE)) == tuple(whole)
    middle = (WIRES[:, 0] + WIRES[:, 2]) // 2
    left, right = WIRES.copy(), WIRES.copy()
    left[:, 2] = right[:, 0] = middle
    assert tuple(find(np.concatenate([right, left]), SQUARE)) == tuple(whole)


@pytest.mark.parametrize("steps", [(3, -2), (-1, 0)])
def test_a_shift_by_whole_fields_shifts_the_defects(steps: tuple[int, int]) -> None:
    dx, dy = (make_lattice(KRF, 1.0).core_dbu * step for step in steps)
    moved = Box(SQUARE.x_min + dx, SQUARE.y_min + dy, SQUARE.x_max + dx, SQUARE.y_max + dy)
    expected = [
        replace(defect, x_dbu=defect.x_dbu + dx, y_dbu=defect.y_dbu + dy)
        for defect in find(WIRES, SQUARE)
    ]
    assert list(find(WIRES + np.array([dx, dy, dx, dy]), moved)) == expected


@pytest.mark.parametrize("dbu_nm", [0.25, 0.1])
@pytest.mark.parametrize("rects", [GAP_OF_60, NECK_OF_100, THIN_END, CLEAN], ids=len)
def test_the_database_unit_does_not_matter(rects: Rects, dbu_nm: float) -> None:
    times = round(1 / dbu_nm)
    box = Box(*(side * times for side in WINDOW.as_tuple()))
    # Lines across the shapes are dbu-aligned: what is at the very limit may lie between two, and of
    # places that fail alike another one is named, up to a step of lines away.
    step_nm = make_lattice(KRF, 1.0).pitch_dbu // 4
    fine, coarse = (
        sorted((d for d in found if d.severity > 0.02), key=lambda d: (d.kind, d.y_dbu, d.x_dbu))
        for found in (find(np.array(rects) * times, box, dbu_nm), find(rects))
    )
    assert [d.kind for d in fine] == [d.kind for d in coarse]
    for a, b in zip(fine, coarse, strict=True):
        assert abs(a.x_dbu * dbu_nm - b.x_dbu) <= step_nm
        assert abs(a.y_dbu * dbu_nm - b.y_dbu) <= step_nm
        assert abs(a.severity - b.severity) < 0.02


def test_defects_lie_in_the_half_open_window() -> None:
    rects = np.array(THIN_END) + 300  # off the borders of the fields
    (end,) = (defect for defect in find(rects) if defect.kind == "line_end")
    x, y = end.x_dbu, end.y_dbu
    assert (x, y) == (300, 300)
    assert find(rects, Box(x, y, x + 1, y + 1)) == (end,)
    assert find(rects, Box(x - 9, y - 9, x, y + 9)) == ()
    assert find(rects, Box(x - 9, y - 9, x + 9, y)) == ()


@pytest.mark.parametrize("shift", [(7, 0), (0, 13), (21, 30)])
def test_what_is_measured_does_not_depend_on_where_the_layout_lies(shift: tuple[int, int]) -> None:
    # Wires that end inside the field: measured at the same places of each, wherever fields begin.
    shapes = np.array([
        (100, 0, 240, 900), (240, 300, 700, 440), (380, 500, 520, 1500), (-60, 620, 100, 760),
        (800, -200, 940, 1300), (700, 900, 800, 1040),
    ])  # fmt: skip
    here, there = (
        check_window(shapes + by, Box(*by - (500, 500, -1500, -2000)), 1.0, KRF, 2500)
        for by in np.array([(0, 0, 0, 0), (*shift, *shift)])
    )
    assert len(here.defects) > 3
    along = [KINDS.index(kind) for kind in ("pinch", "space", "epe", "line_end")]
    worst = [found.margins.margin.max(axis=0)[along] for found in (here, there)]
    np.testing.assert_allclose(*worst, atol=2e-3)


def masked(target: Rects, mask: Rects) -> tuple[Defect, ...]:
    shapes = [np.array(rects, np.int64).reshape(-1, 4) for rects in (target, mask)]
    return find_defects(shapes[0], WINDOW, 1.0, KRF, shapes[1])


def test_the_mask_prints_and_the_target_judges() -> None:
    # A neck in the mask pinches the line that the target asks for; a neck in the target does not.
    line, neck = LONE, [(-FAR, -200, -400, 200), (-400, -80, 400, 80), (400, -200, FAR, 200)]
    assert masked(line, line) == find(line) == ()
    kinds = {defect.kind for defect in masked(line, neck)}
    assert "pinch" in kinds
    assert kinds <= {"pinch", "epe"}
    assert {defect.kind for defect in masked(neck, line)} == {"epe"}


def test_a_mask_grown_at_its_end_saves_the_line_end() -> None:
    assert "line_end" in {defect.kind for defect in find(THIN_END)}
    grown = [(-FAR, -70, 60, 70), (-120, -110, 60, 110)]
    mask = [(-FAR, -70, -120, 70), *grown[1:]]
    assert "line_end" not in {defect.kind for defect in masked(THIN_END, mask)}


def test_what_a_mask_cuts_out_does_not_print() -> None:
    whole = np.array([(-FAR, -200, FAR, 200, 1), (-150, -200, 150, 200, -1)])
    cut = [(-FAR, -200, -150, 200), (150, -200, FAR, 200)]
    found = find_defects(np.array(LONE), WINDOW, 1.0, KRF, whole)
    assert "open" in {defect.kind for defect in found}
    assert found == masked(LONE, cut)


@pytest.mark.parametrize(
    ("target", "mask", "kind"),
    [([(0, 0, 600, 600)], [], "missing"), ([], [(0, 0, 600, 600)], "extra"), ([], [], None)],
    ids=["no mask", "no target", "neither"],
)
def test_a_target_or_a_mask_may_be_empty(target: Rects, mask: Rects, kind: str | None) -> None:
    found = [defect for defect in masked(target, mask) if defect.kind != "epe"]
    assert {defect.kind for defect in found} == ({kind} if kind else set())
    assert all(0 <= at < 600 for defect in found for at in (defect.x_dbu, defect.y_dbu))


@pytest.mark.parametrize("core_dbu", [10, 7, 1])
def test_labels_are_those_of_brute_force(core_dbu: int) -> None:
    rng = np.random.default_rng(core_dbu)
    places = rng.integers(-40, 40, (12, 2)).tolist()
    defects = tuple(Defect("epe", x, y, "over", 0.5) for x, y in places)
    grid = np.arange(-45, 46)
    x, y = (axis.ravel() for axis in np.meshgrid(grid, grid))
    low_x, low_y = x - core_dbu // 2, y - core_dbu // 2
    expected = np.zeros(len(x), bool)
    for at_x, at_y in places:
        in_x = (low_x <= at_x) & (at_x < low_x + core_dbu)
        expected |= in_x & (low_y <= at_y) & (at_y < low_y + core_dbu)
    got = label_clips(x, y, core_dbu, defects)
    assert expected.any()
    assert not expected.all()
    np.testing.assert_array_equal(got, expected)


def test_no_clips_or_no_defects_give_no_labels() -> None:
    one = np.zeros(1, np.int64)
    defect = Defect("epe", 0, 0, "over", 0.5)
    assert label_clips(one, one, 10, ()).tolist() == [False]
    assert label_clips(one[:0], one[:0], 10, (defect,)).shape == (0,)
    assert label_clips(one, one, 10, (defect,)).tolist() == [True]
