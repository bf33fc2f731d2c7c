"""From the layout of patterns over measurements to a process file and its page."""

from __future__ import annotations

import csv
import html
import tomllib
from pathlib import Path

import numpy as np
import pytest

import hotscan
from pipeline.calibrate.calibrate import CalibrateRequest, calibrate_process, hold_out
from pipeline.calibrate.gauge_file import Gauge, find_sections
from pipeline.calibrate.process_file import format_process
from pipeline.layout.ingest import read_layout
from stages.contracts import Layer
from stages.errors import UsageError
from stages.lithography.calibration.patterns import parse_pattern
from stages.lithography.process import Resist, load_process, process_of
from tests.support.optical import KRF, QUASAR, SHIPPED, name_of


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return hotscan.gauges(tmp_path_factory.mktemp("gauges"), layer="7/3")


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_the_layout_holds_what_the_table_names(drawn: tuple[Path, Path]) -> None:
    layout, table = drawn
    packed = read_layout(layout, [Layer(7, 3)])
    rows = [row for row in rows_of(table) if row["dose"] == "1" and row["focus_nm"] == "0"]
    assert len(rows) > 50
    assert {row["direction"] for row in rows} == {"x", "y"}
    for row in rows[:: len(rows) // 8]:
        at = (float(row["x_um"]), float(row["y_um"]))
        common = (1.0, 1.0, 1.0, 0.0)
        direction, size = row["direction"], float(row["drawn_nm"])
        pattern = parse_pattern(row["pattern"])
        gauges = [
            Gauge(1, which, at, direction, size, *common)  # type: ignore[arg-type]
            for which in (None, pattern)
        ]
        (placed, alone), _ = find_sections(gauges, 3000.0, KRF, packed)
        assert placed[1:] == pytest.approx(alone[1:], abs=0.6), row
        areas = [((r.rects[:, 2:] - r.rects[:, :2]).prod(axis=1)).sum() for r in (placed, alone)]
        assert areas[0] == pytest.approx(areas[1], rel=0.01), row


def test_measurements_are_not_written_over(drawn: tuple[Path, Path]) -> None:
    with pytest.raises(UsageError, match="exists, perhaps with measurements"):
        hotscan.gauges(drawn[0].parent)


SIZES = ("line:140:280", "line:140:340", "line:140:420", "line:140", "line:200:400",
         "line:200", "space:140:420", "space:200", "line:300", "line:250:700")  # fmt: skip
MEASURED = (140, 131, 121, 105, 203, 175, 148, 210, 280, 226)


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> hotscan.Calibration:
    """Measurements that nothing prints exactly, in a file with a hostile name."""
    folder = tmp_path_factory.mktemp("fit")
    gauges = folder / "<b>x.csv"
    lines = [
        f"{name},x,{name.split(':')[1]},{value},1.5"
        for name, value in zip(SIZES, MEASURED, strict=True)
    ]
    head = "pattern,direction,drawn_nm,measured_nm,sigma_nm\n"
    gauges.write_text(head + "\n".join([*lines, "line:140:500,x,140,,1"]) + "\n")
    return hotscan.calibrate(gauges, out=folder / "mine.toml", held_out=0.1)


def test_the_process_file_is_a_process(result: hotscan.Calibration) -> None:
    process = load_process(result.process)
    assert process.name == "mine"
    assert process.anchor is None
    value = result.figures["parameters"]["threshold"]["value"]
    assert process.resist.threshold == value
    assert "# threshold = " in result.process.read_text()


def test_the_figures_say_what_was_done(result: hotscan.Calibration) -> None:
    figures = result.figures
    assert (figures["gauges"], figures["held_out"], figures["not_measured"]) == (10, 1, 1)
    fixed = [name for name, each in figures["parameters"].items() if each["fixed"]]
    assert "dose" in fixed
    assert figures["freedom"] == 9 - (8 - len(fixed))
    table = rows_of(result.process.with_suffix(".gauges.csv"))
    residual = np.array([float(row["residual_nm"]) for row in table])
    fitted = np.array([row["held_out"] == "0" for row in table])
    assert np.sqrt(np.mean(residual[fitted] ** 2)) == pytest.approx(figures["rms_nm"], abs=1e-3)


def test_the_page_names_every_pattern_and_escapes(result: hotscan.Calibration) -> None:
    text = result.page.read_text()
    assert "<b>x" not in text
    assert html.escape("<b>x.csv") in text
    for name in (*SIZES, *result.figures["parameters"]):
        assert f">{name}<" in text
    assert "a dose cannot be told from the threshold" in text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"out": Path("mine.txt")}, r"ends in \.toml"),
        ({"held_out": 1.0}, "held-out is 1; allowed: from 0 to less than 1"),
        ({"layer": "1/0"}, "--layout and --layer belong together"),
    ],
)
def test_requests_that_cannot_be_met(change: dict[str, object], message: str) -> None:
    wanted = {"gauges": Path("g.csv"), "out": Path("mine.toml")} | change
    with pytest.raises(UsageError, match=message):
        calibrate_process(CalibrateRequest(**wanted))  # type: ignore[arg-type]


def test_whole_patterns_are_held_out_whatever_the_order() -> None:
    names = [f"line:{n}" for n in range(100, 140) for _ in range(3)]
    held = hold_out(names, 0.25)
    assert held.sum() == 30
    assert (held.reshape(-1, 3) == held[::3, None]).all()
    assert (hold_out(names[::-1], 0.25) == held[::-1]).all()
    assert not hold_out(names, 0.0).any()


@pytest.mark.parametrize("process", [*SHIPPED, QUASAR], ids=name_of)
def test_a_process_file_reads_back(process: object) -> None:
    from dataclasses import replace

    changed = replace(process, anchor=None, resist=Resist(12.5, 0.3, 0.0, -0.04, 90.0))  # type: ignore[type-var]
    text = format_process(changed, ["a\nb = 3"])
    assert process_of(tomllib.loads(text)) == changed
