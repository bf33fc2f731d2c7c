"""The commands that fit a process to a fab's measurements: gauges, calibrate."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.option_fields import takes
from pipeline.cli.options import AsJson, Cell, OutFolder, Process, ReaderOptions
from pipeline.cli.terminal import show
from stages.text import escape_values


@dataclass(frozen=True, kw_only=True)
class GaugesOptions:
    """Options of ``hotscan gauges``."""

    out: OutFolder
    process: Process = "krf130"
    layer: Annotated[
        str, typer.Option("--layer", "-l", metavar="L/D", help="Layer to draw on.")
    ] = "1/0"


@takes(GaugesOptions)
def gauges(options: GaugesOptions) -> None:
    """Draw patterns to measure, and a CSV file to fill in.

    The patterns are lines and spaces through pitch and alone, line ends, gaps between them, and
    squares, at the scale of the process. Fill in measured_nm and sigma_nm for `hotscan calibrate`.
    """
    from pipeline.calibrate.draw_gauges import draw_gauges
    from stages.contracts import Layer

    drawn = escape_values(draw_gauges(options.process, options.out, Layer.parse(options.layer)))
    typer.echo(f"layout     {drawn['layout']} ({drawn['patterns']} patterns)")
    typer.echo(f"table      {drawn['table']} ({drawn['rows']} rows to measure)")


@dataclass(frozen=True, kw_only=True)
class CalibrateOptions(ReaderOptions):
    """Options of ``hotscan calibrate``."""

    gauges: Annotated[Path, typer.Argument(help="CSV file of measured widths and spaces.")]
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="MINE.toml", help="Process file to write.")
    ]
    process: Process = "krf130"
    held_out: Annotated[
        float, typer.Option(metavar="SHARE", help="Share of the patterns that are not fitted.")
    ] = 0.2
    layout: Annotated[
        Path | None, typer.Option(help="Layout of the gauges that are places in it.")
    ] = None
    layer: Annotated[
        str | None, typer.Option("--layer", "-l", metavar="L/D", help="Layer of that layout.")
    ] = None
    cell: Cell = None
    as_json: AsJson = False


@takes(CalibrateOptions)
def calibrate(options: CalibrateOptions) -> None:
    """Fit a process to measured widths and spaces.

    Writes the process file, a page of residuals beside it (MINE.html), and them as a table
    (MINE.gauges.csv). What the gauges do not determine keeps the base process's value, and is
    named.
    """
    from pipeline.calibrate.calibrate import CalibrateRequest, calibrate_process
    from pipeline.cli.text import calibration_text

    figures = calibrate_process(
        CalibrateRequest(
            options.gauges, options.out, options.process, options.held_out, options.layout,
            options.layer, options.cell, options.limits(),
        )
    )  # fmt: skip
    show(figures, options.as_json, lambda values: calibration_text(options.out, values))
