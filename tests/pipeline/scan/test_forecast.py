"""What is foreseen is what comes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.cli.scan_text import plan_text
from pipeline.config import Resources, load_config
from pipeline.engine.memory import own_mb
from pipeline.engine.storage.run_directory import Run
from pipeline.scan.forecast import _extrapolate, estimate
from stages.errors import ConfigError
from tests.support.small_scan import DENSE, ROI_UM, SmallScan


@pytest.mark.parametrize("size_um", [100.0, 6.0])
def test_counts_are_foreseen_within_half_as_much_again(
    size_um: float, small_scan: SmallScan, reference: Run
) -> None:
    """With every tile tried, and with a third of them."""
    config = load_config(
        None,
        {
            "layout": {"layers": ["68/20"], "roi_um": ROI_UM},
            "tiles": {"size_um": size_um},
            "scores": {"model": str(small_scan.model)},
        },
    )
    foreseen = estimate(DENSE, config, Resources())
    real = json.loads((reference.report / "metrics.json").read_text())
    assert (foreseen["tiles_sampled"] < foreseen["tiles"]) == (size_um == 6.0)
    assert foreseen["area_um2"] == real["area_um2"]
    for name in ("clips", "patterns"):
        assert real[name] / 1.5 < foreseen[name] < real[name] * 1.5
    written = sum(p.stat().st_size for p in reference.path.rglob("*") if p.is_file()) / 1e6
    assert written / 1.5 < foreseen["disk_mb"] < written * 1.5
    assert foreseen["worker_mb"] == pytest.approx(own_mb(), rel=0.2)


@pytest.mark.parametrize(("size", "least"), [("10", 10), ("5%", 30), ("0.1s", 1)])
def test_what_an_audit_would_cost(size: str, least: int, small_scan: SmallScan) -> None:
    config = load_config(None, {
        "layout": {"layers": ["68/20"], "roi_um": (48.0, 48.0, 80.0, 80.0)},
        "scores": {"model": str(small_scan.model)}, "audit": {"size": size},
    })  # fmt: skip
    foreseen = estimate(DENSE, config, Resources(workers=2))
    assert least <= foreseen["clips_to_audit"] <= foreseen["clips"]
    assert (foreseen["clips_to_audit"] == least) or not size.isdigit()
    assert foreseen["seconds_audit"] >= 0
    shown = f"audit     {foreseen['clips_to_audit']:,} clips: "
    assert shown in plan_text(foreseen)


@pytest.mark.parametrize("power", [0.0, 0.4, 1.0])
def test_growth_of_patterns_is_carried_on(power: float) -> None:
    """Patterns = clips ** power, sampled at 10,000 and 5,000 clips, at a million."""
    patterns = [round(n**power) for n in (5_000, 10_000, 1_000_000)]
    foreseen = _extrapolate(5_000, patterns[0], 10_000, patterns[1], 1_000_000)
    assert foreseen == pytest.approx(patterns[2], rel=0.1)


def test_nothing_sampled_is_nothing_foreseen() -> None:
    assert _extrapolate(0, 0, 0, 0, 0) == 0


def test_a_plan_refuses_what_the_scan_would(small_scan: SmallScan, tmp_path: Path) -> None:
    named = {"layout": {"layers": ["met5"], "tech": "sky130A"},
             "scores": {"model": str(small_scan.model)}}  # fmt: skip
    with pytest.raises(ConfigError, match=r"no layer 72/20 \(met5\); .* 67/20 \(li1\)"):
        estimate(DENSE, load_config(None, named), Resources())
    tables = {"layout": {"layers": ["5/5"]}, "scores": {"model": str(small_scan.model)}}
    with pytest.raises(ConfigError, match="has no layer 5/5; layers present: 67/20"):
        estimate(DENSE, load_config(None, tables), Resources())
