"""The result of an audit: every clip that was drawn, with its probability and verdict.

in       a draw, the verdict on each of its clips
out      one table, ``RUN/audit/clips.parquet``; read back, the estimate that follows from it
promise  the table alone gives the estimate
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.audit.draw import Draw
from pipeline.engine.storage.run_directory import write_table
from pipeline.engine.storage.tables import explain_damage
from stages.audit.draw import STRATA
from stages.audit.estimate import Estimate, Sampled, estimate_recall
from stages.contracts import Verdict

RESULT = "audit/clips.parquet"
"""The table, relative to the run directory."""

SCHEMA = pa.schema([
    ("x_dbu", pa.int64()), ("y_dbu", pa.int64()), ("score", pa.float32()),
    ("stratum", pa.string()), ("probability", pa.float64()), ("hotspot", pa.bool_()),
    ("found", pa.bool_()), ("defect", pa.string()), ("severity", pa.float64()),
])  # fmt: skip


@dataclass(frozen=True, slots=True)
class Audited:
    """The result of an audit."""

    estimate: Estimate
    clips: int
    """Clips of the random sample, all of them simulated."""
    frame: int
    """Clips that they stand for."""


def write_result(
    run: Path,
    draw: Draw,
    verdicts: Sequence[Verdict],
    found: npt.NDArray[np.bool_],
    *,
    partly: bool,
) -> None:
    """Write the clips of a draw with their verdicts.

    Parameters
    ----------
    verdicts
        Of each clip of `draw`.
    found
        (n,) which of them fail where the scan flags them.
    partly
        Whether a core may be flagged in part, so that a hotspot there may be missed.
    """
    fails = np.array([each.confirmed for each in verdicts], bool)
    drawn, hits, missed = (
        np.bincount(draw.stratum[which], minlength=len(STRATA))
        for which in (np.ones(len(draw), bool), fails & found, fails & ~found)
    )
    strata = [
        Sampled(
            int(draw.sizes[at]), int(drawn[at]), int(hits[at]), int(missed[at]),
            may_find=each.flagged, may_miss=partly or not each.flagged,
        )
        for at, each in enumerate(STRATA)
        if drawn[at]
    ]  # fmt: skip
    about = {
        "strata": [asdict(each) for each in strata], "known": draw.known or 0,
        "frame": int(draw.sizes.sum()),
    }  # fmt: skip
    worst = [each.worst for each in verdicts]
    columns = [
        draw.x_dbu, draw.y_dbu, draw.score, [STRATA[at].name for at in draw.stratum.tolist()],
        (drawn / np.maximum(draw.sizes, 1))[draw.stratum], fails, found & fails,
        [each and each.kind for each in worst], [each and each.severity for each in worst],
    ]  # fmt: skip
    schema = SCHEMA.with_metadata({"audit": json.dumps(about)})
    write_table(run / RESULT, pa.table(columns, schema=schema))


def read_result(run: Path) -> Audited:
    """Return the result of the audit of a run.

    Raises
    ------
    IncompleteError
        When it is missing or damaged.
    """
    with explain_damage(run / RESULT):
        about = json.loads(pq.read_schema(run / RESULT).metadata[b"audit"])
        strata = [Sampled(**values) for values in about["strata"]]
        estimate = estimate_recall(strata, about["known"])
        return Audited(estimate, sum(each.drawn for each in strata), about["frame"])
