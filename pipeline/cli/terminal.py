"""How a command runs, prints its result, and ends when it is stopped."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar

import typer

if TYPE_CHECKING:
    from pipeline.cli.options import SessionOptions
    from pipeline.engine.events import Listener

T = TypeVar("T")


def show(values: dict[str, Any], as_json: bool, text: Callable[[Any], str]) -> None:
    """Print values as one JSON object, or as text."""
    typer.echo(json.dumps(values, indent=1) if as_json else text(values))


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
