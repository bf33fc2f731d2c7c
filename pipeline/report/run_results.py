"""The results of a scan, as the files of its run have them: hotspots, and verdicts by simulation.

in       a run directory
out      `RunResults`
promise  a file that is missing or damaged is named, and no row of it is of another run
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.config import ScanConfig
from pipeline.engine.storage.ledger import Ledger
from pipeline.engine.storage.run_directory import Run
from pipeline.engine.storage.run_record import RunRecord, has_record, read_record
from pipeline.engine.storage.tables import explain_damage, read_table
from pipeline.passes.arrays import FARTHEST_DBU, count_patterns
from pipeline.passes.job import Job
from pipeline.simulate import confirm
from stages.clips import RULES
from stages.contracts import Hotspot, PackedLayout, Verdict
from stages.detector.models.scan_model import ScanModel
from stages.errors import IncompleteError
from stages.exports.tables import HOTSPOTS, PREDICTED_HOTSPOTS, table_to_hotspots
from stages.lithography.process import Process
from stages.rows import Rows

_KEY = re.compile("[0-9a-f]{32}")


@dataclass(frozen=True)
class RunResults:
    """A run with its settings, layout, model, hotspots and their verdicts."""

    run: Run
    job: Job
    config: ScanConfig
    layout: PackedLayout
    model: ScanModel
    hotspots: Sequence[Hotspot]
    record: RunRecord
    simulated: confirm.Confirmed | None = None
    """Verdicts by simulation; None when simulation was not asked for."""

    @property
    def verdicts(self) -> Mapping[int, Verdict] | None:
        """Verdict by simulation of each hotspot, by id."""
        return None if self.simulated is None else self.simulated.verdicts


def read_hotspots(run: Run) -> Rows[Hotspot]:
    """Return the hotspots of a run.

    Raises
    ------
    IncompleteError
        When the run has no hotspots yet.
    """
    if not run.hotspots.exists():
        finish = f"finish the scan with: hotscan resume {run.path}"
        if has_record(run) and (shard := read_record(run).settings.get("shard")):
            finish = f"it is part {shard}: put the parts together with hotscan merge"
        raise IncompleteError(f"{run.path} has no hotspots yet; {finish}")
    with explain_damage(run.hotspots):
        hotspots = table_to_hotspots(read_hotspot_table(run))
        patterns = count_patterns(run)
        for number, spot in enumerate(hotspots, 1):
            if spot.id != number or not _is_possible(spot, patterns):
                raise ValueError(f"row {number} is no hotspot of this run: {spot}")
    return hotspots


def read_hotspot_table(run: Run) -> pa.Table:
    """Return the table of a run's hotspots, with predicted margins where the model has them.

    Raises
    ------
    IncompleteError
        When it is missing or damaged.
    """
    # Opened here, as Arrow takes no name that is not UTF-8.
    with explain_damage(run.hotspots), run.hotspots.open("rb") as content:
        found = pq.read_schema(content)
    predicted = found.equals(PREDICTED_HOTSPOTS)
    return read_table(run.hotspots, PREDICTED_HOTSPOTS if predicted else HOTSPOTS)


def _is_possible(spot: Hotspot, patterns: int) -> bool:
    """Return whether a stored hotspot has values that a scan writes."""
    return (
        spot.rule in RULES and spot.answer in ("hot", "review") and 0 <= spot.score <= 1
        and _KEY.fullmatch(spot.pattern_key) is not None and 0 <= spot.pattern < patterns
        and max(map(abs, (spot.x_dbu, spot.y_dbu, *spot.box.as_tuple()))) <= FARTHEST_DBU
    )  # fmt: skip


def make_confirmation(job: Job, config: ScanConfig, process: Process) -> confirm.Confirmation:
    """Return the input of the batches that simulate the hotspots of a run."""
    asked = config.confirm
    assert asked.opc is not None  # resolve_config put the model's in
    return confirm.make_confirmation(
        Run(job.run), job.core_dbu, process, asked.opc, asked.batch_windows
    )


def read_confirmed(
    job: Job, config: ScanConfig, process: Process, ledger: Ledger
) -> confirm.Confirmed | None:
    """Return the verdicts by simulation; None when simulation was not asked for."""
    if not config.confirm.enabled:
        return None
    finished = ledger.finished("confirm")
    return confirm.read_confirmed(make_confirmation(job, config, process), finished)
