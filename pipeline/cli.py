"""The command line: parse, call one function of `pipeline`, print, end with the right code.

Exit codes: 0 complete; 1 complete, and over the ``--fail-on`` gate; 2 usage, config or model
mismatch; 3 layout unreadable or refused; 4 incomplete; 130 or 143 interrupted, resumable.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer
from rich.console import Console

from stages.errors import HotscanError, UsageError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Scan a full GDSII or OASIS layout for lithography hotspots.",
)

LayoutFile = Annotated[Path, typer.Argument(help="GDSII or OASIS file, plain or gzip.")]
RunFolder = Annotated[Path, typer.Argument(help="Run directory of a scan.")]
Layers = Annotated[
    list[str] | None,
    typer.Option("--layer", "-l", metavar="L/D", help="Layer to scan, like 68/20; repeatable."),
]
Cell = Annotated[str | None, typer.Option(help="Top cell; needed when the file has several.")]
Exclude = Annotated[
    list[str] | None,
    typer.Option(metavar="L/D", help="Layer whose shapes exclude the clips that they cover."),
]
Roi = Annotated[
    str | None, typer.Option(metavar="X0,Y0,X1,Y1", help="Region to scan, in um; all by default.")
]
Model = Annotated[str | None, typer.Option(help="Name of a shipped model, or a checkpoint.")]
Config = Annotated[Path | None, typer.Option(help="TOML file of settings.")]
Mode = Annotated[
    str | None, typer.Option(metavar="grid|sites", help="Every clip, or rule-checked places.")
]
Strict = Annotated[bool, typer.Option("--strict", help="Refuse a layout that gives a warning.")]
Workers = Annotated[
    int | None, typer.Option(help="Worker processes; 0 runs in this process. Default 1.")
]
Scheduler = Annotated[
    str | None, typer.Option("--scheduler-address", help="A running Dask scheduler to use.")
]
WorkerMemory = Annotated[
    str | None, typer.Option(metavar="SIZE", help="Memory limit of each worker, like 2GB.")
]
Device = Annotated[str | None, typer.Option(metavar="cpu|cuda", help="Where the model runs.")]
Threshold = Annotated[
    float | None, typer.Option(help="Probability that makes a hotspot; the model's by default.")
]
FailOn = Annotated[
    int | None, typer.Option(metavar="N", help="Exit 1 when there are more than N hotspots.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def _overrides(
    layer: list[str] | None,
    cell: str | None,
    exclude: list[str] | None,
    roi: str | None,
    model: str | None,
    mode: str | None,
    strict: bool,
    device: str | None,
    threshold: float | None,
) -> dict[str, dict[str, Any]]:
    """Lay what the command line gave out as config tables."""
    return {
        "layout": {
            "layers": layer or None,
            "cell": cell,
            "exclude": exclude or None,
            "roi_um": _numbers(roi),
            "strict": strict or None,
        },
        "clips": {"mode": mode},
        "scores": {"model": model, "device": device, "threshold": threshold},
    }


def _numbers(roi: str | None) -> tuple[float, ...] | None:
    if roi is None:
        return None
    try:
        return tuple(float(part) for part in roi.split(","))
    except ValueError:
        raise UsageError(f"--roi {roi!r} is not x0,y0,x1,y1 in um") from None


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
    fail_on: FailOn = None,
    quiet: Quiet = False,
) -> None:
    """Scan a layout for hotspots; going on where an earlier scan into the same place stopped."""
    from pipeline.config import load_config, load_resources
    from pipeline.scan import scan as run_scan

    settings = load_config(
        config,
        _overrides(layer, cell, exclude, roi, model, mode, strict, device, threshold),
    )
    resources = load_resources(
        {"workers": workers, "scheduler_address": scheduler_address, "worker_memory": worker_memory}
    )
    _finish(lambda listen: run_scan(layout, out, settings, resources, listen), out, fail_on, quiet)


@app.command()
def resume(
    run: RunFolder,
    workers: Workers = None,
    scheduler_address: Scheduler = None,
    worker_memory: WorkerMemory = None,
    fail_on: FailOn = None,
    quiet: Quiet = False,
) -> None:
    """Go on with a scan that was stopped, with the settings that it began with."""
    from pipeline.config import load_resources
    from pipeline.scan import resume as resume_scan

    resources = load_resources(
        {"workers": workers, "scheduler_address": scheduler_address, "worker_memory": worker_memory}
    )
    _finish(lambda listen: resume_scan(run, resources, listen), run, fail_on, quiet)


def _finish(work: Callable[[Any], Any], out: Path, fail_on: int | None, quiet: bool) -> None:
    """Run a scan, say what it came to, and end with its exit code."""
    from pipeline.events import Progress

    with _interruptible(), Progress(quiet=quiet) as progress:
        try:
            result = work(progress)
        except KeyboardInterrupt as interrupt:
            code = int(str(interrupt)) if str(interrupt) else 130
            typer.echo(f"interrupted; go on with: hotscan resume {out}", err=True)
            raise typer.Exit(code) from None
    metrics = result.metrics
    _say_result(result.run.path, metrics)
    if not metrics["complete"]:
        raise typer.Exit(4)
    if fail_on is not None and metrics["hotspots"] > fail_on:
        typer.echo(f"{metrics['hotspots']} hotspots are over the gate of {fail_on}", err=True)
        raise typer.Exit(1)


def _say_result(run: Path, metrics: dict[str, Any]) -> None:
    from pipeline.store import Run

    layout = Run(run).read_about()["layout"]["path"]
    state = "complete" if metrics["complete"] else "INCOMPLETE"
    covered = metrics["coverage_fraction"]
    typer.echo(
        f"{state}: {metrics['hotspots']} hotspots ({metrics['hotspots_unique']} distinct patterns) "
        f"in {metrics['clips']:,} clips ({metrics['patterns']:,} patterns), "
        f"{metrics['area_covered_um2']:,.0f} um2 scanned ({covered:.2%} of what was asked for)"
    )
    if not metrics["complete"]:
        typer.echo(
            f"{metrics['units_failed']} units failed, {metrics['regions_not_scanned']} regions "
            f"have no verdict; try them again with: hotscan resume {run}"
        )
    typer.echo(f"report    {run}/report/index.html")
    typer.echo(f"markers   {run}/report/markers.gds")
    typer.echo(f"KLayout   klayout -e {layout} -m {run}/report/hotspots.lyrdb.gz")


class _interruptible:
    """Lets SIGTERM end a scan as Ctrl-C does, with its own exit code."""

    def __enter__(self) -> None:
        def stop(number: int, frame: FrameType | None) -> None:
            raise KeyboardInterrupt(str(128 + number))

        self._before = signal.signal(signal.SIGTERM, stop)

    def __exit__(self, *reason: object) -> None:
        signal.signal(signal.SIGTERM, self._before)


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
    workers: Workers = None,
    as_json: AsJson = False,
) -> None:
    """Tell what a scan would cost: clips, patterns, time, disk; from a sample of its tiles."""
    from pipeline.config import load_config, load_resources
    from pipeline.estimate import estimate

    settings = load_config(
        config, _overrides(layer, cell, exclude, roi, model, mode, strict, None, None)
    )
    _print_object(estimate(layout, settings, load_resources({"workers": workers})), as_json)


@app.command()
def status(run: RunFolder, as_json: AsJson = False) -> None:
    """Tell how far a scan is, whether it runs, and what failed."""
    from pipeline.inspect import run_status

    _print_object(run_status(run), as_json)


@app.command()
def export(
    run: RunFolder,
    out: Annotated[Path, typer.Option("--out", "-o", help="File, or folder for clips.")],
    form: Annotated[
        str, typer.Option("--format", metavar="gds|oas|lyrdb|csv|json|parquet|clips")
    ] = "gds",
    marker_layer: Annotated[
        int | None, typer.Option(help="Layer of the markers; a free one by default.")
    ] = None,
) -> None:
    """Write the hotspots of a scan for another tool."""
    from pipeline.inspect import export_run

    complete = export_run(run, form, out, marker_layer)
    typer.echo(f"wrote {out}")
    if not complete:
        typer.echo(f"the scan is not complete; go on with: hotscan resume {run}", err=True)
        raise typer.Exit(4)


@app.command()
def report(run: RunFolder) -> None:
    """Write the report of a scan again."""
    from pipeline.inspect import report_again

    metrics = report_again(run)
    _say_result(run, metrics)
    if not metrics["complete"]:
        raise typer.Exit(4)


@app.command()
def info(layout: LayoutFile, as_json: AsJson = False) -> None:
    """Tell cells, top cells, layers with counts, extent and database unit of a layout."""
    from pipeline.inspect import layout_info

    _print_object(layout_info(layout, everything=as_json), as_json)


@app.command()
def validate(layout: LayoutFile, strict: Strict = False) -> None:
    """Check that a layout can be read; exit 3 when it cannot, or with --strict gives a warning."""
    from pipeline.ingest import read_info

    _, warnings = read_info(layout, strict=strict)
    for warning in warnings:
        typer.echo(f"warning: {warning}")
    typer.echo(f"{layout} can be scanned" + (f", with {len(warnings)} warnings" * bool(warnings)))


@app.command()
def models(as_json: AsJson = False) -> None:
    """List the models that come with hotscan, with their measured recall and false alarms."""
    from pipeline.inspect import shipped_models

    _print_object(shipped_models(), as_json)


@app.command()
def label(
    layout: LayoutFile,
    out: Annotated[Path, typer.Option("--out", "-o", help="Dataset, a Zarr group to make.")],
    process: Annotated[str, typer.Option(help="Shipped process, or a TOML file.")] = "krf130",
    layer: Layers = None,
    cell: Cell = None,
    roi: Roi = None,
    pixel_nm: Annotated[float, typer.Option(help="Side of a pixel.")] = 40.0,
    clip_px: Annotated[int, typer.Option(help="Side of a clip, in pixels.")] = 64,
    core_px: Annotated[int, typer.Option(help="Side of a core, in pixels.")] = 32,
    stride_nm: Annotated[float | None, typer.Option(help="Step of the grid; one core.")] = None,
    workers: Workers = None,
    quiet: Quiet = False,
) -> None:
    """Simulate the lithography of a region and label its clips, for training and measuring."""
    from pipeline.config import load_resources
    from pipeline.datasets import label_layout
    from pipeline.events import Progress
    from stages.contracts import RasterSpec

    with _interruptible(), Progress(quiet=quiet) as progress:
        made = label_layout(
            layout, out, process, layer or [], cell, _numbers(roi),
            RasterSpec(pixel_nm, clip_px, core_px), stride_nm,
            load_resources({"workers": workers}), progress,
        )  # fmt: skip
    _print_object(made, False)


@app.command()
def train(
    dataset: Annotated[list[Path], typer.Argument(help="Labelled datasets.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Checkpoint to write.")],
    validation: Annotated[
        list[Path] | None,
        typer.Option(help="Dataset to validate on; an eighth of the patterns by default."),
    ] = None,
    epochs: Annotated[int, typer.Option(help="Epochs of 250 steps.")] = 30,
    recall: Annotated[
        float, typer.Option(help="Recall on validation clips that sets the threshold.")
    ] = 0.99,
    seed: Annotated[int, typer.Option(help="Same seed on a CPU, same weights.")] = 0,
    quiet: Quiet = False,
) -> None:
    """Train a detector on labelled datasets; a stopped training goes on where it was."""
    from pipeline.training import train_model
    from stages.detector.training import TrainingConfig

    config = TrainingConfig(epochs=epochs, recall=recall, seed=seed)
    say = (lambda text: None) if quiet else (lambda text: typer.echo(text, err=True))
    made = train_model(dataset, out, validation=validation or [], config=config, say=say)
    _print_object(made, False)


@app.command()
def evaluate(
    model: Annotated[str, typer.Argument(help="Shipped model, or a checkpoint.")],
    dataset: Annotated[list[Path], typer.Argument(help="Labelled datasets.")],
    trained_on: Annotated[
        list[Path] | None, typer.Option(help="Dataset it was trained on, to tell unseen hotspots.")
    ] = None,
    threshold: Threshold = None,
    as_json: AsJson = False,
) -> None:
    """Measure recall and false alarms of a model on labelled clips."""
    from pipeline.evaluation import evaluate_model

    _print_object(
        evaluate_model(model, dataset, trained_on=trained_on or [], threshold=threshold), as_json
    )


def _print_object(values: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(values, indent=1))
        return
    console = Console(highlight=False, soft_wrap=True)
    width = max((len(name) for name in values), default=0)
    for name, value in values.items():
        if isinstance(value, dict):
            value = "\n".join(f"{'':{width}}  {key}  {item}" for key, item in value.items()).strip()
        console.print(f"{name:{width}}  {value}", markup=False)


def main() -> None:
    """Run the command line, turning errors into messages and exit codes."""
    try:
        app()
    except HotscanError as error:
        typer.echo(f"hotscan: {error}", err=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
