"""Pictures of a simulated window: what they show, and that grey readers can tell it apart."""

from __future__ import annotations

from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
from matplotlib.colors import to_rgb
from shapely import box

from stages.contracts import Box, Defect
from stages.exports import figure
from stages.exports.figure import SimulatedWindow, draw_light, draw_window
from stages.findings import Prints

HOLE = box(1000, 1000, 1900, 1900).difference(box(1300, 1300, 1600, 1600))


def window(**changed: object) -> SimulatedWindow:
    given = {
        "title": "a$b_chip.gds", "window": Box(0, 0, 3000, 2000), "dbu_nm": 1.0,
        "target": np.array([[100, 100, 240, 1900], [1000, 1000, 1900, 1900]]), "mask": None,
        "prints": Prints({"nominal": [HOLE], "over": [HOLE], "under": []}, [box(0, 0, 50, 60)]),
        "intensity": np.linspace(0, 1, 600, dtype=np.float32).reshape(20, 30),
        "samples": Box(0, 0, 3000, 2000), "threshold": 0.3,
        "defects": [Defect("pinch", 150, 700, "under", 0.5), Defect("space", 900, 90, "over", 0.1)],
    }  # fmt: skip
    return SimulatedWindow(**given | changed)  # type: ignore[arg-type]


def test_a_picture_says_what_is_what() -> None:
    text = draw_window(window(), "svg").decode()
    ElementTree.fromstring(text)
    for said in ("a$b_chip.gds", "0.5 um", "prints at nominal", "prints at under", "pinch (1)",
                 "space (1)", "process variation band"):  # fmt: skip
        assert f"<!-- {said} -->" in text, said
    assert "<!-- mask -->" not in text
    masked = draw_window(window(mask=np.array([[90, 90, 250, 1900]])), "svg").decode()
    assert "<!-- mask -->" in masked


def test_the_users_settings_change_nothing() -> None:
    before = draw_window(window(), "svg")
    with mpl.rc_context({"font.size": 30, "lines.linewidth": 9, "svg.fonttype": "none"}):
        assert draw_window(window(), "svg") == before


def test_an_empty_window_is_drawn() -> None:
    nothing = Prints({"nominal": []}, [])
    dark = window(target=np.empty((0, 4), np.int64), prints=nothing, defects=[],
                  intensity=np.zeros((20, 30), np.float32))  # fmt: skip
    assert draw_window(dark, "png").startswith(b"\x89PNG")


def test_an_image_alone_is_drawn() -> None:
    text = draw_light(
        np.eye(9, dtype=np.float32), np.arange(9.0) * 10, np.arange(9.0) * 10, 0.5, "svg"
    ).decode()
    assert "<!-- 20 nm -->" in text


def test_grey_readers_can_tell_it_apart() -> None:
    """Fills differ in lightness; lines in their dashes, marks in their shapes."""
    fills = (figure._DRAWN, figure._BAND, "#000000", "#ffffff")
    grey = sorted(float(np.dot(to_rgb(fill), (0.2126, 0.7152, 0.0722))) for fill in fills)
    assert min(np.diff(grey)) > 0.1
    dashes = [str(style["linestyle"]) for style in figure._CORNER_STYLES]
    assert len(set(dashes)) == len(dashes)
    assert len(set(figure._MARKS.values())) == len(figure._MARKS) == 8
