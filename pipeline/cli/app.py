"""The command line: parse, call one function of `pipeline`, print, end with the right code.

Exit codes: 0 complete; 1 complete, and over the ``--fail-on`` gate; 2 usage, config or model
mismatch; 3 layout unreadable or refused; 4 incomplete; 130 or 143 interrupted, resumable.
"""

from __future__ import annotations

import gc
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.cli.dataset_commands import dataset as dataset_commands
from pipeline.cli.detector_commands import compare, evaluate, label, train
from pipeline.cli.options import (
    AsJson,
    Cell,
    Config,
    Confirm,
    Device,
    Exclude,
    FailOn,
    Layers,
    LayoutFile,
    Mask,
    Mode,
    Model,
    Opc,
    Prefilter,
    Process,
    Quiet,
    Roi,
    RunFolder,
    Scheduler,
    ShardOf,
    Since,
    Strict,
    Threshold,
    WorkerMemory,
    Workers,
    overrides,
    region,
)
from pipeline.cli.terminal import interruptible, show
from stages.errors import HotscanError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Scan a full GDSII or OASIS layout for lithography hotspots.",
)


app.add_typer(dataset_commands, name="dataset")


@app.command()
def scan(
    layout: LayoutFile,
    out: Annotated[Path, typer.Option("--out", "-o", help="Run directory; made when absent.")],
    layer: Layers = None,
    cell: Cell = None,
    exclude: Exclude = None,
    roi: Roi = None,
    model: Model = None,
    config: Config = None,
    mode: Mode = None,
    strict: Strict = False,
    workers: Workers = None,
    scheduler_address: Scheduler = None,
    worker_memory: WorkerMemory = None,
    device: Device = None,
    threshold: Threshold = None,
    prefilter: Prefilter = None,
    confirm: Confirm = None,
    opc: Opc = None,
    since: Since = None,
    shard: ShardOf = None,
    fail_on: FailOn = None,
    quiet: Quiet = False,
) -> None:
    """Scan a layout for hotspots.

    The same command goes on where an earlier scan into the same directory stopped.
    """
    from pipeline.config import load_config, load_resources
    from pipeline.passes.shard import Shard
    from pipeline.scan.scan import scan as run_scan

    settings = load_config(
        config,
        overrides(
            layer,
            cell,
            exclude,
            roi,
            model,
            mode,
            strict,
            device,
            threshold,
            confirm,
            opc,
            prefilter,
        ),
    )
    resources = load_resources(
        {"workers": workers, "scheduler_address": scheduler_address, "worker_memory": worker_memory}
    )
    part = Shard.parse(shard) if shard else None
    earlier = [since] if since else []
    _finish(
        lambda listen: run_scan(
            layout, out, settings, resources, listen, since=earlier, shard=part
        ),
        out, fail_on, quiet,
    )  # fmt: skip


@app.command()
def resume(
    run: RunFolder,
    workers: Workers = None,
    scheduler_address: Scheduler = None,
    worker_memory: WorkerMemory = None,
    fail_on: FailOn = None,
    quiet: Quiet = False,
) -> None:
    """Go on with a scan that was stopped.

    Its settings are those that it began with.
    """
    from pipeline.config import load_resources
    from pipeline.scan.scan import resume as resume_scan

    resources = load_resources(
        {"workers": workers, "scheduler_address": scheduler_address, "worker_memory": worker_memory}
    )
    _finish(lambda listen: resume_scan(run, resources, listen), run, fail_on, quiet)


@app.command()
def merge(
    parts: Annotated[list[Path], typer.Argument(help="Run directories of scan --shard.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Run directory; made when absent.")],
    workers: Workers = None,
    scheduler_address: Scheduler = None,
    worker_memory: WorkerMemory = None,
    fail_on: FailOn = None,
    quiet: Quiet = False,
) -> None:
    """Put the parts of a scan together.

    What is missing in them is scanned, so that the result is that of one scan.
    """
    from pipeline.config import load_resources
    from pipeline.scan.scan import merged

    resources = load_resources(
        {"workers": workers, "scheduler_address": scheduler_address, "worker_memory": worker_memory}
    )
    _finish(lambda listen: merged(parts, out, resources, listen), out, fail_on, quiet)


def _finish(work: Callable[[Any], Any], out: Path, fail_on: int | None, quiet: bool) -> None:
    """Run a scan, say what it came to, and end with its exit code."""
    from pipeline.engine.events import Progress

    with interruptible(f"hotscan resume {out}"), Progress(quiet=quiet) as progress:
        metrics = work(progress).metrics
    if "shard" in metrics:
        _say_part(out, metrics)
        return
    _say_result(out, metrics)
    found = metrics["hotspots"]
    if "hotspots_confirmed" in metrics:  # what the model is sure of may be left to it
        found = metrics["hotspots_confirmed"] + metrics["hotspots_not_asked"]
    if fail_on is not None and found > fail_on:
        over = f"{found} hotspots are over the gate, --fail-on {fail_on}"
        typer.echo(over, err=True)
        raise typer.Exit(1)


def _say_part(out: Path, metrics: dict[str, Any]) -> None:
    """Print what a part of a scan came to; exit 4 when any of it failed."""
    from pipeline.cli.text import part_text
    from pipeline.scan.inspect_run import run_status

    typer.echo(part_text(out, metrics, run_status(out)["failed"]))
    if metrics["units_failed"]:
        raise typer.Exit(4)


def _say_result(run: Path, metrics: dict[str, Any]) -> None:
    """Print what a scan came to; exit 4 when it is not complete."""
    from pipeline.cli.text import result_text
    from pipeline.scan.inspect_run import run_status

    status = run_status(run)
    typer.echo(result_text(run, status["layout"], metrics, status["failed"]))
    if not metrics["complete"]:
        raise typer.Exit(4)


