"""What a scan is asked, and what it says.

in       the caller's wishes
out      `ScanRequest`, `ScanResult`
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.config import ScanConfig
from pipeline.engine.storage.run_directory import Run
from pipeline.passes.shard import Shard
from stages.detector.models.scan_model import ScanModel


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanRequest:
    """What to scan, and into which directory."""

    layout: Path
    """GDSII or OASIS file."""
    out: Path
    """Run directory; a scan that was started there is resumed."""
    config: ScanConfig
    since: tuple[Path, ...] = ()
    """Runs of the same settings: results for what did not change are reused from them."""
    shard: Shard | None = None
    """Do only this part of the tiles, up to the scores; `merge` puts the parts together."""
    model: ScanModel | None = None
    """What to score with, in place of the model that the config names."""
    packed: Path | None = None
    """The layout with more layers, packed already, in place of reading it again."""
    keep_model: Path | None = None
    """File to write the model to that certifying fits."""


@dataclass(frozen=True, slots=True)
class ScanResult:
    """The result of a scan."""

    run: Run
    metrics: Mapping[str, Any]
    """What ``metrics.json`` holds; of a shard, a few counts."""
    shard: Shard | None = None
    """The part of the scan that this is; None of a whole one."""

    @property
    def complete(self) -> bool:
        """Whether every place of the area has a verdict."""
        return bool(self.metrics["complete"])
