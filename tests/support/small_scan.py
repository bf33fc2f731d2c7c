"""A small real scan that several test modules share: a corner of the crowded sample."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.config import Resources, load_config
from pipeline.passes.arrays import read_patterns
from pipeline.passes.shard import Shard
from pipeline.scan.request import ScanRequest, ScanResult
from pipeline.scan.scan import scan
from stages.contracts import RasterSpec
from stages.detector.models import checkpoint
from stages.detector.networks.detector import Detector
from stages.detector.networks.shapes import DetectorConfig
from stages.detector.training.thresholds import OperatingPoint

CHECKOUT = Path(__file__).resolve().parents[2]
DENSE = CHECKOUT / "sample_layouts" / "dense.gds.gz"
TINY = CHECKOUT / "sample_layouts" / "tiny.gds"
ROI_UM = (40.0, 40.0, 100.0, 95.0)
LABELLED_UM = (45.0, 45.0, 60.0, 60.0)


@dataclass(frozen=True)
class SmallScan:
    """How to scan a corner of the crowded sample with the test's model."""

    layout: Path
    model: Path
    roi_um: tuple[float, float, float, float] = ROI_UM

    def __call__(
        self,
        out: Path,
        *,
        workers: int = 0,
        since: Sequence[Path] = (),
        shard: Shard | None = None,
        **tables: dict[str, Any],
    ) -> ScanResult:
        config = load_config(
            None,
            {
                **tables,
                "layout": {"layers": ["68/20"], "roi_um": self.roi_um, **tables.get("layout", {})},
                "scores": {"model": str(self.model), **tables.get("scores", {})},
            },
        )
        request = ScanRequest(
            layout=self.layout, out=out, config=config, since=tuple(since), shard=shard
        )
        return scan(request, Resources(workers=workers), lambda event: None)

    def arguments(self, out: Path | str) -> list[str]:
        """The same scan as a command line."""
        roi = ",".join(str(v) for v in self.roi_um)
        return [
            "scan", str(self.layout), "--out", str(out), "--layer", "68/20", "--roi", roi,
            "--model", str(self.model),
        ]  # fmt: skip


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


Hotscan = Callable[..., Ended]


def write_model(folder: Path) -> None:
    """Write ``tiny.pt``: an untrained network, and a threshold that flags some 2 % of clips."""
    torch.manual_seed(1)
    config = DetectorConfig(stem=16, fine=(8,), coarse=(8, 8), embedding=8)  # quick
    model = checkpoint.Checkpoint(
        weights=Detector(config).get_arrays(), config=config, raster=RasterSpec(40.0, 64, 32),
        layers=("met1",), process="krf130",
        operating_point=OperatingPoint(1.0, 0.0, 0, 0.0, 0, 0), provenance={},
        examples=torch.randint(0, 256, (2, 1, 64, 64), dtype=torch.uint8).numpy(),
    )  # fmt: skip
    untried = folder / "untried.pt"
    checkpoint.save(untried, model)
    result = SmallScan(DENSE, untried)(folder / "run")
    (scores,) = read_patterns(result.run, "score")
    threshold = float(np.quantile(scores, 0.98))
    point = replace(model.operating_point, threshold=threshold)
    checkpoint.save(folder / "tiny.pt", replace(model, operating_point=point))
