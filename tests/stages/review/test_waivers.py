"""Waivers: what they cover, and the file that people edit and merge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date

import numpy as np
import pytest

from stages.errors import ConfigError
from stages.findings import Failures
from stages.review.waivers import (
    ELSEWHERE,
    EXPIRED,
    IN_FORCE,
    UNUSED,
    Basis,
    Grounds,
    Waiver,
    apply_waivers,
    format_waivers,
    make_waiver,
    parse_waivers,
)

TODAY = date(2026, 3, 4)
BASIS = Basis("krf130", ("68/20",), 1.0, 214.0)
GROUNDS = Grounds(reason="seen in silicon", by="N. N.", given=TODAY)
A, B, C = (letter * 32 for letter in "abc")

Row = tuple[int, str, str, float, bool]


def make_failures(*rows: Row) -> Failures:
    """Return failures of rows of hotspot, key, kind, severity, and whether it is the worst."""
    hotspot, key, kind, severity, main = zip(*rows, strict=True) if rows else ((),) * 5
    places = np.arange(2 * len(rows)).reshape(-1, 2)
    return Failures(
        np.array(hotspot, np.int64), places, key, kind, np.array(severity, float),
        np.array(main, bool),
    )  # fmt: skip


def waive(*rows: Row, **changes: object) -> Waiver:
    return replace(make_waiver(make_failures(*rows), BASIS, GROUNDS, "class C1"), **changes)


def covered(waivers: Sequence[Waiver], *rows: Row, today: date = TODAY) -> set[int]:
    return set(apply_waivers(waivers, make_failures(*rows), BASIS, today).by)


class TestCover:
    def test_the_geometry_that_was_there_and_no_other(self) -> None:
        waiver = waive((1, A, "pinch", 0.2, True), (2, B, "pinch", 0.1, True))
        rows = [(7, A, "pinch", 0.2, True), (8, B, "pinch", 0.1, True), (9, C, "pinch", 0.1, True)]
        assert covered([waiver], *rows) == {7, 8}

    def test_every_place_of_a_hotspot(self) -> None:
        """A new failure beside an accepted one shows."""
        waiver = waive((1, A, "pinch", 0.2, True))
        rows = [(7, A, "pinch", 0.2, True), (7, C, "space", 0.01, False)]
        assert covered([waiver], *rows) == set()

    def test_several_waivers_together(self) -> None:
        first, second = waive((1, A, "pinch", 0.2, True)), waive((1, B, "space", 0.1, True))
        rows = [(7, A, "pinch", 0.2, True), (7, B, "space", 0.1, False)]
        found = apply_waivers([first, second], make_failures(*rows), BASIS, TODAY)
        assert found.by == {7: (first, second)}

    def test_what_lay_beside_is_not_accepted_alone(self) -> None:
        waiver = waive((1, A, "pinch", 0.2, True), (1, B, "space", 0.1, False))
        assert waiver.geometry == {A: 0.2}
        assert waiver.beside == {B: 0.1}
        both = [(7, A, "pinch", 0.2, True), (7, B, "space", 0.1, False)]
        assert covered([waiver], *both, (8, B, "space", 0.1, True)) == {7}
        worst = [(7, A, "pinch", 0.05, False), (7, B, "space", 0.1, True)]
        assert covered([waiver], *worst) == set()

    def test_nothing_worse(self) -> None:
        waiver = waive((1, A, "pinch", 0.2, True))
        rows = [(n, A, "pinch", severity, True) for n, severity in ((1, 0.1), (2, 0.22), (3, 0.24))]
        assert covered([waiver], *rows) == {1, 2}

    def test_no_other_kind(self) -> None:
        waiver = waive((1, A, "pinch", 0.2, True))
        assert covered([waiver], (1, A, "open", 0.1, True)) == set()

    def test_what_was_not_simulated_covers_no_defect(self) -> None:
        waiver = waive((1, A, "", 0.0, True))
        assert covered([waiver], (1, A, "", 0.0, True), (2, A, "pinch", 0.001, True)) == {1}

    def test_without_simulation_the_best_clip_may_change(self) -> None:
        waiver = waive((1, A, "", 0.0, True), (1, B, "", 0.0, False))
        rows = [(7, A, "", 0.0, False), (7, B, "", 0.0, True), (8, B, "", 0.0, True)]
        assert covered([waiver], *rows) == {7}

    def test_the_last_day_counts(self) -> None:
        waiver = waive((1, A, "pinch", 0.2, True), expires=TODAY)
        rows = [(1, A, "pinch", 0.2, True)]
        assert covered([waiver], *rows) == {1}
        over = apply_waivers([waiver], make_failures(*rows), BASIS, date(2026, 3, 5))
        assert over.by == {}
        assert [(use.state, use.hotspots) for use in over.expired] == [(EXPIRED, 1)]
        assert "expired until 2026-03-04, 1 hotspots: seen in sil" in over.expired[0].describe()

    def test_an_expired_one_is_not_needed_where_another_covers(self) -> None:
        rows = [(1, A, "pinch", 0.2, True)]
        old = waive(*rows, expires=date(2026, 1, 1), id="w-old")
        found = apply_waivers([old, waive(*rows)], make_failures(*rows), BASIS, TODAY)
        assert set(found.by) == {1}
        assert found.expired == ()

    @pytest.mark.parametrize(
        "other",
        [{"process": "arfi45"}, {"layers": ("69/20",)}, {"dbu_nm": 0.5}, {"radius_nm": 300.0}],
    )
    def test_one_of_another_scan_never_applies(self, other: dict[str, object]) -> None:
        rows = [(1, A, "pinch", 0.2, True)]
        found = apply_waivers([waive(*rows, **other)], make_failures(*rows), BASIS, TODAY)
        assert found.by == {}
        assert [use.state for use in found.uses] == [ELSEWHERE]

    def test_every_waiver_is_accounted_for(self) -> None:
        waivers = [waive((1, A, "pinch", 0.2, True)), waive((1, C, "pinch", 0.2, True))]
        found = apply_waivers(waivers, make_failures((4, A, "pinch", 0.2, True)), BASIS, TODAY)
        assert [(use.state, use.hotspots) for use in found.uses] == [(IN_FORCE, 1), (UNUSED, 0)]

    def test_no_hotspots(self) -> None:
        assert covered([waive((1, A, "pinch", 0.2, True))]) == set()


class TestFile:
    def test_what_is_written_is_read(self) -> None:
        waivers = (
            waive((1, A, "", 0.0, True), (1, B, "", 0.0, False)),
            waive((1, C, "pinch", 0.125, True), expires=date(2027, 1, 31), reason='"\n\x1b <&>'),
        )
        read = {each.id: each for each in parse_waivers(format_waivers(waivers))}
        assert read == {each.id: each for each in waivers}

    def test_the_order_does_not_matter(self) -> None:
        """Waivers by day, keys sorted: a merge of two branches gives one text."""
        early = waive((1, A, "", 0.0, True), given=date(2026, 1, 1), id="w-z")
        late = [waive((1, B, "", 0.0, True)), waive((1, C, "", 0.0, True), (1, A, "", 0.0, True))]
        text = format_waivers([early, *late])
        assert text == format_waivers([*reversed(late), early])
        assert parse_waivers(text)[0].id == "w-z"
        (several,) = parse_waivers(format_waivers(late[1:]))
        assert list(several.geometry) == [A, C]

    def test_the_same_waiver_has_the_same_id(self) -> None:
        rows = [(1, A, "pinch", 0.2, True), (2, B, "pinch", 0.2, True)]
        assert waive(*rows).id == waive(*reversed(rows)).id
        assert waive(*rows).id != waive(*rows[:1]).id

    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            ("format = 1", "format = 2", r"format is 2; allowed: 1"),
            ("format = 1", "format 1", "it is not TOML"),
            (f"{A} = 0.25", f"{A[1:]} = 0.25", "allowed: 32 hexadecimal digits"),
            (f"{A} = 0.25", f"{A} = -1", r"waiver\[0\].geometry.*is -1"),
            (f"{A} = 0.25", "", r"waiver\[0\].geometry is \{\}; allowed"),
            ("given = 2026-03-04", 'given = "2026-03-04"', r"waiver\[0\].given is '2026-03-04'"),
            ('by = "N. N."', 'by = ""', r"waiver\[0\].by is ''"),
            ('by = "N. N."', 'bye = "N. N."', r"bye is not a setting; did you mean by"),
        ],
    )
    def test_errors_name_the_place(self, old: str, new: str, message: str) -> None:
        text = format_waivers([waive((1, A, "pinch", 0.25, True))])
        assert old in text
        with pytest.raises(ConfigError, match=message):
            parse_waivers(text.replace(old, new))

    def test_an_id_twice_is_refused(self) -> None:
        waiver = waive((1, A, "pinch", 0.25, True))
        with pytest.raises(ConfigError, match=f"id {waiver.id} is there more than once"):
            parse_waivers(format_waivers([waiver, replace(waiver, reason="another")]))


@pytest.mark.parametrize(
    ("grounds", "message"),
    [
        (replace(GROUNDS, reason=" "), "reason is ''"),
        (replace(GROUNDS, by=""), "by is ''"),
        (replace(GROUNDS, expires=date(2026, 3, 3)), r"expired on 2026-03-03, before it is given"),
    ],
)
def test_waivers_that_cannot_be_are_refused(grounds: Grounds, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_waiver(make_failures((1, A, "pinch", 0.2, True)), BASIS, grounds, "")
