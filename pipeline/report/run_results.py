"""The results of a scan, as the files of its run have them: hotspots, and verdicts by simulation.

in       a run directory
out      `RunResults`
promise  a file that is missing or damaged is named, and no row of it is of another run
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
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
from stages.findings import Bools
from stages.lithography.process import Process
from stages.rows import HOTSPOT_BOX, PART, Rows

_KEY = r"\A[0-9a-f]{32}\z"


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
        require_possible(hotspots, partial(_find_possible, patterns=count_patterns(run)))
    return hotspots


def require_possible(rows: Rows[Any], find_possible: Callable[[pa.RecordBatch], Bools]) -> None:
    """Refuse rows whose ids do not go from 1, or whose values no scan writes.

    Raises
    ------
    ValueError
        It names the first such row.
    """
    first = 1
    for part in rows.table.to_batches(PART):
        ids = np.arange(first, first + len(part))
        wrong = np.flatnonzero((part["id"].to_numpy() != ids) | ~find_possible(part))
        if len(wrong):
            (row,) = part.slice(int(wrong[0]), 1).to_pylist()
            raise ValueError(f"row {first + int(wrong[0])} is not of this run: {row}")
        first += len(part)


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


def _find_possible(part: pa.RecordBatch, *, patterns: int) -> Bools:
    """Return which stored hotspots have values that a scan writes."""
    numbers = ("score", "pattern", "x_dbu", "y_dbu", *HOTSPOT_BOX)
    score, pattern, *places = (part[name].to_numpy() for name in numbers)
    *_, x_min, y_min, x_max, y_max = places
    possible: Bools = np.logical_and.reduce([
        find_among(part["rule"], RULES), find_among(part["answer"], ("hot", "review")),
        (score >= 0) & (score <= 1), (pattern >= 0) & (pattern < patterns),
        pc.match_substring_regex(part["pattern_key"], _KEY).to_numpy(zero_copy_only=False),
        *map(find_near, places), (x_min <= x_max) & (y_min <= y_max),
    ])  # fmt: skip
    return possible


def find_among(column: pa.Array, known: Sequence[str]) -> Bools:
    """Return which texts are among those that are known."""
    among: Bools = pc.is_in(column, pa.array(known)).to_numpy(zero_copy_only=False)
    return among


def find_near(values_dbu: npt.NDArray[Any]) -> Bools:
    """Return which places are no farther than a scan can be; NaN is not."""
    near: Bools = (values_dbu >= -FARTHEST_DBU) & (values_dbu <= FARTHEST_DBU)
    return near


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
