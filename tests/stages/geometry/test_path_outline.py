from __future__ import annotations

import klayout.db as kdb
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.geometry.path_outline import outline_path, outline_paths

Points = list[tuple[int, int]]
Path = tuple[Points, int, int, int, bool]
"""Centre line, width, begin, end, round ends."""

CASES: dict[str, Path] = {
    "straight": ([(0, 0), (1000, 0)], 100, 0, 0, False),
    "upright, odd width": ([(7, 3), (7, 900)], 101, 0, 0, False),
    "odd width off the axes": ([(0, 0), (700, 500)], 101, 50, 50, False),
    "odd width, diagonal": ([(0, 0), (1000, 1000), (2000, 1000)], 9, 4, 4, False),
    "width 1": ([(0, 0), (1000, 0), (1000, 1000)], 1, 0, 0, False),
    "negative extension": ([(0, 0), (1000, 0)], 100, -50, 30, False),
    "shortened past its other end": ([(0, 0), (1000, 0)], 100, -700, -600, False),
    "points repeat": ([(0, 0), (0, 0), (900, 0), (900, 0), (900, 700)], 80, 40, 40, False),
    "points in line": ([(0, 0), (500, 0), (900, 0), (900, 300), (900, 700)], 80, 0, 0, False),
    "half a dbu off the line": ([(0, 0), (1000, 0), (2000, 1), (3000, 3)], 100, 0, 0, False),
    "turn of 45": ([(0, 0), (2000, 0), (3414, 1414)], 200, 0, 0, False),
    "turn of 90, slanted": ([(0, 0), (300, 400), (-100, 700)], 100, 0, 0, False),
    "turn of 100": ([(0, 0), (2000, 0), (1740, 1477)], 200, 0, 0, False),
    "turn of 150": ([(0, 0), (2000, 0), (701, 750)], 200, 0, 0, False),
    "turn of 175": ([(0, 0), (2000, 0), (506, -131)], 200, 0, 0, False),
    "turn of 179.94": ([(0, 0), (1000, 0), (0, 1)], 100, 0, 0, False),
    "back over itself": ([(0, 0), (1000, 0), (300, 0)], 100, 0, 0, False),
    "back, then off": ([(0, 0), (1000, 0), (0, 0), (0, 1000)], 200, 100, 100, False),
    "U narrower than its width": ([(0, 0), (1000, 0), (1000, 60), (0, 60)], 100, 0, 0, False),
    "steps under its width": ([(0, 0), (20, 0), (20, 20), (40, 20), (40, 40)], 100, 0, 0, False),
    "inner corner past a short segment": ([(0, 0), (5000, 0), (4800, 60)], 400, 0, 0, False),
    "closed ring": ([(0, 0), (900, 0), (900, 900), (0, 900), (0, 0)], 100, 50, 50, False),
    "round ends": ([(0, 0), (1000, 0), (1000, 700)], 100, 50, 50, True),
    "round ends, slanted": ([(0, 0), (1000, 370)], 250, 125, 125, True),
    "elliptic ends": ([(0, 0), (1000, 0)], 100, 70, 20, True),
    "round, of no reach": ([(0, 0), (1000, 0)], 100, 0, 0, True),
    "dot": ([(5, 7)], 100, 50, 50, False),
    "dot of two equal points": ([(5, 7), (5, 7)], 101, 50, 50, False),
    "circle": ([(5, 7), (5, 7)], 1000, 500, 500, True),
    "dot of no reach": ([(5, 7)], 100, 0, 0, False),
    "no width": ([(0, 0), (1000, 300)], 0, 0, 0, False),
}  # fmt: skip


def by_klayout(path: Path) -> kdb.Region:
    points, width, begin, end, round_ends = path
    line = [kdb.Point(x, y) for x, y in points]
    return kdb.Region(kdb.Path(line, width, begin, end, round_ends).polygon())


def region(corners: np.ndarray) -> kdb.Region:
    filled = kdb.Region()
    if len(corners):
        filled.insert(kdb.Polygon([kdb.Point(x, y) for x, y in corners.tolist()], True))
    return filled


def by_us(path: Path) -> kdb.Region:
    points, width, begin, end, round_ends = path
    return region(outline_path(np.array(points, np.int64), width, begin, end, round_ends))


@pytest.mark.parametrize("path", CASES.values(), ids=CASES.keys())
def test_named_paths_are_klayouts_to_the_dbu(path: Path) -> None:
    assert (by_us(path) ^ by_klayout(path)).area() == 0


@pytest.mark.parametrize("turn", range(1, 180))
def test_every_turn_is_klayouts(turn: int) -> None:
    away = np.rint(2000 * np.array((np.cos(np.radians(turn)), np.sin(np.radians(turn)))))
    for side in (1, -1):
        points = [(0, 0), (2000, 0), (2000 + int(away[0]), side * int(away[1]))]
        path = (points, 200, 0, 0, False)
        assert (by_us(path) ^ by_klayout(path)).area() == 0


def test_a_reversal_has_no_spike() -> None:
    corners = outline_path(np.array([[0, 0], [1000, 0], [0, 1]], np.int64), 100, 0, 0, False)
    assert corners[:, 0].max() == 1050  # half a width past the turn, and no further


def test_many_paths_are_outlined_as_one_by_one() -> None:
    lines = [np.array(points, np.int64) for points, *_ in CASES.values()]
    shape = np.array([path[1:] for path in CASES.values()], np.int64)
    starts = np.concatenate(([0], np.cumsum([len(line) for line in lines])))
    corners, corner_starts = outline_paths(np.concatenate(lines), starts, shape)
    for path, line in enumerate(lines):
        width, begin, end, round_ends = shape[path].tolist()
        alone = outline_path(line, width, begin, end, bool(round_ends))
        assert np.array_equal(corners[slice(*corner_starts[path : path + 2])], alone)


@st.composite
def paths(draw: st.DrawFn) -> Path:
    """Paths with steps of every kind: along axes, diagonals, back, of no length, any."""
    reach = draw(st.sampled_from((4, 60, 10_000)))
    length = st.integers(-reach, reach)
    points = [(draw(length), draw(length))]
    for kind in draw(st.lists(st.sampled_from("xydbsa"), max_size=6)):
        (x, y), step = points[-1], draw(length)
        points.append({
            "x": (x + step, y), "y": (x, y + step), "d": (x + step, y - step), "s": (x, y),
            "b": points[max(len(points) - 2, 0)], "a": (x + step, y + draw(length)),
        }[kind])  # fmt: skip
    width = draw(st.integers(1, 2 * reach))
    if draw(st.booleans()):
        return points, width, width // 2, width // 2, draw(st.booleans())
    return points, width, draw(length), draw(length), False


@given(paths())
def test_any_path_is_klayouts_within_slivers(path: Path) -> None:
    # KLayout's trigonometry leaves noise at ties of half a dbu: one corner may be one dbu off,
    # which undersizing by one dbu removes.
    apart = by_us(path) ^ by_klayout(path)
    assert apart.sized(-1).is_empty()
