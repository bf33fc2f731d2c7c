"""Damage every kind of stored file at every stage, and count what is noticed and healed.

python -m benchmarks.faults.damage [SUBJECT ...] [--flips N] [--files N] [--seed S]

Each trial damages one file of what a finished or stopped command left: one bit flipped, the file
removed, cut off, or replaced by another of its kind. Then the command that resumes runs. A fault is
noticed if that says so, or refuses; it is healed if all files then have the bytes that they had, or
those of a command that was not disturbed. A fault that is neither, and changes some byte, is
silent: exit code 1. Faults without effect lie where nothing is read.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np

from benchmarks.faults.answers import list_differences, read_answer
from benchmarks.faults.small_runs import HERE, SmallRuns, make_small_runs
from pipeline.datasets.from_scan import SelectRequest, select_clips
from pipeline.datasets.from_simulation import LabelRequest, label_layout
from pipeline.datasets.store import load_dataset
from pipeline.engine.events import DataDamaged, Event, Listener
from pipeline.passes.shard import Shard
from pipeline.scan.scan import merge
from pipeline.simulate.region import SimulateRequest, simulate_region
from pipeline.train.model import TrainRequest, train_model
from stages.errors import HotscanError
from tests.support.small_scan import DENSE

CROSSING_UM = (94.0, 94.0, 106.0, 106.0)  # four tiles meet at 100,100
LABELLED_UM = (50.0, 50.0, 60.0, 60.0)
NETWORKS = {"epochs": 2, "steps": 2, "batch": 8}
UNREAD = (".lock", "hotscan.log", "progress")


@dataclass(frozen=True, slots=True)
class Subject:
    """What is damaged, and the command that is to heal it."""

    make: Callable[[SmallRuns, Path], object]
    """Fills a folder with what a command leaves."""
    again: Callable[[SmallRuns, Path, Listener], object]
    """Resumes, in the same folder or a copy of it in the same place."""
    damaged: str = ""
    """Folder or file in it that is damaged; everything by default."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one fault."""

    kind: str
    fault: str
    noticed: bool
    refused: str
    """The message, where the command refused to go on; else empty."""
    differ: tuple[str, ...]
    """Files whose bytes are others than without the fault."""

    @property
    def verdict(self) -> str:
        """One of `VERDICTS`."""
        if self.refused:
            return "refused"
        if self.differ:
            return "silent" if not self.noticed else "not healed"
        return "healed" if self.noticed else "without effect"


VERDICTS = ("healed", "refused", "without effect", "not healed", "silent")


def _simulate(runs: SmallRuns, folder: Path, listen: Listener) -> None:
    simulate_region(
        SimulateRequest(
            DENSE, folder / "out", "68/20", str(runs.process), opc="model", roi_um=CROSSING_UM
        ),
        HERE, listen,
    )  # fmt: skip


def _label(runs: SmallRuns, folder: Path, listen: Listener) -> None:
    request = LabelRequest(
        layout=DENSE, out=folder / "out", layers=("68/20",), process=str(runs.process),
        roi_um=LABELLED_UM,
    )  # fmt: skip
    label_layout(request, HERE, listen)


def _select(runs: SmallRuns, folder: Path, listen: Listener) -> None:
    scanned = runs.folder / "scanned"
    if not scanned.exists():
        runs.scan(scanned)
    select_clips(SelectRequest(run=scanned, out=folder / "out", count=6), HERE, listen)


def _train(runs: SmallRuns, folder: Path, listen: Listener) -> None:
    dataset = runs.folder / "labelled"
    if not dataset.exists():
        _label(runs, runs.folder, listen)
        (runs.folder / "out").rename(dataset)

    def log(text: str) -> None:
        if "damaged" in text:
            listen(DataDamaged("train", (text,)))
        elif text.startswith("all, network 2  epoch 2") and not (folder / "go on").exists():
            raise KeyboardInterrupt

    request = TrainRequest(datasets=(dataset,), out=folder / "m.pt", training=NETWORKS)
    train_model(request, log=log)


def _leave_training(runs: SmallRuns, folder: Path) -> None:
    with suppress(KeyboardInterrupt):
        _train(runs, folder, _ignore)
    (folder / "go on").touch()


