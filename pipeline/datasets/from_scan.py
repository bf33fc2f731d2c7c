"""``hotscan select``: a dataset of the clips of a scan whose labels help its model most.

in       a complete scan, a number of clips
out      a dataset of those clips, labelled by simulating the fields around them
promise  the same scan gives the same clips; a label equals that of a full simulation
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.config import Resources
from pipeline.datasets.from_simulation import make_provenance, require_new, work_directory
from pipeline.datasets.store import write_dataset
from pipeline.engine.events import Listener
from pipeline.engine.session import Session, Written, open_session
from pipeline.engine.storage.checksums import list_files
from pipeline.engine.storage.run_directory import Run, open_run_directory
from pipeline.engine.storage.run_record import RunRecord, State, all_inputs
from pipeline.passes.arrays import read_pattern_rows, read_patterns
from pipeline.passes.job import DrawSettings, load_model_process, require_opc
from pipeline.report.run_view import RunView, open_view
from pipeline.simulate import confirm, hot_clips
from stages.contracts import Bytes, Float32s, Int64s
from stages.detector.training.active_learning import choose, preselect
from stages.detector.training.loop import likeness
from stages.errors import IncompleteError
from stages.lithography.measure.margins import MARGINAL, find_worst_margin
from stages.lithography.measure.sections import KINDS
from stages.lithography.process import Process


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectRequest:
    """A number of clips of a scan to label by simulation.

    Process, OPC, layers and picture are those of the scan.
    """

    run: Path
    """Run directory of a complete scan."""
    out: Path
    """The dataset to write; train on it together with the model's own training data."""
    count: int
    """Number of distinct clips; of each, the first occurrence is simulated."""


def select_clips(request: SelectRequest, resources: Resources, listen: Listener) -> dict[str, Any]:
    """Label the clips of a scan that help its model most; return the dataset's counts.

    Raises
    ------
    UsageError
        When the dataset exists, or the scan has fewer distinct clips than requested.
    IncompleteError
        When the scan is not complete, or a clip could not be simulated.
    """
    require_new(request.out)
    view = open_view(Run(request.run))
    if view.record.state != State.COMPLETE:
        raise IncompleteError(
            f"{request.run} is not complete; resume it with: hotscan resume {request.run}"
        )
    process, opc = load_model_process(view.model), view.config.confirm.opc
    assert opc is not None  # the resolved config holds the scan's own
    require_opc(process, opc, None)
    key, places = _choose(view, request.count)
    wanted = RunRecord(task="select", layout=view.record.layout, settings={
        "process": process.name,
        "process_settings": process.as_dict(), "opc": opc,
        "layers": list(view.config.layout.channels), "cell": view.config.layout.cell,
        "selected": request.count, "selected_by": view.model.digest,
    })  # fmt: skip
    run = open_run_directory(work_directory(request.out))
    with open_session(run, wanted, all_inputs, resources, listen) as session:
        margin = _simulate(session, view, places, process, opc)
    provenance = make_provenance(wanted)
    counts = _write(request.out, key, places, margin, provenance, view.job)
    shutil.rmtree(run.path)
    return counts


def _choose(view: RunView, count: int) -> tuple[Bytes, tuple[Int64s, Int64s]]:
    """Return the keys of the chosen patterns and where the first clip of each is, x and y."""
    threshold = view.config.scores.threshold
    assert threshold is not None  # the resolved config holds the model's own
    (scores,) = read_patterns(view.run, "score")
    rows = preselect(scores, threshold, count)
    key, x, y, raster, score = read_pattern_rows(
        view.run, rows, "key", "x_dbu", "y_dbu", "raster", "score"
    )
    features = likeness(view.model.detector(), raster)
    chosen = choose(score, features, threshold, count)
    return key[chosen], (x[chosen], y[chosen])


def _simulate(
    session: Session, view: RunView, places: tuple[Int64s, Int64s], process: Process, opc: str
) -> Float32s:
    """Simulate clips, and return the margins of each, (n, kinds)."""

    def copy_layout() -> Written:
        shutil.copytree(view.run.layout, session.run.layout, dirs_exist_ok=True)
        hot_clips.write_clips_to_simulate(session.run, *places, np.arange(len(places[0])))
        return Written((*list_files(session.run.path, "layout"), hot_clips.HOT_CLIPS))

    session.run_once("layout", copy_layout)
    job = confirm.make_confirmation(
        session.run, view.job.core_dbu, process, opc, view.config.confirm.batch_windows
    )
    confirm.run_batches(session, job)
    failed = session.ledger.totals("confirm").failed
    if failed:
        raise IncompleteError(f"{failed} batches failed; run the same command to retry them")
    margins = confirm.read_clip_margins(job, session.ledger.finished("confirm"))
    return np.array([margins[place] for place in zip(*(v.tolist() for v in places), strict=True)])


def _write(
    out: Path,
    key: Bytes,
    places: tuple[Int64s, Int64s],
    margin: Float32s,
    provenance: dict[str, Any],
    drawn: DrawSettings,
) -> dict[str, Any]:
    worst = find_worst_margin(margin)
    counts = {
        "clips": len(key), "hotspots": int((worst > 0).sum()),
        "marginal": int((np.abs(worst) <= MARGINAL).sum()), "patterns": len(key),
    }  # fmt: skip
    attributes = {
        "process": provenance["process"], "layers": provenance["layers"],
        "margin_kinds": list(KINDS), "provenance": {**provenance, **counts},
    }  # fmt: skip
    columns: dict[str, npt.NDArray[Any]] = {
        "key": key, "pattern": np.arange(len(key)), "label": worst > 0, "margin": margin,
        "x_dbu": places[0], "y_dbu": places[1],
    }  # fmt: skip
    write_dataset(out, attributes, columns, places, drawn)
    return counts
