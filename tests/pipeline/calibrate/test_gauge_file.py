"""Files of gauges are read; what is wrong with one is said by line and column."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.calibrate.gauge_file import check_sizes, find_sections, read_gauges
from stages.errors import UsageError
from tests.support.optical import KRF

HEAD = "pattern,x_um,y_um,direction,drawn_nm,measured_nm,sigma_nm,dose,focus_nm,note\n"
GOOD = "line:140:280,,,x,140,131.5,0.5,1.02,-60,\n"


def write(folder: Path, text: str) -> Path:
    path = folder / "g.csv"
    path.write_text(text)
    return path


def test_rows_are_read(tmp_path: Path) -> None:
    text = HEAD + GOOD + "\n,1.5,-2,y,200,190,1,,,by hand\n" + "line:140,0,0,x,140,,1,1,0,\n"
    (first, second), blank = read_gauges(write(tmp_path, text))
    assert blank == 1
    assert (first.name, first.dose, first.focus_nm, first.measured_nm) == (
        "line:140:280", 1.02, -60, 131.5
    )  # fmt: skip
    assert (second.name, second.direction, second.dose, second.focus_nm) == (
        "1.5, -2 um", "y", 1, 0
    )  # fmt: skip


def test_short_files_have_few_columns(tmp_path: Path) -> None:
    text = "\ufeffpattern,direction,drawn_nm,measured_nm,sigma_nm\nline:140,x,140,130,1\n"
    (gauge,), blank = read_gauges(write(tmp_path, text))
    assert (gauge.dose, gauge.focus_nm, blank) == (1, 0, 0)


BAD = {
    "": "no column direction",
    "does," + HEAD + GOOD: "unknown column 'does'; did you mean dose?",
    "dose," + HEAD + GOOD: "a column twice",
    HEAD.replace("sigma_nm", "note2"): "unknown column 'note2'; did you mean note?",
    "direction,drawn_nm,measured_nm,sigma_nm\n": "neither a column pattern nor x_um",
    HEAD: "no measurement",
    HEAD + GOOD.replace("1.02", "-1"): "line 2: dose is '-1'; allowed: a number over 0",
    HEAD + GOOD.replace("0.5", "0"): "line 2: sigma_nm is '0'",
    HEAD + GOOD.replace("0.5", ""): "line 2: sigma_nm is ''",
    HEAD + GOOD.replace("131.5", "wide"): "line 2: measured_nm is 'wide'",
    HEAD + GOOD.replace("-60", "inf"): "line 2: focus_nm is 'inf'; allowed: a number",
    HEAD + GOOD.replace(",x,", ",z,"): "line 2: direction is 'z'; allowed: x or y",
    HEAD + GOOD.replace("line:", "lime:"): "line 2: pattern 'lime:140:280' is no pattern",
    HEAD + GOOD.replace("line:140:280", ""): "line 2: pattern is blank; give it, or x_um and y_um",
    HEAD + GOOD.strip() + ",,,\n": "line 2: more values than columns",
    HEAD + '"line:140\n': "no CSV file",
}


@pytest.mark.parametrize(("text", "message"), BAD.items(), ids=list(BAD.values()))
def test_what_is_wrong_is_said(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_gauges(write(tmp_path, text))
    assert message in str(caught.value)


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "g.csv"
    path.write_bytes(HEAD.encode() + b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="no CSV file in UTF-8"):
        read_gauges(path)
    with pytest.raises(UsageError, match=r"none\.csv cannot be read"):
        read_gauges(tmp_path / "none.csv")


def test_a_drawn_size_must_be_that_of_the_pattern(tmp_path: Path) -> None:
    gauges, _ = read_gauges(write(tmp_path, HEAD + GOOD.replace(",140,", ",150,")))
    with pytest.raises(UsageError, match="drawn_nm is 150, but line:140:280 is 140 nm along x"):
        find_sections(gauges, 3000.0, KRF, None)


def test_a_place_needs_its_layout(tmp_path: Path) -> None:
    gauges, _ = read_gauges(write(tmp_path, HEAD + GOOD.replace("line:140:280,,", ",1,1")))
    with pytest.raises(UsageError, match="line 2 is a place in a layout; give its file and layer"):
        find_sections(gauges, 3000.0, KRF, None)


@pytest.mark.parametrize(("text", "size"), [("line:1:280", "1"), ("line:5000", "5000")])
def test_sizes_that_light_cannot_tell_are_refused(tmp_path: Path, text: str, size: str) -> None:
    row = GOOD.replace("line:140:280", text).replace(",140,", f",{size},")
    gauges, _ = read_gauges(write(tmp_path, HEAD + row))
    with pytest.raises(UsageError, match=f"line 2: a size of {size} nm"):
        check_sizes(gauges, KRF)