def _leave_work(
    command: Callable[[SmallRuns, Path, Listener], None], module: str
) -> Callable[[SmallRuns, Path], None]:
    """Return what a command leaves that is stopped when it would write its dataset."""

    def leave(runs: SmallRuns, folder: Path) -> None:
        writer = f"pipeline.datasets.{module}.write_dataset"
        with mock.patch(writer, side_effect=KeyboardInterrupt), suppress(KeyboardInterrupt):
            command(runs, folder, _ignore)

    return leave


def _scan_with_own_copy(runs: SmallRuns, folder: Path) -> None:
    shutil.copy(runs.model, folder / "m.pt")
    runs.scan(folder / "out", model=folder / "m.pt", roi_um=LABELLED_UM)


def _scan_shards(runs: SmallRuns, folder: Path) -> None:
    for part in (1, 2):
        runs.scan(folder / f"{part}", roi_um=(50.0, 50.0, 70.0, 60.0), shard=Shard(part, 2))


def _merge(runs: SmallRuns, folder: Path, listen: Listener) -> None:
    result = merge([folder / "1", folder / "2"], folder / "out", HERE, listen)
    taken = result.metrics["tiles_taken_over"], result.metrics["patterns_taken_over"]
    expected = runs.folder / "taken"
    if not expected.exists():
        expected.write_text(str(taken))
    if expected.read_text() != str(taken):  # not taken over, but computed again
        listen(DataDamaged("part", ()))


def _ignore(event: Event) -> None:
    """Take no notice."""


SUBJECTS = {
    "scan": Subject(
        lambda runs, folder: runs.scan(folder / "out"),
        lambda runs, folder, listen: runs.resume(folder / "out", listen), "out",
    ),
    "simulate": Subject(lambda runs, folder: _simulate(runs, folder, _ignore), _simulate, "out"),
    "label": Subject(_leave_work(_label, "from_simulation"), _label, "out.work"),
    "select": Subject(_leave_work(_select, "from_scan"), _select, "out.work"),
    "dataset": Subject(
        lambda runs, folder: _label(runs, folder, _ignore),
        lambda runs, folder, listen: load_dataset(folder / "out"), "out",
    ),
    "training": Subject(_leave_training, _train, "m.pt.training"),
    "model": Subject(
        _scan_with_own_copy, lambda runs, folder, listen: runs.resume(folder / "out", listen),
        "m.pt",
    ),
    "shards": Subject(_scan_shards, _merge, "1"),
}  # fmt: skip


def name_kind(name: str) -> str:
    """Return the kind of a file by its name: ``clips``, ``patterns.zarr/key``, ``run.json``."""
    first, *rest = Path(name).parts
    if not rest:
        return first if "." in first else "state"  # of a network
    if rest[-1] == "zarr.json":
        return f"{first}/**/zarr.json" if first.endswith(".zarr") else "**/zarr.json"
    return f"{first}/{rest[0]}" if first in ("patterns.zarr", "report") else first


def flip(path: Path, others: Sequence[Path], rng: np.random.Generator) -> None:
    """Flip one bit."""
    content = bytearray(path.read_bytes())
    content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
    path.write_bytes(bytes(content))


def remove(path: Path, others: Sequence[Path], rng: np.random.Generator) -> None:
    """Remove the file."""
    path.unlink()


def cut(path: Path, others: Sequence[Path], rng: np.random.Generator) -> None:
    """Cut the file off: by a byte, or anywhere."""
    content = path.read_bytes()
    length = len(content) - 1 if rng.random() < 0.5 else int(rng.integers(len(content)))
    path.write_bytes(content[:length])


def replace_by_other(path: Path, others: Sequence[Path], rng: np.random.Generator) -> None:
    """Copy another file of its kind over it."""
    shutil.copyfile(others[int(rng.integers(len(others)))], path)


FAULTS = {"bit": flip, "removed": remove, "cut": cut, "swapped": replace_by_other}


def list_kinds(folder: Path, damaged: str) -> dict[str, list[Path]]:
    """Return the files of each kind, relative to the folder."""
    top = folder / damaged
    kinds: dict[str, list[Path]] = {}
    for path in sorted(top.rglob("*")) if top.is_dir() else [top]:
        if path.is_file() and path.stat().st_size and not path.name.endswith(UNREAD):
            name = path.relative_to(top if top.is_dir() else folder).as_posix()
            kinds.setdefault(name_kind(name), []).append(path.relative_to(folder))
    return kinds


