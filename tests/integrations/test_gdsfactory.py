"""A component of the real gdsfactory is scanned, in an environment of its own.

``make integrations`` makes the environment; elsewhere these tests are skipped.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hotscan

gf = pytest.importorskip("gdsfactory", reason="gdsfactory is not installed: make integrations")


@pytest.fixture(scope="module")
def component() -> Any:
    gf.gpdk.PDK.activate()
    drawn = gf.Component("hotscan_lines")
    for at in range(12):
        low, high = at * 0.3, at * 0.3 + 0.14
        drawn.add_polygon([(0, low), (8, low), (8, high), (0, high)], layer=(68, 20))
    return drawn


def test_a_component_is_scanned_as_its_file_is(component: Any, tmp_path: Path) -> None:
    run = hotscan.scan(component, layers="68/20", out=tmp_path / "a", workers=0, progress=False)
    file = component.write_gds(tmp_path / "lines.gds")
    same = hotscan.scan(file, layers="68/20", out=tmp_path / "b", workers=0, progress=False)
    assert isinstance(run, hotscan.Run)
    assert isinstance(same, hotscan.Run)
    assert run.complete
    assert run.metrics["clips"] == same.metrics["clips"] > 0
    assert np.array_equal(run.hotspots["score"].to_numpy(), same.hotspots["score"].to_numpy())


def test_a_scan_of_a_component_is_resumed(component: Any, tmp_path: Path) -> None:
    first, again = (
        hotscan.scan(component, layers="68/20", out=tmp_path / "a", workers=0, progress=False)
        for _ in range(2)
    )
    assert isinstance(first, hotscan.Run)
    assert isinstance(again, hotscan.Run)
    assert first.hotspots.equals(again.hotspots)
