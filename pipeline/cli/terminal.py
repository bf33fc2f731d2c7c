"""How a command prints what it has made, and how it ends when it is stopped."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import typer


def show(values: dict[str, Any], as_json: bool, text: Callable[[Any], str]) -> None:
    """Print values as one JSON object, or as text."""
    typer.echo(json.dumps(values, indent=1) if as_json else text(values))


@contextmanager
def interruptible(go_on: str) -> Iterator[None]:
    """Let SIGTERM end the work as Ctrl-C does, each with its own exit code."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt(str(128 + number))

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt as interrupt:
        typer.echo(f"interrupted; go on with: {go_on}", err=True)
        raise typer.Exit(int(str(interrupt) or 130)) from None
    finally:
        signal.signal(signal.SIGTERM, before)