class Bench:
    """A subject, intact, and its answer without a fault."""

    def __init__(self, runs: SmallRuns, name: str, folder: Path) -> None:
        self.runs, self.subject = runs, SUBJECTS[name]
        self._intact, self._trial = folder / "intact", folder / "trial"
        self._trial.mkdir()
        self.subject.make(runs, self._trial)
        shutil.copytree(self._trial, self._intact)
        self.subject.again(runs, self._trial, _ignore)
        self._answer = read_answer(self._trial)
        self.kinds = list_kinds(self._intact, self.subject.damaged)

    def try_fault(self, kind: str, file: Path, fault: str, rng: np.random.Generator) -> Outcome:
        """Damage a file of the intact folder, run the command, and compare."""
        shutil.rmtree(self._trial)
        shutil.copytree(self._intact, self._trial)
        before = (self._trial / file).read_bytes()
        others = [
            self._trial / other
            for other in self.kinds[kind]
            if (self._trial / other).read_bytes() != before
        ]
        FAULTS[fault](self._trial / file, others, rng)
        seen: list[Event] = []
        refused = ""
        try:
            self.subject.again(self.runs, self._trial, seen.append)
        except HotscanError as error:
            refused = str(error)
        noticed = bool(refused) or any(isinstance(event, DataDamaged) for event in seen)
        differ = () if refused else list_differences(self._answer, read_answer(self._trial))
        if self.subject is SUBJECTS["dataset"]:
            differ = ()  # it is only read: what is not noticed must be without effect
        return Outcome(kind, fault, noticed, refused, tuple(differ))

    def has_others(self, kind: str) -> bool:
        """Return whether files of a kind differ."""
        return len({(self._intact / file).read_bytes() for file in self.kinds[kind]}) > 1

    def try_all(self, files: int, flips: int, rng: np.random.Generator) -> Iterator[Outcome]:
        """Yield the outcomes of all faults in some files of each kind."""
        for kind, found in self.kinds.items():
            faults = ["bit"] * flips + ["removed", "cut"] + ["swapped"] * self.has_others(kind)
            for fault in faults:
                chosen = rng.permutation(len(found))[: 1 if fault == "bit" else files]
                for number in chosen.tolist():
                    yield self.try_fault(kind, found[number], fault, rng)


def draw_table(name: str, outcomes: Sequence[Outcome]) -> str:
    """Return the counts by kind of file and fault."""
    count = Counter((each.kind, each.fault, each.verdict) for each in outcomes)
    lines = [f"| {name} | fault | tried | noticed | {' | '.join(VERDICTS)} |"]
    lines.append(f"|---|---|{'--:|' * (2 + len(VERDICTS))}")
    for kind, fault in dict.fromkeys((each.kind, each.fault) for each in outcomes):
        of = [count[kind, fault, verdict] for verdict in VERDICTS]
        noticed = sum(each.noticed for each in outcomes if (each.kind, each.fault) == (kind, fault))
        cells = map(str, (sum(of), noticed, *of))
        lines.append(f"| {kind} | {fault} | {' | '.join(cells)} |")
    of = [sum(each.verdict == verdict for each in outcomes) for verdict in VERDICTS]
    cells = map(str, (len(outcomes), sum(each.noticed for each in outcomes), *of))
    return "\n".join([*lines, f"| all | | {' | '.join(cells)} |"])


def main() -> int:
    """Damage, resume, compare, and print a table for each subject."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("subjects", nargs="*", metavar="SUBJECT", help=", ".join(SUBJECTS))
    parser.add_argument("--flips", type=int, default=4, help="bits flipped in each kind of file")
    parser.add_argument("--files", type=int, default=1, help="files of each kind for other faults")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    bad = 0
    with tempfile.TemporaryDirectory() as name:
        runs = make_small_runs(Path(name))
        for subject in options.subjects or SUBJECTS:
            folder = Path(name, f"{subject}.bench")
            folder.mkdir()
            rng = np.random.default_rng(options.seed)
            outcomes = []
            for outcome in Bench(runs, subject, folder).try_all(options.files, options.flips, rng):
                outcomes.append(outcome)
                if outcome.verdict in ("not healed", "silent"):
                    print(outcome, flush=True)
            bad += sum(each.verdict in ("not healed", "silent") for each in outcomes)
            print(f"\n{draw_table(subject, outcomes)}", flush=True)
            for text in sorted({each.refused for each in outcomes if each.refused})[:4]:
                print(f"refused: {text.replace(name, '')}", flush=True)
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