@app.command()
def plan(
    layout: LayoutFile,
    layer: Layers = None,
    cell: Cell = None,
    exclude: Exclude = None,
    roi: Roi = None,
    model: Model = None,
    config: Config = None,
    mode: Mode = None,
    strict: Strict = False,
    prefilter: Prefilter = None,
    workers: Workers = None,
    as_json: AsJson = False,
) -> None:
    """Tell what a scan would cost.

    Clips, distinct clips, time and disk, from a sample of the tiles.
    """
    from pipeline.cli.text import plan_text
    from pipeline.config import load_config, load_resources
    from pipeline.scan.forecast import estimate

    settings = load_config(
        config,
        overrides(layer, cell, exclude, roi, model, mode, strict, None, None, prefilter=prefilter),
    )
    foreseen = estimate(layout, settings, load_resources({"workers": workers}))
    show(foreseen, as_json, plan_text)


@app.command()
def status(run: RunFolder, as_json: AsJson = False) -> None:
    """Tell how far a scan is.

    And whether it runs, and what failed.
    """
    from pipeline.cli.text import status_text
    from pipeline.scan.inspect_run import run_status

    show(run_status(run), as_json, status_text)


@app.command()
def export(
    run: RunFolder,
    out: Annotated[Path, typer.Option("--out", "-o", help="File, or folder for clips.")],
    form: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="gds|oas|lyrdb|csv|json|parquet|clips",
            help="Markers, KLayout's report (gzip), tables, or a GDSII file for each clip.",
        ),
    ] = "gds",
    marker_layer: Annotated[
        int | None, typer.Option(help="Layer of the markers; a free one by default.")
    ] = None,
) -> None:
    """Write the hotspots of a scan for another tool."""
    from pipeline.scan.inspect_run import export_run

    complete = export_run(run, form, out, marker_layer)
    typer.echo(f"wrote {out}")
    if not complete:
        typer.echo(f"the scan is not complete; go on with: hotscan resume {run}", err=True)
        raise typer.Exit(4)


@app.command()
def report(run: RunFolder) -> None:
    """Write the report of a scan again."""
    from pipeline.scan.inspect_run import report_again

    _say_result(run, report_again(run))


@app.command()
def info(layout: LayoutFile, as_json: AsJson = False) -> None:
    """Tell what a layout holds.

    Cells, top cells with their extents, layers with their shapes, and the database unit.
    """
    from pipeline.cli.text import info_text
    from pipeline.scan.inspect_run import layout_info

    show(layout_info(layout), as_json, info_text)


@app.command()
def validate(layout: LayoutFile, strict: Strict = False) -> None:
    """Check that a layout can be read.

    Ends with exit code 3 when it cannot, or when with --strict it gives a warning.
    """
    from pipeline.layout.ingest import read_info

    _, warnings = read_info(layout, strict=strict)
    for warning in warnings:
        typer.echo(f"warning: {warning}")
    typer.echo(f"{layout} can be scanned" + (", with the warnings above" * bool(warnings)))


@app.command()
def models(as_json: AsJson = False) -> None:
    """List the models that come with hotscan.

    With their measured recall and false alarms.
    """
    from pipeline.cli.text import models_text
    from pipeline.scan.inspect_run import shipped_models

    show(shipped_models(), as_json, models_text)


app.command()(label)


@app.command()
def simulate(
    layout: LayoutFile,
    out: Annotated[Path, typer.Option("--out", "-o", help="Directory; made when absent.")],
    layer: Annotated[str, typer.Option("--layer", "-l", metavar="L/D", help="What shall print.")],
    process: Process = "krf130",
    mask: Mask = None,
    opc: Opc = "none",
    cell: Cell = None,
    roi: Roi = None,
    contours: Annotated[
        bool, typer.Option("--contours/--no-contours", help="Draw what prints, too.")
    ] = True,
    fail_on: FailOn = None,
    workers: Workers = None,
    quiet: Quiet = False,
) -> None:
    """Simulate the lithography of a region.

    Tells what fails, and draws what prints at every corner of the process window. The same
    command goes on where an earlier one stopped.
    """
    from pipeline.cli.text import simulation_text
    from pipeline.config import load_resources
    from pipeline.engine.events import Progress
    from pipeline.simulate.region import simulate_region

    with interruptible("the same command"), Progress(quiet=quiet) as progress:
        metrics = simulate_region(
            layout, out, process, layer, mask, opc or "none", cell, region(roi), contours,
            load_resources({"workers": workers}), progress,
        )  # fmt: skip
    typer.echo(simulation_text(out, metrics))
    if not metrics["complete"]:
        raise typer.Exit(4)
    if fail_on is not None and metrics["defects"] > fail_on:
        typer.echo(f"{metrics['defects']} defects are over the gate, --fail-on {fail_on}", err=True)
        raise typer.Exit(1)


app.command()(train)
app.command()(evaluate)
app.command()(compare)


def main() -> None:
    """Run the command line, turning errors into messages and exit codes."""
    try:
        app()
    except HotscanError as error:
        typer.echo(f"hotscan: {error}", err=True)
        sys.exit(error.exit_code)
    except OSError as error:
        typer.echo(f"hotscan: {error}; free or repair it, and run the same again", err=True)
        sys.exit(4)
    except Exception:  # exit code 1, Python's own, would say "complete, and over the gate"
        traceback.print_exc()
        typer.echo("hotscan: this is a fault of hotscan; please report the text above", err=True)
        sys.exit(4)
    finally:
        gc.freeze()  # all that torch is would be looked through once more: 0.6 s of every command


if __name__ == "__main__":
    main()
