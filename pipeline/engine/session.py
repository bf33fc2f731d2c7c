"""Running stages and keeping their books: the part that a scan and a labelling share.

in       a stage's units and its task
out      the ledger's rows, events of progress, seconds per stage
promise  a finished unit is not run again; a failed one is tried again in every session
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from pipeline.engine.events import Listener, StageFinished, StageStarted, UnitFinished
from pipeline.engine.executors import Executor
from pipeline.engine.ledger import Ledger, Status, UnitOutcome
from pipeline.engine.memory import peak_rss_mb
from pipeline.engine.run_directory import Run
from stages.errors import RunMismatchError

T = TypeVar("T")


STATE = ("state", "seconds", "peak_rss_mb")
"""What ``run.json`` holds of the work done, beside what is to be made."""


def bind(run: Run, wanted: dict[str, Any]) -> dict[str, Any]:
    """Begin ``run.json``, or check that it wants the same; return what it holds.

    Raises
    ------
    RunMismatchError
        When something else was begun here; the text names what differs.
    """
    wanted = json.loads(json.dumps(wanted))  # tuples become lists, as in the file
    about = {"state": "running", **wanted, "seconds": {}}
    if (run.path / "run.json").exists():
        before = run.read_about()
        differ = [
            f"{key} was {before.get(key)!r}, is {wanted.get(key)!r}"
            for key in sorted((wanted.keys() | before.keys()) - set(STATE))
            if before.get(key) != wanted.get(key)
        ]
        if differ:
            raise RunMismatchError(
                f"{run.path} was begun otherwise: {'; '.join(differ)}; choose another --out, or "
                "remove it to start anew"
            )
        about |= {key: before[key] for key in STATE if key in before} | {"state": "running"}
    run.write_about(about)
    return about


class Session:
    """One driver's work on a run directory."""

    def __init__(
        self,
        run: Run,
        ledger: Ledger,
        executor: Executor,
        listen: Listener,
        about: dict[str, Any],
    ) -> None:
        self.run, self.ledger, self.executor = run, ledger, executor
        self.listen, self.about = listen, about

    def once(self, stage: str, work: Callable[[], dict[str, float]]) -> None:
        """Run a stage of one unit in this process, unless it is finished."""
        done = len(self.ledger.finished(stage))
        self.listen(StageStarted(stage, 1, done, "step"))
        started = time.monotonic()
        if not done:
            counts = work()
            seconds = time.monotonic() - started
            self.ledger.record(
                UnitOutcome(stage, "all", Status.DONE, counts=counts, seconds=seconds)
            )
            self.timed(stage, seconds)
        self.listen(StageFinished(stage, 1, 1, seconds=time.monotonic() - started))

    def units(
        self,
        stage: str,
        noun: str,
        units: Iterable[T],
        task: Callable[[T], UnitOutcome],
        name: Callable[[T], str],
    ) -> None:
        """Run the units of a stage that are not finished; failed ones are tried again."""
        every = list(units)
        finished = self.ledger.finished(stage)
        rest = [unit for unit in every if name(unit) not in finished]
        done, total = len(every) - len(rest), len(every)
        started = time.monotonic()
        self.listen(StageStarted(stage, total, done, noun))
        failed = 0
        for outcome in self.executor.run(task, rest, stage=stage, unit_id=name):
            self.ledger.record(outcome)
            failed += outcome.status == Status.FAILED
            done += 1
            self.listen(UnitFinished(stage, done, total, outcome.counts))
        seconds = time.monotonic() - started
        if rest:
            self.timed(stage, seconds)
        self.listen(StageFinished(stage, total, total, failed, seconds))

    def timed(self, stage: str, seconds: float) -> None:
        """Add to what a stage has cost so far, over all sessions."""
        spent = self.about["seconds"]
        spent[stage] = round(spent.get(stage, 0.0) + seconds, 3)
        self.about["peak_rss_mb"] = max(self.about.get("peak_rss_mb", 0.0), peak_rss_mb())
