"""The command line: parse, call one function, print, end with the right code.

Exit codes: 0 complete; 1 complete, and over the ``--fail-on`` gate; 2 usage, config or model
mismatch; 3 layout unreadable or refused; 4 incomplete, or not certified; 130 or 143 interrupted,
resumable.
"""

from __future__ import annotations

import gc
import sys
import traceback
from typing import Annotated

import typer

from pipeline.cli.commands import cache, calibrate, dataset, detector, layout, review, scan
from pipeline.cli.terminal import print_only_printable
from pipeline.engine.lazy import import_lazily
from pipeline.engine.memory import look_for_garbage_seldom
from stages.errors import HotscanError
from stages.text import escape_text

app = typer.Typer(
    name="hotscan",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Scan a full GDSII or OASIS layout for lithography hotspots.",
)


def print_version(asked: bool) -> None:
    """Print the version and end."""
    if asked:
        from importlib.metadata import version

        typer.echo(f"hotscan {version('hotscan')}")
        raise typer.Exit()


@app.callback()
def common(
    version: Annotated[
        bool,
        typer.Option("--version", callback=print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Scan a full GDSII or OASIS layout for lithography hotspots."""


for command in (
    scan.scan, scan.audit, scan.fix, scan.resume, scan.merge,
    scan.plan, scan.status, scan.export, scan.report,
    review.review, review.waive, review.diff,
    layout.info, layout.validate, detector.label, detector.select, layout.simulate,
    calibrate.gauges, calibrate.calibrate, detector.train, detector.evaluate, detector.compare,
    cache.warm,
):  # fmt: skip
    app.command()(command)
app.add_typer(dataset.dataset, name="dataset")
app.add_typer(detector.models, name="models")


def main() -> None:
    """Run the command line, turning errors into messages and exit codes."""
    with print_only_printable():
        _run()


def _run() -> None:
    look_for_garbage_seldom()
    import_lazily("torch")  # takes longer than a small scan, whose network computes without it
    try:
        app()
    except HotscanError as error:
        typer.echo(f"hotscan: {escape_text(str(error))}", err=True)
        sys.exit(error.exit_code)
    except OSError as error:
        typer.echo(
            f"hotscan: {escape_text(str(error))}; free or repair it, and run the same again",
            err=True,
        )
        sys.exit(4)
    except Exception:  # exit code 1, Python's own, would say "complete, and over the gate"
        traceback.print_exc()
        typer.echo("hotscan: this is a fault of hotscan; please report the text above", err=True)
        sys.exit(4)
    finally:
        gc.freeze()  # otherwise all of torch is traversed once more: 0.6 s of every command


if __name__ == "__main__":
    main()
