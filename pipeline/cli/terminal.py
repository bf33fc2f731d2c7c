"""How a command runs, prints its result, and ends when it is stopped.

in       what a command does, and its options
out      text on the two standard streams, an exit code
promise  no name of a file, cell or layer reaches the terminal with a character that acts on it
"""

from __future__ import annotations

import io
import json
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

import typer

from stages.text import escape_text, escape_values

if TYPE_CHECKING:
    from pipeline.cli.options import SessionOptions
    from pipeline.engine.events import Listener

T = TypeVar("T")


def show(values: dict[str, Any], as_json: bool, text: Callable[[Any], str]) -> None:
    """Print values as one JSON object, or as text."""
    typer.echo(json.dumps(values, indent=1) if as_json else text(escape_values(values)))


class PrintableStream:
    """A standard stream whose text cannot act on a terminal; line breaks and tabs stay.

    Parameters
    ----------
    stream
        Where the text goes to; it has everything else of this one.
    """

    encoding = "utf-8"  # so that click writes here, and not to the bytes beneath

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        """Write text with everything escaped that is not printable."""
        return self.stream.write(escape_text(text, keep="\n\t"))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextmanager
def print_only_printable() -> Iterator[None]:
    """Escape what anybody writes to the standard streams, and whatever they cannot encode."""
    before = sys.stdout, sys.stderr
    for stream in before:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    sys.stdout, sys.stderr = map(PrintableStream, before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def run_session(
    work: Callable[[Listener], T], out: Path, resume_with: str, options: SessionOptions
) -> T:
    """Run a session with progress and log as the options say, and return its result."""
    from pipeline.cli.progress import Progress
    from pipeline.engine.log import log_event, log_to

    with interruptible(resume_with), Progress(quiet=options.quiet) as progress:
        if not options.verbose:
            return work(progress)

        def listen(event: Any) -> None:
            log_event(event)
            progress(event)

        with log_to(out):
            return work(listen)


@contextmanager
def interruptible(resume_with: str) -> Iterator[None]:
    """Let SIGTERM end the work as Ctrl-C does, each with its own exit code."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt(str(128 + number))

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt as interrupt:
        typer.echo(f"interrupted; resume with: {resume_with}", err=True)
        raise typer.Exit(int(str(interrupt) or 130)) from None
    finally:
        signal.signal(signal.SIGTERM, before)
