"""Look at runs and models without changing them.

in       a run directory, or nothing
out      plain values that the command line prints
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pipeline.audit import audit
from pipeline.engine.session import Written, record_written
from pipeline.engine.storage.ledger import Ledger, running_driver
from pipeline.engine.storage.run_directory import Run
from pipeline.engine.storage.run_record import State, read_record
from pipeline.report.export import export_hotspots, write_report
from pipeline.report.metrics import gather_metrics, list_unscanned_regions, write_metrics
from pipeline.report.run_view import describe_measurement, open_view
from stages.detector.models import checkpoint
from stages.errors import UsageError

STAGES = (
    "layout", "clips", "patterns", "scores", "hotspots", "confirm", *audit.STAGES, "classes",
)  # fmt: skip


def run_status(path: Path) -> dict[str, Any]:
    """Return the progress of the scan in a run directory, from its ledger."""
    run = Run(path)
    record = read_record(run)
    driver = running_driver(run.ledger)
    with Ledger(run.ledger, read_only=True) as ledger:
        totals = {stage: ledger.totals(stage) for stage in STAGES}
        errors = {
            f"{stage} {unit}": outcome.error
            for stage in STAGES
            for unit, outcome in ledger.failed(stage).items()
        }
    state = record.state
    if state == State.RUNNING and driver is None:
        state = State.INTERRUPTED  # the driver was killed
    return {
        "run": str(path),
        "state": state,
        "driver": driver,
        "layout": record.layout.path,
        "units": {
            stage: {"done": t.done, "empty": t.empty, "failed": t.failed}
            for stage, t in totals.items()
        },
        "clips": int(totals["clips"].counts.get("clips", 0)),
        "patterns": int(totals["patterns"].counts.get("patterns", 0)),
        "hotspots": int(totals["hotspots"].counts.get("hotspots", 0)),
        "failed": errors,
        "next": next_step(path, state),
    }


def next_step(path: Path, state: str) -> str:
    """Return the command to run next in this state."""
    steps = {"complete": "", "part done": f"hotscan merge {path} PART... --out RUN"}
    return steps.get(state, f"hotscan resume {path}")


def export_run(
    path: Path,
    form: str,
    out: Path,
    marker_layer: int | None,
    waivers: Path | None = None,
) -> bool:
    """Write the hotspots of a run in another format; say whether the run is complete.

    Parameters
    ----------
    waivers
        File of waivers, in place of that of the scan.

    Raises
    ------
    UsageError
        When `marker_layer` is given for a format without layers, or is used by the layout.
    """
    if marker_layer is not None and form not in ("gds", "oas", "clips"):
        raise UsageError(f"--marker-layer does not apply to format {form}; leave it out")
    view = open_view(Run(path), waivers=waivers)
    if marker_layer is not None:
        markers = view.config.markers.model_copy(update={"layer": marker_layer})
        view = replace(view, config=view.config.model_copy(update={"markers": markers}))
    with Ledger(view.run.ledger, read_only=True) as ledger:
        regions = [region.box for region in list_unscanned_regions(view, ledger)]
    export_hotspots(view, form, out, regions)
    return bool(view.record.state == State.COMPLETE)


def report_again(path: Path, waivers: Path | None = None) -> dict[str, Any]:
    """Write the report of a run again, with other waivers if given, and return its metrics."""
    view = open_view(Run(path), waivers=waivers)
    with Ledger(view.run.ledger) as ledger:
        regions = list_unscanned_regions(view, ledger)
        metrics = gather_metrics(view, ledger, regions)
        files = (*write_report(view, metrics, regions), write_metrics(view.run, metrics))
        record_written(view.run, ledger, "report", Written(files))
    return metrics


def shipped_models() -> dict[str, Any]:
    """Return the shipped models with what each expects and was measured at."""
    found = {}
    for name in checkpoint.shipped():
        model = checkpoint.load(checkpoint.find(name))
        found[name] = {
            "process": model.process,
            "layers": ", ".join(model.layers),
            **{key: value for key, value in asdict(model.raster).items() if key != "layers"},
            **asdict(model.operating_point),
            "measured_on": describe_measurement(model),
            "digest": model.digest,
        }
    return found
