"""The commands on a layout itself: info, validate, simulate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from pipeline.cli.option_fields import takes
from pipeline.cli.options import (
    AsJson,
    Cell,
    LayoutFile,
    Mask,
    NameOptions,
    Opc,
    OutFolder,
    Process,
    ReaderOptions,
    Roi,
    SessionOptions,
    Strict,
)
from pipeline.cli.settings_options import parse_region
from pipeline.cli.terminal import run_session, show
from stages.text import escape_text, escape_values


@dataclass(frozen=True, kw_only=True)
class InfoOptions(NameOptions):
    """Options of ``hotscan info``."""

    layout: LayoutFile
    as_json: AsJson = False


@takes(InfoOptions)
def info(options: InfoOptions) -> None:
    """Show what a layout holds.

    Cells, top cells with their extents, layers with their shapes, and the database unit.
    """
    from pipeline.cli.text import info_text
    from pipeline.layout.describe import layout_info

    info = layout_info(options.layout, options.limits(), options.names())
    show(info, options.as_json, info_text)


@dataclass(frozen=True, kw_only=True)
class ValidateOptions(ReaderOptions):
    """Options of ``hotscan validate``."""

    layout: LayoutFile
    strict: Strict = False


@takes(ValidateOptions)
def validate(options: ValidateOptions) -> None:
    """Check that a layout can be read.

    Ends with exit code 3 when it cannot, or when it gives a warning under --strict.
    """
    from pipeline.layout.ingest import read_info

    _, warnings = read_info(options.layout, limits=options.limits(), strict=options.strict)
    for warning in warnings:
        typer.echo(f"warning: {escape_text(warning)}")
    can = "can be scanned" + (", with the warnings above" * bool(warnings))
    typer.echo(f"{escape_values(options.layout)} {can}")


@dataclass(frozen=True, kw_only=True)
class SimulateOptions(SessionOptions, NameOptions):
    """Options of ``hotscan simulate``."""

    layout: LayoutFile
    out: OutFolder
    layer: Annotated[
        str, typer.Option("--layer", "-l", metavar="L/D|NAME", help="The target layer.")
    ]
    process: Process = "krf130"
    mask: Mask = None
    opc: Opc = "none"
    cell: Cell = None
    roi: Roi = None
    contours: Annotated[
        bool, typer.Option("--contours/--no-contours", help="Also draw the printed contours.")
    ] = True
    image: Annotated[
        str | None,
        typer.Option(
            metavar="png,svg,zarr",
            help="Also draw light, contours, band and mask: as a picture, as an array for xarray.",
        ),
    ] = None
    image_step: Annotated[
        float | None,
        typer.Option(metavar="NM", min=0.1, help="Distance of the array's samples."),
    ] = None


@takes(SimulateOptions)
def simulate(options: SimulateOptions) -> None:
    """Simulate the lithography of a region.

    Finds what fails, and draws what prints at every corner of the process window. Run the same
    command again to resume a simulation that was stopped.
    """
    from pipeline.cli.text import simulation_text
    from pipeline.simulate.region import SimulateRequest, simulate_region
    from stages.review.levels import LEVELS

    names = options.names()
    request = SimulateRequest(
        options.layout, options.out, names.find(options.layer), options.process,
        options.mask and names.find(options.mask),
        options.opc or "none", options.cell, parse_region(options.roi), options.contours,
        tuple(options.image.split(",")) if options.image else (), options.image_step,
        options.limits(),
    )  # fmt: skip
    gate = options.gate()  # refused before the long work
    metrics = run_session(
        lambda listen: simulate_region(request, options.resources(), listen),
        options.out, "the same command", options,
    )  # fmt: skip
    typer.echo(simulation_text(*escape_values((options.out, metrics, request.image))))
    if not metrics["complete"]:
        raise typer.Exit(4)
    found = {level: metrics[f"level{level}_defects"] for level in LEVELS}
    if gate is not None and (over := gate.describe_excess(found, "defects")):
        typer.echo(over, err=True)
        raise typer.Exit(1)
