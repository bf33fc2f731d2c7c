"""A scan of seconds that has every stage, for benchmarks that run it hundreds of times.

in       a folder
out      a model, a process and the settings of a scan of 30 x 30 um of the crowded sample
promise  every stage has several units, and hotspots to simulate; what they mean does not matter
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tomli_w

from pipeline.config import Resources, load_config
from pipeline.engine.events import Listener
from pipeline.passes.shard import Shard
from pipeline.scan.request import ScanRequest, ScanResult
from pipeline.scan.scan import resume, scan
from stages.detector.models import checkpoint
from stages.lithography.process import SHIPPED, load_process
from tests.support.small_scan import DENSE, SmallScan, write_model

ROI_UM = (50.0, 50.0, 80.0, 80.0)
SETTINGS: dict[str, dict[str, Any]] = {
    "tiles": {"size_um": 10.0},
    "scores": {"shard_patterns": 128},
    "confirm": {"enabled": True, "batch_windows": 1},
    "report": {"top": 2, "contours": 2},
}
HERE = Resources(workers=0)


@dataclass(frozen=True, slots=True)
class SmallRuns:
    """Where the model and the process are, and how to scan with them."""

    folder: Path

    @property
    def model(self) -> Path:
        """Checkpoint of an untrained network."""
        return self.folder / "quick.pt"

    @property
    def process(self) -> Path:
        """Process with few kernels and one corner, whose images cost a tenth of `krf130`'s."""
        return self.folder / "quick.toml"

    @property
    def settings(self) -> Path:
        """Config of the scan."""
        return self.folder / "scan.toml"

    def scan(
        self,
        out: Path,
        *,
        model: Path | None = None,
        roi_um: tuple[float, ...] = ROI_UM,
        shard: Shard | None = None,
    ) -> ScanResult:
        """Scan in this process."""
        given = {
            "layout": {"layers": ["68/20"], "roi_um": roi_um},
            "scores": {**SETTINGS["scores"], "model": str(model or self.model)},
        }
        config = load_config(None, {**SETTINGS, **given})
        request = ScanRequest(layout=DENSE, out=out, config=config, shard=shard)
        return scan(request, HERE, lambda event: None)

    def resume(self, out: Path, listen: Listener = lambda event: None) -> ScanResult:
        """Resume in this process."""
        return resume(out, HERE, listen)

    def arguments(self, out: Path) -> list[str]:
        """Return the scan as a command line."""
        scan = SmallScan(DENSE, self.model, ROI_UM)
        return [*scan.arguments(out), "--config", str(self.settings)]


def make_small_runs(folder: Path, untrained: Path | None = None) -> SmallRuns:
    """Write model, process and settings into a folder.

    Parameters
    ----------
    untrained
        The checkpoint that `write_model` wrote, if it did.
    """
    made = SmallRuns(folder)
    values = tomllib.loads((SHIPPED / "krf130.toml").read_text())
    values |= {"name": "quick", "energy": 0.5, "corners": values["corners"][:1]}
    values["limits"] |= {"pinch_share": 0.97, "space_share": 0.97}  # so that some places fail
    made.process.write_text(tomli_w.dumps(values))
    if untrained is None:
        write_model(folder)
    model = checkpoint.load(untrained or folder / "tiny.pt")
    process = load_process(made.process)
    checkpoint.save(made.model, replace(model, process="quick", process_settings=process.as_dict()))
    made.settings.write_text(tomli_w.dumps(SETTINGS))
    return made
