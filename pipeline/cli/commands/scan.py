"""The commands of a scan and of its run directory, from scan to export."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from pipeline.cli.option_fields import takes
from pipeline.cli.options import (
    AsJson,
    LayoutFile,
    OutFolder,
    ReaderOptions,
    RunFolder,
    SessionOptions,
    Waivers,
    locate,
)
from pipeline.cli.settings_options import SettingsOptions
from pipeline.cli.terminal import run_session, show
from stages.errors import UsageError
from stages.text import escape_values

if TYPE_CHECKING:
    from pipeline.cli.gate import Gate
    from pipeline.engine.events import Listener
    from pipeline.scan.layers import LayersResult
    from pipeline.scan.request import ScanResult

Format = Literal["gds", "oas", "lyrdb", "calibre", "junit", "csv", "json", "parquet", "clips"]


@dataclass(frozen=True, kw_only=True)
class ScanOptions(SessionOptions, SettingsOptions):
    """Options of ``hotscan scan``."""

    layout: LayoutFile
    out: OutFolder
    since: Annotated[
        Path | None,
        typer.Option(
            parser=locate, metavar="RUN", help="Reuse an earlier scan where nothing changed."
        ),
    ] = None
    shard: Annotated[
        str | None, typer.Option(metavar="I/N", help="Only part I of N, to be merged later.")
    ] = None
    keep_model: Annotated[
        Path | None,
        typer.Option(metavar="FILE.json", help="Write the model that --certify fitted."),
    ] = None


@takes(ScanOptions)
def scan(options: ScanOptions) -> None:
    """Scan a layout for hotspots.

    Run the same command again to resume a scan that was stopped.
    """
    from pipeline.passes.shard import Shard
    from pipeline.scan.layers import scan_any
    from pipeline.scan.request import ScanRequest

    if options.keep_model is not None and options.certify is None:
        raise UsageError("--keep-model does not apply without --certify; add it")
    request = ScanRequest(
        layout=options.layout, out=options.out, config=options.settings(),
        since=(options.since,) if options.since else (),
        shard=Shard.parse(options.shard) if options.shard else None,
        keep_model=options.keep_model,
    )  # fmt: skip
    finish(lambda listen: scan_any(request, options.resources(), listen), options.out, options)


@dataclass(frozen=True, kw_only=True)
class ResumeOptions(SessionOptions, ReaderOptions):
    """Options of ``hotscan resume``."""

    run: RunFolder


@takes(ResumeOptions)
def resume(options: ResumeOptions) -> None:
    """Resume a scan that was stopped.

    Its settings are those that it began with.
    """
    from pipeline.scan.layers import resume_any

    finish(
        lambda listen: resume_any(
            options.run, options.resources(), listen, reader=options.reader_table()
        ),
        options.run,
        options,
    )


@dataclass(frozen=True, kw_only=True)
class AuditOptions(SessionOptions):
    """Options of ``hotscan audit``."""

    run: RunFolder
    clips: Annotated[
        str,
        typer.Option(
            metavar="SHARE|CLIPS|SECONDSs",
            help="A share of the clips (0.03, 3%), a number, or what one worker simulates in a "
            "time (600s).",
        ),
    ] = "3%"
    seed: Annotated[int, typer.Option(min=0, help="Another seed draws other clips.")] = 0


@takes(AuditOptions)
def audit(options: AuditOptions) -> None:
    """Estimate how many hotspots a scan missed.

    Simulates a random sample of all clips of its region. Run it again with more clips to narrow the
    interval; only the added ones are simulated.
    """
    from pipeline.config import load_config
    from pipeline.scan.scan import resume as resume_scan

    asked = load_config(None, {"audit": {"size": options.clips, "seed": options.seed}}).audit
    finish(
        lambda listen: resume_scan(options.run, options.resources(), listen, audit=asked),
        options.run,
        options,
    )


@dataclass(frozen=True, kw_only=True)
class FixOptions(SessionOptions):
    """Options of ``hotscan fix``."""

    run: RunFolder
    rules: Annotated[
        Path | None,
        typer.Option(help="TOML file of design rules, with the keys of the table [fix]."),
    ] = None
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Layout file to write, with the fixes applied."),
    ] = None


@takes(FixOptions)
def fix(options: FixOptions) -> None:
    """Search for moves of drawn edges that mend hotspots.

    Of each class of hotspots that fails in simulation the smallest is searched, and simulated with
    all others in place.
    """
    from pipeline.config import load_fix_rules
    from pipeline.fix.apply import write_fixed_layout
    from pipeline.scan.scan import resume as resume_scan

    rules = load_fix_rules(options.rules)
    finish(
        lambda listen: resume_scan(options.run, options.resources(), listen, fixing=rules),
        options.run,
        options,
    )
    if options.out is not None:
        unapplied = write_fixed_layout(options.run, options.out)
        typer.echo(f"wrote {escape_values(options.out)}")
        for line in unapplied:
            typer.echo(line, err=True)


@dataclass(frozen=True, kw_only=True)
class MergeOptions(SessionOptions, ReaderOptions):
    """Options of ``hotscan merge``."""

    parts: Annotated[
        list[Path],
        typer.Argument(
            parser=locate, metavar="RUN...",
            help="Run directories of scan --shard, or their s3:// addresses.",
        ),
    ]  # fmt: skip
    out: OutFolder


@takes(MergeOptions)
def merge(options: MergeOptions) -> None:
    """Put the shards of a scan together.

    Whatever is missing in them is scanned, so that the result is that of one scan.
    """
    from pipeline.scan.scan import merge as merge_parts

    finish(
        lambda listen: merge_parts(
            options.parts, options.out, options.resources(), listen, options.reader_table()
        ),
        options.out,
        options,
    )


def finish(
    work: Callable[[Listener], ScanResult | LayersResult], out: Path, options: SessionOptions
) -> None:
    """Run a scan, print its result, and end with its exit code."""
    from pipeline.cli.scan_text import layers_text, part_text, result_text
    from pipeline.engine.storage.replica import name_run
    from pipeline.scan.inspect_run import run_status
    from pipeline.scan.request import ScanResult

    gate = options.gate()  # refused before the long work
    result = run_session(work, out, f"hotscan resume {name_run(out)}", options)
    if not isinstance(result, ScanResult):
        typer.echo(layers_text(*escape_values((out, result.metrics))))
        return _end(result.metrics, gate)
    status, metrics = run_status(out), result.metrics
    if result.shard is not None:
        typer.echo(part_text(*escape_values((out, result.shard, metrics, status["failed"]))))
        if metrics["units_failed"]:
            raise typer.Exit(4)
        return
    typer.echo(result_text(*escape_values((out, status["layout"], metrics, status["failed"]))))
    return _end(metrics, gate)


def _end(metrics: Mapping[str, Any], gate: Gate | None) -> None:
    """End with the exit code of a scan."""
    from stages.review.levels import LEVELS

    if not metrics["complete"]:
        raise typer.Exit(4)
    found = {level: metrics[f"hotspots_level{level}"] for level in LEVELS}
    if gate is not None and (over := gate.describe_excess(found, "hotspots")):
        typer.echo(over, err=True)
        raise typer.Exit(1)


@dataclass(frozen=True, kw_only=True)
class PlanOptions(SettingsOptions):
    """Options of ``hotscan plan``."""

    layout: LayoutFile
    workers: Annotated[int | None, typer.Option(min=0, help="Worker processes to plan for.")] = None
    as_json: AsJson = False


@takes(PlanOptions)
def plan(options: PlanOptions) -> None:
    """Estimate time, memory and disk of a scan.

    Clips, distinct clips and costs are extrapolated from a sample of the tiles.
    """
    from pipeline.cli.scan_text import plan_text
    from pipeline.config import load_resources
    from pipeline.scan.layers import estimate_any

    resources = load_resources({"workers": options.workers})
    show(estimate_any(options.layout, options.settings(), resources), options.as_json, plan_text)


def status(run: RunFolder, as_json: AsJson = False) -> None:
    """Show scan progress.

    Whether it runs, what is done, and what failed.
    """
    from pipeline.cli.text import status_text
    from pipeline.scan.layers import status_any

    show(status_any(run), as_json, status_text)


def report(run: RunFolder, waivers: Waivers = None) -> None:
    """Write the report of a scan again."""
    from pipeline.cli.scan_text import layers_text, result_text
    from pipeline.scan.inspect_run import report_again, run_status
    from pipeline.scan.layers import is_of_layers, report_layers_again

    if is_of_layers(run):
        found = report_layers_again(run)
        typer.echo(layers_text(*escape_values((run, found))))
        if not found["complete"]:
            raise typer.Exit(4)
        return
    metrics, state = report_again(run, waivers), run_status(run)
    typer.echo(result_text(*escape_values((run, state["layout"], metrics, state["failed"]))))
    if not metrics["complete"]:
        raise typer.Exit(4)


def export(
    run: RunFolder,
    out: Annotated[Path, typer.Option("--out", "-o", help="File, or folder for clips.")],
    form: Annotated[
        Format,
        typer.Option(
            "--format",
            help="Markers, KLayout's report database (gzip), Calibre's ASCII results, JUnit XML, "
            "tables, or a GDSII file per clip.",
        ),
    ] = "gds",
    marker_layer: Annotated[
        int | None, typer.Option(help="Layer of the markers; an unused one by default.")
    ] = None,
    waivers: Waivers = None,
) -> None:
    """Write the hotspots of a scan for another tool."""
    from pipeline.scan.inspect_run import export_run

    complete = export_run(run, form, out, marker_layer, waivers)
    typer.echo(f"wrote {escape_values(out)}")
    if not complete:
        typer.echo(f"the scan is not complete; resume it with: hotscan resume {run}", err=True)
        raise typer.Exit(4)
