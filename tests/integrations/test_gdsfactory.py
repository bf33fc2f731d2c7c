"""A component of the real gdsfactory is scanned, in an environment of its own.

``make integrations`` makes the environment; elsewhere these tests are skipped.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import hotscan

gf = pytest.importorskip("gdsfactory", reason="gdsfactory is not installed: make integrations")


def make_component() -> object:
    component = gf.Component("hotscan_lines")
    for at in range(12):
        component.add_polygon([(0, at * 0.3), (8, at * 0.3), (8, at * 0.3 + 0.14),
                               (0, at * 0.3 + 0.14)], layer=(68, 20))  # fmt: skip
    return component


def test_a_component_is_scanned_as_its_file_is(tmp_path: Path) -> None:
    component = make_component()
    run = hotscan.scan(component, layers="68/20", out=tmp_path / "a", workers=0, progress=False)
    file = component.write_gds(tmp_path / "lines.gds")  # type: ignore[attr-defined]
    same = hotscan.scan(file, layers="68/20", out=tmp_path / "b", workers=0, progress=False)
    assert isinstance(run, hotscan.Run)
    assert isinstance(same, hotscan.Run)
    assert run.complete
    assert run.metrics["clips"] == same.metrics["clips"] > 0
    assert np.array_equal(run.hotspots["score"].to_numpy(), same.hotspots["score"].to_numpy())


def test_a_scan_of_a_component_is_resumed(tmp_path: Path) -> None:
    first = hotscan.scan(
        make_component(), layers="68/20", out=tmp_path / "a", workers=0, progress=False
    )
    again = hotscan.scan(
        make_component(), layers="68/20", out=tmp_path / "a", workers=0, progress=False
    )
    assert first.hotspots.equals(again.hotspots)  # type: ignore[union-attr]
