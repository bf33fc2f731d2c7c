from __future__ import annotations

import io
import re

import pytest

from pipeline.cli.progress import Progress
from pipeline.cli.text import clock_text
from pipeline.engine.events import StageFinished, StageStarted, UnitFinished


class Clock:
    """A clock that moves only when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def run_stage(progress: Progress, clock: Clock, *, total: int, before: int, step_s: float) -> None:
    progress(StageStarted("clips", total, before, "tiles"))
    for done in range(before + 1, total + 1):
        clock.now += step_s
        progress(UnitFinished("clips", done, total))
    progress(StageFinished("clips", total, total, seconds=(total - before) * step_s))


def test_first_and_last_line_always_and_no_more_than_one_per_interval() -> None:
    stream, clock = io.StringIO(), Clock()
    with Progress(stream=stream, every_s=5, clock=clock) as progress:
        run_stage(progress, clock, total=100, before=0, step_s=0.25)
    lines = stream.getvalue().splitlines()
    assert lines[0] == "clips  0/100 tiles  0 %"
    assert lines[1:-1] == [
        # 20 units of 0.25 s are 5 s, at 4/s
        f"clips  {done}/100 tiles  {done} %  4/s  {(100 - done) // 4} s left"
        for done in (20, 40, 60, 80, 100)
    ]
    assert lines[-1] == "clips  100/100 tiles  100 %  done in 25 s"


def test_the_rate_is_of_this_session() -> None:
    stream, clock = io.StringIO(), Clock()
    with Progress(stream=stream, every_s=0, clock=clock) as progress:
        progress(StageStarted("clips", 1000, 900, "tiles"))
        clock.now += 2
        progress(UnitFinished("clips", 901, 1000))
    assert stream.getvalue().splitlines() == [
        "clips  900/1000 tiles  90 %",
        "clips  901/1000 tiles  90 %  0.5/s  3 min 18 s left",
    ]


def test_short_stages_and_failures_are_told() -> None:
    stream = io.StringIO()
    with Progress(stream=stream, clock=Clock()) as progress:
        progress(StageStarted("scores", 0))
        progress(StageFinished("scores", 0, 0))
        progress(StageStarted("report", 2))
        progress(StageFinished("report", 2, 2, failed=1, seconds=61))
    assert stream.getvalue().splitlines() == [
        "scores  0/0 units  100 %",
        "scores  0/0 units  100 %  done in 0 s",
        "report  0/2 units  0 %",
        "report  2/2 units  100 %  done in 1 min 1 s  1 FAILED",
    ]


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()])
def test_quiet_says_nothing(stream: io.StringIO) -> None:
    clock = Clock()
    with Progress(quiet=True, stream=stream, clock=clock) as progress:
        run_stage(progress, clock, total=9, before=0, step_s=9)
    assert stream.getvalue() == ""


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.delenv("NO_COLOR", raising=False)
    stream, clock = Terminal(), Clock()
    with Progress(stream=stream, clock=clock) as progress:
        progress(StageStarted("clips", 40, noun="tiles"))
        clock.now += 10
        progress(UnitFinished("clips", 10, 40))
        progress(StageFinished("clips", 40, 40))
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", stream.getvalue())
    assert "clips" in shown
    assert "40/40 tiles 100%" in re.sub(r"\s+", " ", shown)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),  # rounded before it is split
        (3599.7, "1 h 0 min"),
        (90061, "25 h 1 min"),
    ],
)
def test_clock_text(seconds: float, text: str) -> None:
    assert clock_text(seconds) == text
