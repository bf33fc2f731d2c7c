"""Learning the networks of a checkpoint, side by side where there are several.

in       lessons: what each network learns from, and how
out      networks, with how their training went
promise  neither how many learn at once nor an interruption changes a weight: each has a process, a
         seed and a file of its own, and on a CPU the same seed gives the same weights
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from pipeline.config import Resources
from pipeline.datasets.store import load_dataset
from pipeline.engine.executors import executor_for
from pipeline.engine.ledger import Status, UnitOutcome
from pipeline.engine.memory import keep_freed_memory
from pipeline.train.resume_state import read_state, write_state
from pipeline.train.training_set import Patterns, parts_of, patterns_of
from stages.contracts import RasterSpec
from stages.detector import checkpoint
from stages.detector.catalogue import kind_of, learn
from stages.detector.network import Network, Shape
from stages.detector.training import EpochReport, LabelledClips, State, TrainingConfig
from stages.errors import IncompleteError, ModelMismatchError

Say = Callable[[str], None]

STAGE = "train"
"""What learning is called among the units of executors."""

LISTEN_S = 0.5
"""How often what the others say is passed on, in seconds."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What a training may use of a machine."""

    workers: int = 1
    """Networks that learn side by side, where hotspots are few; no weight depends on it."""
    threads: int = 1
    """Of each network; the weights depend on it, as the order of sums does."""
    device: str = "cpu"


ALONE = Machine()


@dataclass(frozen=True, slots=True)
class Lesson:
    """How one network learns."""

    what: str
    """Said before each epoch."""
    detector: str
    shape: Shape
    config: TrainingConfig
    kept: Path
    """Holds its state until the checkpoint is written."""
    digest: str
    """Of everything that the weights depend on."""
    machine: Machine
    start: State | None = None
    """Weights to begin with."""
    left_out: int | None = None
    """Part of a shared source that it does not learn from."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where patterns come from that several lessons share."""

    datasets: tuple[Path, ...]
    protocol: str
    parts: int
    """Into how many parts they are divided."""

    def patterns(self) -> Patterns:
        """Return them all."""
        loaded = [load_dataset(path).part("train", self.protocol) for path in self.datasets]
        return patterns_of(loaded)


@dataclass(frozen=True, slots=True)
class Learnt:
    """A network, and how its training went."""

    network: Network
    history: list[dict[str, Any]]
    """An `EpochReport` for each epoch."""


def learnt(
    lesson: Lesson, clips: LabelledClips, validation: LabelledClips | None, say: Say
) -> Learnt:
    """Learn; a lesson that was stopped goes on, one that is over is read from its file."""
    torch.set_num_threads(lesson.machine.threads)
    kept = read_state(lesson.kept, lesson.digest)
    if kept["weights"] is not None:
        network = kind_of(lesson.detector).network(lesson.shape)
        network.load_state_dict(kept["weights"])
        return Learnt(network.eval().to(lesson.machine.device), kept["history"])

    def on_epoch(report: EpochReport, state: State) -> None:
        say(_words(lesson.what, report, lesson.config))
        kept["state"] = state
        write_state(lesson.kept, kept)

    trained = learn(
        lesson.detector, lesson.shape, clips, validation, lesson.config, on_epoch, kept["state"],
        lesson.start, lesson.machine.device,
    )  # fmt: skip
    history = [asdict(report) for report in trained.history]
    if history:  # what learns in no time is not kept
        weights = trained.detector.state_dict()
        write_state(lesson.kept, kept | {"weights": weights, "history": history, "state": None})
    return Learnt(trained.detector, history)


def learnt_side_by_side(
    lessons: Sequence[Lesson], patterns: Patterns, source: Source, workers: int, say: Say
) -> list[Learnt]:
    """Learn from all parts of the patterns but one, or from all.

    Parameters
    ----------
    patterns
        Of `source`, from which other processes take them themselves.
    workers
        Processes; with 0 or 1 they learn here, one after the other.

    Raises
    ------
    IncompleteError
        When a network was not learnt, each time it was tried.
    RunMismatchError
        When a lesson's file was left by another training.
    """
    if workers > 1:
        kept = [read_state(lesson.kept, lesson.digest) for lesson in lessons]
        open_ones = [one for one, file in zip(lessons, kept, strict=True) if not file["weights"]]
        if open_ones:
            _learn_apart(open_ones, source, workers, say)
    return [learnt(one, _clips_for(one, patterns, source), None, say) for one in lessons]


