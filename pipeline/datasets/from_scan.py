"""``hotscan label --select``: of a scan, the clips whose simulation teaches its model the most.

in       a complete scan, how many clips
out      a dataset of those clips, labelled by simulating the fields that they lie in
promise  the same scan, the same clips; a label is that of a full simulation
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.config import Resources
from pipeline.datasets.from_simulation import provenance_of
from pipeline.datasets.store import write_dataset
from pipeline.engine.events import Listener
from pipeline.engine.integrity import list_files
from pipeline.engine.run_directory import Run, open_run_directory
from pipeline.engine.run_record import RunRecord, State, all_inputs
from pipeline.engine.session import Written, open_session
from pipeline.passes.arrays import pattern_rows, read_patterns
from pipeline.passes.job import Drawn, process_behind, require_opc
from pipeline.report.run_view import open_view
from pipeline.simulate import confirm
from stages.contracts import Verdict
from stages.detector.active_learning import candidates, choose
from stages.detector.training import likeness
from stages.errors import IncompleteError, UsageError


def label_selected(
    scan: Path,
    out: Path,
    count: int,
    resources: Resources,
    listen: Listener,
    *,
    opc: str | None = None,
) -> dict[str, Any]:
    """Label the patterns of a scan that its model would learn the most from.

    Parameters
    ----------
    scan
        Run directory of a complete scan.
    out
        The dataset to make; add it to what the model was trained on.
    count
        How many patterns; of each the first place is simulated.
    opc
        As for `pipeline.datasets.from_simulation.label_layout`; that of the scan when None.

    Raises
    ------
    UsageError
        When `out` exists, or the scan has no such number of patterns.
    IncompleteError
        When the scan is not complete, or a field could not be simulated.
    """
    if out.exists():
        raise UsageError(f"dataset {out} exists; choose another --out, or remove it")
    view = open_view(Run(scan))
    if view.record.state != State.COMPLETE:
        raise IncompleteError(f"{scan} is not complete; go on with: hotscan resume {scan}")
    assert view.config.scores.threshold is not None  # resolve_config put the model's in
    process, opc = process_behind(view.model), opc or view.config.confirm.opc or "none"
    require_opc(process, opc, None)
    (scores,) = read_patterns(view.run, "score")
    rows = candidates(scores, view.config.scores.threshold, count)
    key, x, y, raster, score = pattern_rows(
        view.run, rows, "key", "x_dbu", "y_dbu", "raster", "score"
    )
    places = likeness(view.model.detector(), raster)
    chosen = choose(score, places, view.config.scores.threshold, count)
    key, x, y = key[chosen], x[chosen], y[chosen]
    run = open_run_directory(out.with_name(out.name + ".work"))
    wanted = RunRecord(task="select", layout=view.record.layout, settings={
        "process": process.name,
        "process_settings": process.as_dict(), "opc": opc,
        "layers": list(view.config.layout.layers), "cell": view.config.layout.cell,
        "selected": count, "selected_by": view.model.digest,
    })  # fmt: skip
    with open_session(run, wanted, all_inputs, resources, listen) as session:
        ledger = session.ledger

        def keep() -> Written:
            shutil.copytree(view.run.layout, run.layout, dirs_exist_ok=True)
            confirm.write_clips_to_simulate(run, x, y, np.arange(count))
            return Written((*list_files(run.path, "layout"), confirm.HOT_CLIPS))

        session.run_once("layout", keep)
        work = confirm.make_confirmation(
            run, view.job.core_dbu, process, opc, view.config.confirm.batch_fields
        )
        task = partial(confirm.confirm_batch, job=work)
        session.run_units("confirm", "batches", work.batches, task, confirm.name_batch)
        failed = ledger.totals("confirm").failed
        if failed:
            raise IncompleteError(f"{failed} batches failed; the same command tries them again")
        found = confirm.read_confirmed(work, sorted(ledger.finished("confirm")))
    made = _write(out, key, (x, y), found.verdicts, provenance_of(wanted), view.job)
    shutil.rmtree(run.path)
    return made


def _write(
    out: Path,
    key: npt.NDArray[np.uint8],
    places: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]],
    verdicts: Mapping[int, Verdict],
    provenance: dict[str, Any],
    drawn: Drawn,
) -> dict[str, Any]:
    label = np.array([verdicts[number].confirmed for number in range(len(key))])
    made = {"clips": len(key), "hotspots": int(label.sum()), "patterns": len(key)}
    attributes = {
        "process": provenance["process"], "layers": provenance["layers"],
        "provenance": {**provenance, **made},
    }  # fmt: skip
    columns: dict[str, npt.NDArray[Any]] = {
        "key": key, "pattern": np.arange(len(key)), "label": label,
        "x_dbu": places[0], "y_dbu": places[1],
    }  # fmt: skip
    write_dataset(out, attributes, columns, places, drawn)
    return made
