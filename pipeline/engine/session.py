"""One driver's work on a run directory: run what is not finished, and record it.

in       a stage's units and its task
out      the ledger's rows, progress events, seconds per stage, a traceback for each failure
promise  a finished unit is not run again; a failed one is tried again in every session
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from pipeline.config import Resources
from pipeline.engine.agreement import Agreement, choose_arithmetic, find_hosts
from pipeline.engine.events import (
    ArithmeticChanged,
    DataDamaged,
    Listener,
    StageFinished,
    StageStarted,
    UnitFinished,
    WorkersDiffer,
)
from pipeline.engine.executors import Executor, executor_for
from pipeline.engine.storage.checksums import is_intact, seal
from pipeline.engine.storage.failures import write_failure
from pipeline.engine.storage.ledger import Ledger, Status, UnitOutcome
from pipeline.engine.storage.replica import Mirror, Replica, StoredProbe, StoredTask, list_needs
from pipeline.engine.storage.run_directory import Run, remove_unfinished
from pipeline.engine.storage.run_record import (
    Inputs,
    RunRecord,
    State,
    bind,
    has_record,
    list_damaged_records,
    write_record,
)
from stages.arithmetic import Arithmetic
from stages.errors import IncompleteError

T = TypeVar("T")

MOST_ROUNDS = 3
"""Times that a stage is run until its units are of one arithmetic; workers may join meanwhile."""


@dataclass(frozen=True, slots=True)
class Written:
    """What a stage of one unit has done."""

    files: tuple[str, ...] = ()
    """Relative to the run directory."""
    counts: Mapping[str, float] = field(default_factory=dict)


def record_written(
    run: Run, ledger: Ledger, stage: str, written: Written, seconds: float = 0.0, unit: str = "all"
) -> None:
    """Bring what a unit wrote in this process to disk, and record it."""
    checksum = seal(run.path, written.files)
    ledger.record(UnitOutcome(
        stage, unit, Status.DONE, written.counts, checksum, seconds, files=written.files
    ))  # fmt: skip


def list_damaged(run: Run, ledger: Ledger, stage: str) -> list[str]:
    """Return the finished units of a stage whose files are not what they wrote."""
    return [
        unit
        for unit, outcome in ledger.finished(stage).items()
        if not is_intact(run.path, outcome.files, outcome.checksum)
    ]


def require_intact(run: Run, ledger: Ledger, *stages: str) -> None:
    """Refuse to read damaged data.

    Raises
    ------
    IncompleteError
        It names the first damaged unit; resuming the run computes it again.
    """
    for stage in stages:
        if damaged := list_damaged(run, ledger, stage):
            raise IncompleteError(
                f"{run.path}: {stage} {damaged[0]} is damaged on disk ({len(damaged)} of this "
                f"stage are); compute it again with: hotscan resume {run.path}"
            )


class Session:
    """One driver's work on a run directory."""

    def __init__(
        self,
        run: Run,
        ledger: Ledger,
        executor: Executor,
        listen: Listener,
        record: RunRecord,
        mirror: Mirror | None = None,
    ) -> None:
        self.run, self.ledger, self.executor = run, ledger, executor
        self.listen, self.record = listen, record
        self._mirror = mirror

    def run_once(
        self, stage: str, work: Callable[[], Written], *, always: bool = False, unit: str = "all"
    ) -> None:
        """Run a stage of one unit in this process, unless it is finished.

        Parameters
        ----------
        always
            Run it all the same: what it writes shows the state of the run.
        unit
            Of a stage whose units follow from one another, the one to run.
        """
        self._forget_damaged(stage)
        if always:
            self.ledger.forget(stage)
        done = int(unit in self.ledger.finished(stage))
        self.listen(StageStarted(stage, 1, done, "step"))
        started = time.monotonic()
        if not done:
            written = work()
            seconds = time.monotonic() - started
            record_written(self.run, self.ledger, stage, written, seconds, unit)
            self.add_time(stage, seconds)
        self.listen(StageFinished(stage, 1, 1, seconds=time.monotonic() - started))

    def run_units(
        self,
        stage: str,
        noun: str,
        units: Iterable[T],
        task: Callable[[T], UnitOutcome],
        name: Callable[[T], str],
        agreement: Agreement | None = None,
        *,
        reads: Sequence[str] | None = None,
        others: Sequence[Path] = (),
    ) -> None:
        """Run the units of a stage that are not finished; failed ones are tried again.

        Parameters
        ----------
        reads
            Stages whose files the units read; by default any may be.
        others
            Runs of which the units read the files of the same stages, and of their own.
        agreement
            Given where results depend on the arithmetic of the worker: all units are then of one,
            and those of another run again.

        Raises
        ------
        IncompleteError
            When workers of one machine differ, or the same worker from one time to the next.
        """
        every = list(units)
        self._forget_damaged(stage)
        if self._mirror is not None:
            needs = self._share(self._mirror, stage, reads, others)
            task = StoredTask(task, self._mirror.folder, needs)
            if agreement is not None:
                probe = StoredProbe(agreement.probe, self._mirror.folder, needs)
                agreement = replace(agreement, probe=probe)
        if agreement is None:
            return self._run_rest(stage, noun, every, task, name)
        for _ in range(MOST_ROUNDS):
            hosts = self._agree(stage, {name(unit) for unit in every}, agreement)
            self._run_rest(stage, noun, every, task, name, hosts)
            if len(found := self.ledger.count_arithmetics(stage)) < 2:
                return None
        raise self._disagree(stage, found)

    def _share(
        self, mirror: Mirror, stage: str, reads: Sequence[str] | None, others: Sequence[Path]
    ) -> str:
        """Put what the units of a stage read where every worker finds it."""
        stages = [name for name in reads or self.ledger.list_stages() if name != stage]
        outcomes = (one for name in stages for one in self.ledger.finished(name).values())
        beside = (need for run in others for need in list_needs(run, (*stages, stage)))
        return mirror.share(outcomes, self.ledger.copy(), beside)

    def stay(self) -> None:
        """Say that this driver is there, while others of its drivers do the work."""
        if self._mirror is not None:
            self._mirror.mirror(self.ledger.copy)

    def _agree(self, stage: str, units: set[str], agreement: Agreement) -> frozenset[str] | None:
        """Forget units of other arithmetic than the stage shall have.

        Return the machines that have it; None where all have.
        """
        finished = self.ledger.finished(stage)
        recorded = self.ledger.count_arithmetics(stage)
        if units <= finished.keys() and len(recorded) < 2:
            return None
        workers = self.executor.survey(agreement.probe)
        present = [one for host in workers.values() for one in host]
        chosen = choose_arithmetic(recorded, present, agreement.preferred)
        if chosen is None:
            return None
        others = {unit: one.arithmetic for unit, one in finished.items()
                  if one.arithmetic not in (None, chosen)}  # fmt: skip
        if others:
            for dependent in agreement.dependents:
                self.ledger.forget(dependent)
            for unit in others:
                self.ledger.forget_unit(stage, unit)
            before = tuple(one for one in recorded if one != chosen)
            self.listen(ArithmeticChanged(stage, tuple(others), before, chosen))
        hosts = find_hosts(workers, chosen)
        if not hosts:
            raise self._disagree(stage, present)
        if differ := workers.keys() - hosts:
            self.listen(WorkersDiffer(stage, tuple(sorted(differ)), chosen))
            return hosts
        return None

    def _disagree(self, stage: str, found: Iterable[Arithmetic]) -> IncompleteError:
        return IncompleteError(
            f"{stage} of {self.run.path}: workers of one machine compute differently "
            f"({'; '.join(sorted({str(one) for one in found}))}), or the model gives other scores "
            "each time; use workers that compute the same, then resume the run"
        )

    def _run_rest(
        self,
        stage: str,
        noun: str,
        every: Sequence[T],
        task: Callable[[T], UnitOutcome],
        name: Callable[[T], str],
        hosts: frozenset[str] | None = None,
    ) -> None:
        """Run the units that are not finished, on `hosts` if given."""
        finished = self.ledger.finished(stage)
        rest = [unit for unit in every if name(unit) not in finished]
        done, total = len(every) - len(rest), len(every)
        started = time.monotonic()
        self.listen(StageStarted(stage, total, done, noun))
        failed = 0
        for outcome in self.executor.run(task, rest, stage=stage, unit_id=name, hosts=hosts):
            write_failure(self.run, outcome)
            if self._mirror is not None:
                self._mirror.receive(outcome)
            self.ledger.record(outcome)
            self.stay()
            failed += outcome.status == Status.FAILED
            done += 1
            self.listen(UnitFinished(stage, done, total, outcome.counts))
        seconds = time.monotonic() - started
        if rest:
            self.add_time(stage, seconds)
        self.listen(StageFinished(stage, total, total, failed, seconds))

    def add_time(self, stage: str, seconds: float) -> None:
        """Add to the time of a stage, over all sessions."""
        self.record = self.record.add_time(stage, seconds)

    def end(self, state: State) -> None:
        """Record how the session ended."""
        self.record = self.record.end(state)
        write_record(self.run, self.record)
        if self._mirror is not None:
            self._mirror.push(self.ledger.copy())

    def _forget_damaged(self, stage: str) -> None:
        """Let units run again whose files are not what they wrote."""
        damaged = list_damaged(self.run, self.ledger, stage)
        finished = self.ledger.finished(stage)
        for unit in damaged:
            self._remove(finished[unit].files)
            self.ledger.forget_unit(stage, unit)
        if damaged:
            self.listen(DataDamaged(stage, tuple(damaged)))

    def _remove(self, files: Iterable[str]) -> None:
        """Remove files of the run: Zarr reads what is there, to put new rows into it."""
        for name in files:
            path = self.run.path / name
            # A ledger of somebody else may name any file.
            inside = path.is_relative_to(self.run.path) and ".." not in Path(name).parts
            if inside and path.is_file():
                path.unlink()


