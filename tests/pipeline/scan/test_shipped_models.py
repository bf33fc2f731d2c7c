"""What the shipped models say of two small layouts, as it was when they were shipped."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path

import gdstk
import numpy as np
import pytest

from pipeline.config import Resources, load_config
from pipeline.passes.arrays import read_patterns
from pipeline.scan.request import ScanRequest
from pipeline.scan.scan import scan
from sample_layouts.vias import write_vias
from stages.detector.models import checkpoint
from tests.support.small_scan import DENSE

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
    "krf130-met1": Golden(clips=2112, patterns=2012, flagged=520, hotspots=106),
    "arfi45": Golden(clips=990, patterns=990, flagged=80, hotspots=44),
    "arfi45-via": Golden(clips=1597, patterns=1597, flagged=20, hotspots=14),
}


ROI_UM = (40.0, 40.0, 100.0, 95.0)
SHRINK = 45 / 140
"""What makes the least width of the sample block, 140 nm, that of arfi45."""


def write_shrunk_block(path: Path) -> Path:
    """Write the metal of the sample block as small as arfi45 prints it."""
    whole = path.with_name("block.gds")
    whole.write_bytes(gzip.decompress(DENSE.read_bytes()))
    (top,) = gdstk.read_gds(whole).top_level()
    library = gdstk.Library(unit=1e-6, precision=1e-9)
    cell = library.new_cell("shrunk")
    for polygon in top.get_polygons(layer=68, datatype=20):
        points_um = np.rint(polygon.points * 1000 * SHRINK) / 1000
        cell.add(gdstk.Polygon(points_um, layer=68, datatype=20))
    library.write_gds(path)
    return path


@pytest.mark.parametrize("model", GOLDEN)
def test_a_shipped_model_flags_what_it_did(model: str, tmp_path: Path) -> None:
    layout, layer, roi_um = DENSE, "68/20", ROI_UM
    if model == "arfi45":
        layout = write_shrunk_block(tmp_path / "shrunk.gds")
        roi_um = tuple(round(v * SHRINK, 3) for v in ROI_UM)
    if model == "arfi45-via":
        layout, layer, roi_um = tmp_path / "vias.gds", "52/0", (0.0, 0.0, 24.0, 24.0)
        write_vias(layout, layer="via2", side_um=24.0, seed=7)
    config = load_config(
        None, {"layout": {"layers": [layer], "roi_um": roi_um}, "scores": {"model": model}}
    )
    request = ScanRequest(layout=layout, out=tmp_path / "run", config=config)
    result = scan(request, Resources(workers=0), lambda event: None)
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
