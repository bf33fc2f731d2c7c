"""The commands of reviewing: review, waive, diff."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.commands.scan import Format
from pipeline.cli.option_fields import takes
from pipeline.cli.options import AsJson, FailOn, RunFolder, Waivers
from pipeline.cli.terminal import show
from pipeline.report import WAIVERS
from stages.text import escape_values


@dataclass(frozen=True, kw_only=True)
class ReviewOptions:
    """Options of ``hotscan review``."""

    run: RunFolder
    by: Annotated[
        str | None, typer.Option(metavar="NAME", help="Who reviews; the user's name by default.")
    ] = None
    waivers: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="File of waivers, created when absent; that of the scan, or waivers.toml, by "
            "default.",
        ),
    ] = None
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port on this machine; 0 for a free one.")
    ] = 0


@takes(ReviewOptions)
def review(options: ReviewOptions) -> None:
    """Show a scan in the browser, and keep what you decide.

    Prints an address that only works on this machine, until it is interrupted. Decisions are kept
    in review.jsonl in the run directory, waivers in their file.
    """
    from getpass import getuser

    from pipeline.review.serve import ReviewRequest, serve_review

    _refuse_several_layers(options.run)
    request = ReviewRequest(
        run=options.run, waivers=options.waivers, by=options.by or getuser(), port=options.port
    )

    def announce(address: str, hotspots: int) -> None:
        typer.echo(f"{hotspots:,} hotspots of {escape_values(options.run)}; open\n{address}")
        typer.echo("end with Ctrl-C")

    serve_review(request, announce)
    typer.echo(f"what was decided is in {escape_values(options.run / 'review.jsonl')}")


def _refuse_several_layers(run: Path) -> None:
    """Refuse a run of several layers, naming those of one."""
    from pipeline.scan.layers import is_of_layers, list_begun
    from stages.errors import UsageError

    if is_of_layers(run):
        scans = ", ".join(map(str, list_begun(run).values()))
        raise UsageError(f"{run} is a scan of several layers; review one of them: {scans}")


@dataclass(frozen=True, kw_only=True)
class WaiveOptions:
    """Options of ``hotscan waive``."""

    run: RunFolder
    classes: Annotated[
        list[int] | None, typer.Option("--class", help="Class to waive; repeatable.")
    ] = None
    hotspots: Annotated[
        list[int] | None, typer.Option("--hotspot", help="Hotspot to waive; repeatable.")
    ] = None
    reason: Annotated[str, typer.Option(help="Why they are accepted.")]
    by: Annotated[str, typer.Option(metavar="NAME", help="Who accepts them.")]
    expires: Annotated[
        str | None, typer.Option(metavar="YYYY-MM-DD", help="Last day; no end by default.")
    ] = None
    waivers: Annotated[
        Path, typer.Option(metavar="FILE", help="File of waivers; created when absent.")
    ] = Path(WAIVERS)


@takes(WaiveOptions)
def waive(options: WaiveOptions) -> None:
    """Accept hotspots of a scan, known by their geometry.

    Scans and reports that are given the file do not count them, wherever that geometry is. Other
    geometry, and worse failures, show as before.
    """
    from pipeline.report.waive import WaiveRequest, parse_grounds, waive_hotspots

    grounds = parse_grounds(options.reason, options.by, options.expires)
    result = waive_hotspots(
        WaiveRequest(
            run=options.run, file=options.waivers, grounds=grounds,
            classes=options.classes or (), hotspots=options.hotspots or (),
        )
    )  # fmt: skip
    waiver = result.waiver
    run, file = escape_values((options.run, options.waivers))
    until = f" until {waiver.expires}" if waiver.expires else ""
    typer.echo(
        f"{waiver.id}: {result.hotspots:,} hotspots waived{until}, "
        f"{len(waiver.geometry):,} geometries in {file}"
    )
    if result.left_out:
        typer.echo(f"{result.left_out:,} print in simulation, and are not waived")
    if result.others:
        typer.echo(f"{result.others:,} more hotspots of the scan have no other geometry: covered")
    typer.echo(f"apply it with: hotscan report {run} --waivers {file}")


@dataclass(frozen=True, kw_only=True)
class DiffOptions:
    """Options of ``hotscan diff``."""

    before: Annotated[Path, typer.Argument(help="Run directory of the scan before.")]
    after: Annotated[Path, typer.Argument(help="Run directory of the scan after.")]
    table: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write all hotspots of both as CSV.")
    ] = None
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write the new hotspots, as --format says.")
    ] = None
    form: Annotated[Format, typer.Option("--format", help="As of hotscan export.")] = "lyrdb"
    waivers: Waivers = None
    fail_on: FailOn = None
    as_json: AsJson = False


@takes(DiffOptions)
def diff(options: DiffOptions) -> None:
    """Compare two scans of a layout, before and after edits.

    Hotspots are new, fixed, moved, or the same, by the geometry around what fails: not by scores,
    numbers or clips. --fail-on counts the new ones that are not waived.
    """
    from pipeline.cli.gate import parse_gate
    from pipeline.cli.scan_text import diff_text
    from pipeline.engine.storage.run_directory import write_whole
    from pipeline.report.compare import compare_runs
    from pipeline.report.export import export_hotspots

    gate = None if options.fail_on is None else parse_gate(options.fail_on)
    found = compare_runs(options.before, options.after, options.waivers)
    counts = {"complete": found.complete, **found.count()}
    counts |= {f"new_level{level}": count for level, count in found.count_levels().items()}
    show({"counts": counts, "new": found.list_new()}, options.as_json, diff_text)
    if options.table is not None:
        write_whole(options.table, found.format_csv().encode())
    if options.out is not None:
        export_hotspots(found.view_of_new, options.form, options.out, [])
    if not found.complete:
        raise typer.Exit(4)
    if gate is not None and (over := gate.describe_excess(found.count_levels(), "new hotspots")):
        typer.echo(over, err=True)
        raise typer.Exit(1)