@contextmanager
def open_session(
    run: Run,
    wanted: RunRecord,
    collect_inputs: Callable[[RunRecord], Inputs],
    resources: Resources,
    listen: Listener,
    *,
    recomputed: tuple[str, ...] = (),
    imports: Sequence[str] = (),
) -> Iterator[Session]:
    """Take the ledger, bind the run to what is wanted, start the workers.

    ``run.json`` records how the session ends; an exception means interrupted or failed.

    Raises
    ------
    UsageError
        When another driver holds the run, or it was started with other inputs.
    """
    mirror = Mirror(run.path) if isinstance(run.path, Replica) else None
    with nullcontext() if mirror is None else mirror.hold(), Ledger(run.ledger) as ledger:
        lost = ledger.start_session() == 1 and has_record(run)
        remove_unfinished(run)
        damaged = {
            "ledger": ("all units",) if lost else ledger.damaged,
            "run": list_damaged_records(run),
        }
        record = bind(run, ledger, wanted, collect_inputs, recomputed)
        fitting = resources.fit_to(Path(wanted.layout.path))
        with executor_for(fitting, imports) as executor:
            session = Session(run, ledger, executor, listen, record, mirror)
            for what, units in damaged.items():
                if units:
                    listen(DataDamaged(what, tuple(units)))
            try:
                yield session
            except BaseException as error:
                interrupted = isinstance(error, KeyboardInterrupt)
                session.end(State.INTERRUPTED if interrupted else State.FAILED)
                raise
