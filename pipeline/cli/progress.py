"""Progress on a terminal: a bar, or a line every few seconds where there is none.

in       small events from the driver
out      text on standard error
promise  nothing is written anywhere but to the given stream
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self, TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    Task,
    TaskProgressColumn,
    TextColumn,
)
from rich.progress import Progress as RichProgress
from rich.text import Text

from pipeline.cli.text import clock_text
from pipeline.engine.events import (
    Event,
    Notice,
    StageFinished,
    StageStarted,
    Step,
    UnitFinished,
    describe_notice,
)


class Progress:
    """Shows the events it is called with, inside a ``with`` block.

    Parameters
    ----------
    quiet
        Show nothing.
    stream
        Where to; standard error by default.
    every_s
        Least time between two lines, in seconds; a stage's first and last are always written.
    clock
        Seconds since any fixed moment; for tests.
    """

    def __init__(
        self,
        *,
        quiet: bool = False,
        stream: TextIO | None = None,
        every_s: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        stream = stream or sys.stderr
        self._pace = Pace(clock)
        self._bar = None if quiet or not stream.isatty() else _bar(stream, self._pace)
        self._stream = None if quiet or self._bar else stream
        self._every_s = every_s
        self._next_line = 0.0

    def __call__(self, event: Event) -> None:
        """Show one event."""
        if isinstance(event, Notice):
            self._warn(describe_notice(event))
            return
        self._pace.follow(event)
        if self._bar is not None:
            self._move_bar(self._bar, event)
        elif self._stream is not None:
            self._write_line(self._stream, event)

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def _warn(self, text: str) -> None:
        if self._bar is not None:
            self._bar.console.print(text)
        elif self._stream is not None:
            self._stream.write(f"{text}\n")

    def _move_bar(self, bar: RichProgress, event: Step) -> None:
        if isinstance(event, StageStarted):
            # A bar that is not started pulses: of a single step no share is known.
            bar.add_task(
                event.stage,
                start=event.total > 1,
                total=event.total,
                completed=event.done,
                noun=event.noun,
            )
        elif bar.task_ids:
            bar.start_task(bar.task_ids[-1])
            bar.update(bar.task_ids[-1], completed=event.done)

    def _write_line(self, stream: TextIO, event: Step) -> None:
        now = self._pace.clock()
        if isinstance(event, UnitFinished) and now < self._next_line:
            return
        self._next_line = now + self._every_s
        ending = ""
        if isinstance(event, StageFinished):
            failed = f"  {event.failed} FAILED" if event.failed else ""
            ending = f"  done in {clock_text(event.seconds)}{failed}"
        stream.write(f"{self._pace.line()}{ending or self._pace.ending()}\n")
        stream.flush()


class Pace:
    """How far the current stage is, how fast it goes, and how long it will still take."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self._started_at = 0.0
        self._started = StageStarted("", 0)
        self._done = 0

    def follow(self, event: Step) -> None:
        """Take in one event."""
        if isinstance(event, StageStarted):
            self._started, self._started_at = event, self.clock()
        self._done = event.done

    def line(self) -> str:
        """Return ``"clips  120/1155 tiles  10 %"``."""
        started, total = self._started, self._started.total
        share = 100 * self._done // total if total else 100
        return f"{started.stage}  {self._done}/{total} {started.noun}  {share} %"

    def spent(self) -> str:
        """Return ``"  12 s"``, the time since the stage began."""
        return f"  {clock_text(self.clock() - self._started_at)}"

    def ending(self) -> str:
        """Return ``"  34/s  30 s left"``; empty before the first unit of this session."""
        now_done = self._done - self._started.done
        spent_s = self.clock() - self._started_at
        if now_done <= 0 or spent_s <= 0:
            return ""
        per_s = now_done / spent_s
        left_s = (self._started.total - self._done) / per_s
        return f"  {per_s:.3g}/s  {clock_text(left_s)} left"


class _PaceColumn(ProgressColumn):
    def __init__(self, pace: Pace) -> None:
        super().__init__()
        self._pace = pace

    def render(self, task: Task) -> Text:
        return Text("" if task.finished else self._pace.ending() or self._pace.spent())


def _bar(stream: TextIO, pace: Pace) -> RichProgress:
    return RichProgress(
        TextColumn("{task.description:9}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[noun]}"),
        TaskProgressColumn(),
        _PaceColumn(pace),
        # Its own text moves the cursor; nothing of a file is in it.
        console=Console(file=getattr(stream, "stream", stream)),
    )
