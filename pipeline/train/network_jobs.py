"""Training the networks of a checkpoint, in parallel where there are several.

in       jobs: what each network is trained on, and how
out      networks with their training history
promise  neither the number of processes nor an interruption changes a weight: each job has its own
         process, seed and state file, and on a CPU the same seed gives the same weights
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.config import Resources
from pipeline.datasets.store import load_dataset
from pipeline.engine.executors import executor_for
from pipeline.engine.memory import keep_freed_memory
from pipeline.engine.storage.ledger import Status, UnitOutcome
from pipeline.train.resume_state import read_state, write_state
from pipeline.train.training_set import Patterns, assign_parts, merge_datasets
from stages.detector.catalogue import FitRequest, find_kind, fit
from stages.detector.networks.network import Network
from stages.detector.networks.shapes import Shape
from stages.detector.training.loop import EpochReport, LabelledClips, State, TrainingConfig
from stages.errors import IncompleteError
from stages.threads import limit_threads

Log = Callable[[str], None]
"""Takes a line of progress."""

STAGE = "train"
"""The stage of training among the units of executors."""

POLL_S = 0.5
"""How often the progress of other processes is read, in seconds."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What a training may use of a machine."""

    workers: int = 1
    """Networks that are trained in parallel, where there are several; no weight depends on it."""
    threads: int = 1
    """Threads of each network; the weights depend on it, as the order of sums does."""
    device: str = "cpu"


ONE_CORE = Machine()


@dataclass(frozen=True, slots=True)
class NetworkJob:
    """How one network is trained."""

    name: str
    """Names the network in progress messages and in its state file."""
    detector: str
    shape: Shape
    config: TrainingConfig
    folder: Path
    """Holds the state of all jobs until the checkpoint is written."""
    identity: str
    """Digest of everything that the weights depend on."""
    machine: Machine
    start: State | None = None
    """Weights to initialise from."""
    left_out: int | None = None
    """Part of the patterns that it is not trained on."""

    @property
    def state_file(self) -> Path:
        """Where the state of the network is kept."""
        return self.folder / (re.sub(r"\W+", "_", self.name) or "network")


@dataclass(frozen=True, slots=True)
class Source:
    """Where the patterns that several jobs share are read from."""

    datasets: tuple[Path, ...]
    protocol: str
    parts: int
    """Number of parts that the patterns are divided into."""

    def read(self) -> Patterns:
        """Return all patterns."""
        loaded = [load_dataset(path).subset("train", self.protocol) for path in self.datasets]
        return merge_datasets(loaded)


@dataclass(frozen=True, slots=True)
class FittedNetwork:
    """A network and its training history."""

    network: Network
    history: list[dict[str, Any]]
    """An `EpochReport` for each epoch."""


def run_job(
    job: NetworkJob, clips: LabelledClips, validation: LabelledClips | None, log: Log
) -> FittedNetwork:
    """Train a network; a stopped job is resumed, a finished one is read from its state file."""
    content = read_state(job.state_file, job.identity, log)
    if content["weights"] is not None:
        network = find_kind(job.detector).network(job.shape)
        network.load_state_dict(content["weights"])
        return FittedNetwork(network.eval().to(job.machine.device), content["history"])

    def on_epoch(report: EpochReport, state: State) -> None:
        log(_describe_epoch(job, report))
        content["state"] = state
        write_state(job.state_file, content)

    request = FitRequest(job.detector, job.shape, job.config, job.start, job.machine.device)
    with limit_threads(job.machine.threads):
        fitted = fit(request, clips, validation, on_epoch=on_epoch, state=content["state"])
    history = [asdict(report) for report in fitted.history]
    if history:  # a detector without epochs takes no time worth saving
        weights = fitted.detector.state_dict()
        write_state(
            job.state_file, content | {"weights": weights, "history": history, "state": None}
        )
    return FittedNetwork(fitted.detector, history)


def run_jobs(
    jobs: Sequence[NetworkJob], patterns: Patterns, source: Source, workers: int, log: Log
) -> list[FittedNetwork]:
    """Train each network on all parts of the patterns, or on all but one.

    Parameters
    ----------
    patterns
        Those of `source`, from which worker processes read them themselves.
    workers
        Processes; with 0 or 1 the networks are trained in this process, one after the other.

    Raises
    ------
    IncompleteError
        When a job failed each time it was tried.
    RunMismatchError
        When a state file was left by another training.
    """
    if workers > 1:
        states = [read_state(job.state_file, job.identity, log) for job in jobs]
        unfinished = [job for job, state in zip(jobs, states, strict=True) if not state["weights"]]
        if unfinished:
            _run_in_processes(unfinished, source, workers, log)
    return [run_job(job, _take_clips(job, patterns, source), None, log) for job in jobs]


def _take_clips(job: NetworkJob, patterns: Patterns, source: Source) -> LabelledClips:
    return patterns.select(assign_parts(patterns, source.parts) != job.left_out).to_clips()


def _run_in_processes(jobs: Sequence[NetworkJob], source: Source, workers: int, log: Log) -> None:
    """Train in worker processes, which leave the networks in the state files of their jobs."""
    from distributed.system import MEMORY_LIMIT

    progress = jobs[0].folder / "progress"
    progress.parent.mkdir(exist_ok=True)
    progress.unlink(missing_ok=True)
    task = partial(_run_in_worker, source, progress)
    count = min(workers, len(jobs))
    # They share the whole machine: by default each would get one core's share of the memory.
    share = f"{MEMORY_LIMIT // count // 10**6}MB"
    executor = executor_for(Resources(workers=count, worker_memory=share), imports=[__name__])
    with executor, _follow(progress, log):
        for outcome in executor.run(task, jobs, stage=STAGE, unit_id=lambda job: job.name):
            if outcome.status == Status.FAILED:
                raise IncompleteError(
                    f"training of {outcome.unit!r} failed: {outcome.error}; run the same command "
                    "to resume, with --workers 1 to train in one process"
                )


def _run_in_worker(source: Source, progress: Path, job: NetworkJob) -> UnitOutcome:
    keep_freed_memory()
    clips = _take_clips(job, source.read(), source)

    def log(text: str) -> None:
        with progress.open("a") as file:  # one line is appended atomically
            file.write(text + "\n")

    run_job(job, clips, None, log)
    return UnitOutcome(STAGE, job.name, Status.DONE)


@contextmanager
def _follow(progress: Path, log: Log) -> Iterator[None]:
    """Pass on the lines of a file while they are being written."""
    done = threading.Event()

    def follow() -> None:
        passed_on = 0
        while True:
            last = done.wait(POLL_S)
            lines = progress.read_text().splitlines() if progress.exists() else []
            for line in lines[passed_on:]:
                log(line)
            passed_on = len(lines)
            if last:
                return

    thread = threading.Thread(target=follow)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _describe_epoch(job: NetworkJob, report: EpochReport) -> str:
    name = f"{job.name}  " if job.name else ""
    text = f"{name}epoch {report.epoch}/{job.config.epochs}  loss {report.loss:.4f}"
    if report.pr_auc is None:
        return text
    return (
        f"{text}  validation: PR AUC {report.pr_auc:.4f}, {report.false_alarms} false alarms at "
        f"recall {report.recall:.4f}"
    )