def _clips_for(lesson: Lesson, patterns: Patterns, source: Source) -> LabelledClips:
    return patterns.some(parts_of(patterns, source.parts) != lesson.left_out).labelled()


def _learn_apart(lessons: Sequence[Lesson], source: Source, workers: int, say: Say) -> None:
    """Learn in processes that leave what they have learnt in the files of the lessons."""
    from distributed.system import MEMORY_LIMIT

    said = lessons[0].kept.with_name("said")
    said.parent.mkdir(exist_ok=True)
    said.unlink(missing_ok=True)
    task = partial(_learn_one, source, said)
    count = min(workers, len(lessons))
    # Theirs is the whole machine, not a core's share of it: there may be many more cores.
    share = f"{MEMORY_LIMIT // count // 10**6}MB"
    executor = executor_for(Resources(workers=count, worker_memory=share), imports=[__name__])
    with executor, _listening(said, say):
        for outcome in executor.run(task, lessons, stage=STAGE, unit_id=lambda one: one.what):
            if outcome.status == Status.FAILED:
                raise IncompleteError(
                    f"{outcome.unit.strip()} was not learnt: {outcome.error}; the same command "
                    "goes on, with --workers 1 in this process"
                )


def _learn_one(source: Source, said: Path, lesson: Lesson) -> UnitOutcome:
    keep_freed_memory()
    clips = _clips_for(lesson, source.patterns(), source)

    def say(text: str) -> None:
        with said.open("a") as file:  # a line is appended whole, whoever else does
            file.write(text + "\n")

    learnt(lesson, clips, None, say)
    return UnitOutcome(STAGE, lesson.what, Status.DONE)


@contextmanager
def _listening(said: Path, say: Say) -> Iterator[None]:
    """Pass on what is written into a file while it is, line by line."""
    over = threading.Event()

    def listen() -> None:
        heard = 0
        while True:
            last = over.wait(LISTEN_S)
            lines = said.read_text().splitlines() if said.exists() else []
            for line in lines[heard:]:
                say(line)
            heard = len(lines)
            if last:
                return

    listener = threading.Thread(target=listen)
    listener.start()
    try:
        yield
    finally:
        over.set()
        listener.join()


def begun_with(name: str, detector: str, shape: Shape, spec: RasterSpec) -> checkpoint.Checkpoint:
    """Return a model to begin with, of one network.

    Raises
    ------
    ModelMismatchError
        When it is another detector, or of another picture.
    """
    model = checkpoint.load(checkpoint.find(name))
    for what, theirs, ours in (
        ("detector", (model.name, model.config), (detector, shape)),
        ("raster", model.raster, spec),
    ):
        if theirs != ours:
            raise ModelMismatchError(
                f"model {name} has {what} {theirs} but this training {ours}; start with another, "
                "or with none"
            )
    weights = model.weights
    if model.rules:
        first = "members.0."
        weights = {
            key.removeprefix(first): value
            for key, value in weights.items()
            if key.startswith(first)
        }
    return replace(model, weights=weights, rules=None)


def forget(folder: Path) -> None:
    """Remove what lessons kept, once the checkpoint is written."""
    shutil.rmtree(folder, ignore_errors=True)


def _words(what: str, report: EpochReport, config: TrainingConfig) -> str:
    words = f"{what}epoch {report.epoch}/{config.epochs}  loss {report.loss:.4f}"
    if report.pr_auc is None:
        return words
    return (
        f"{words}  validation: PR AUC {report.pr_auc:.4f}, {report.false_alarms} false alarms at "
        f"recall {report.recall:.4f}"
    )
