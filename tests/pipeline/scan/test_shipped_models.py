"""What the shipped models say of two small layouts, as it was when they were shipped."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import gdstk
import numpy as np
import pytest

from pipeline.config import Resources, load_config
from pipeline.passes.arrays import read_patterns
from pipeline.scan.scan import scan
from stages.detector import checkpoint
from tests.support.optical import runs_of, tracks
from tests.support.small_scan import BLOCK

NEAR = 1e-5
"""How far scores may differ between processors: clips this near to the threshold may change."""


@dataclass(frozen=True)
class Golden:
    """What a scan counts."""

    clips: int
    patterns: int
    flagged: int
    hotspots: int


GOLDEN = {
    "krf130-met1": Golden(clips=0, patterns=0, flagged=0, hotspots=0),
    "arfi45": Golden(clips=0, patterns=0, flagged=0, hotspots=0),
}


def write_45_nm_wires(path: Path) -> Path:
    """Random wires of 45 nm at a pitch of 90 nm, with ties between some; 18 x 18 um."""
    library = gdstk.Library(unit=1e-6, precision=1e-9)
    cell = library.new_cell("wires")
    for x0, y0, x1, y1 in runs_of(tracks(3, 400, 400)) * 0.045:
        cell.add(gdstk.rectangle((x0, y0), (x1, y1), layer=68, datatype=20))
    library.write_gds(path)
    return path


@pytest.mark.parametrize("model", GOLDEN)
def test_a_shipped_model_flags_what_it_did(model: str, tmp_path: Path) -> None:
    if model == "arfi45":
        layout, area = write_45_nm_wires(tmp_path / "wires.gds"), {}
    else:
        layout, area = BLOCK, {"roi_um": (40.0, 40.0, 100.0, 95.0)}
    config = load_config(
        None, {"layout": {"layers": ["68/20"], **area}, "scores": {"model": model}}
    )
    result = scan(layout, tmp_path / "run", config, Resources(workers=0), lambda event: None)
    score, count = read_patterns(result.run, "score", "count")
    threshold = checkpoint.load(checkpoint.find(model)).operating_point.threshold
    near = int(count[np.abs(score - threshold) < NEAR].sum())
    flagged = int(count[score >= threshold].sum())
    found = Golden(result.metrics["clips"], len(score), flagged, result.metrics["hotspots"])
    expected = GOLDEN[model]
    assert (found.clips, found.patterns) == (expected.clips, expected.patterns), found
    assert abs(found.flagged - expected.flagged) <= near, found
    assert abs(found.hotspots - expected.hotspots) <= near, found


def test_every_shipped_model_is_scanned_with() -> None:
    assert set(GOLDEN) == set(checkpoint.shipped())
