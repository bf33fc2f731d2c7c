"""Simulating the clips of an audit, in rounds: a larger sample simulates only what it adds.

in       the clips that were drawn, the packed layout, the process
out      the verdict on each clip
promise  a clip is simulated once, as a flagged one is when it is confirmed; a stopped audit resumes

A round is a folder of ``RUN/audit/simulated`` that holds a list of clips and the defects of every
batch of it. Its name is made of all that its verdicts depend on in a run: the OPC, and a digest of
the clips.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pipeline.engine.storage.ledger import Ledger, UnitOutcome
from pipeline.engine.storage.run_directory import Run
from pipeline.engine.storage.tables import read_table
from pipeline.simulate import confirm, hot_clips
from stages.contracts import Int64s, Verdict
from stages.errors import IncompleteError
from stages.lithography.process import Process

TIMED_CLIPS = 8
"""Clips that are simulated to time one."""

_ROUNDS = "audit/simulated"
_ALL = 1 << 30

Place = tuple[int, int]
"""Centre of a clip, x and y in dbu."""


@dataclass(frozen=True, slots=True)
class AuditJob:
    """The input of every batch."""

    run: Path
    core_dbu: int
    process: Process
    opc: str
    batch_windows: int


@dataclass(frozen=True, slots=True)
class Batch:
    """One unit: a batch of a round."""

    round: str
    number: int

    @property
    def name(self) -> str:
        """Name of the unit."""
        return f"{self.round}-{confirm.name_batch(self.number)}"


def name_unit(unit: Batch) -> str:
    """Return the name of a unit."""
    return unit.name


def add_round(job: AuditJob, x_dbu: Int64s, y_dbu: Int64s) -> None:
    """Start a round for the clips that no round holds yet."""
    held = {place for name in list_rounds(job) for place in _read_places(job.run, name)}
    rest = sorted(set(zip(x_dbu.tolist(), y_dbu.tolist(), strict=True)) - held)
    if rest:
        _write_round(job.run, _name_round(job.opc, rest), rest)


def list_rounds(job: AuditJob) -> list[str]:
    """Return the names of the rounds of a run; one whose list is damaged is removed."""
    found = []
    for folder in sorted((job.run / _ROUNDS).glob(f"{job.opc}-*")):
        try:
            intact = _name_round(job.opc, _read_places(job.run, folder.name)) == folder.name
        except IncompleteError:
            intact = False
        if intact:
            found.append(folder.name)
        else:
            shutil.rmtree(folder)
    return found


def _name_round(opc: str, places: Sequence[Place]) -> str:
    digest = hashlib.blake2b(repr(sorted(places)).encode(), digest_size=8)
    return f"{opc}-{digest.hexdigest()}"


def _name_list(name: str) -> str:
    """Return the file of a round's clips, relative to the run directory."""
    return f"{_ROUNDS}/{name}/clips.parquet"


def _write_round(run: Path, name: str, places: Sequence[Place]) -> None:
    x, y = np.array(places, np.int64).T
    owner = np.arange(len(places))
    hot_clips.write_clips_to_simulate(Run(run), x, y, owner, _name_list(name))


def _read_places(run: Path, name: str) -> list[Place]:
    """Return the clips of a round, by their number in it."""
    table = read_table(run / _name_list(name), hot_clips.CLIPS)
    rows = sorted(zip(*(table[c].to_pylist() for c in ("hotspot", "x_dbu", "y_dbu")), strict=True))
    return [(x, y) for _, x, y in rows]


def _make_confirmation(job: AuditJob, name: str) -> confirm.Confirmation:
    return confirm.Confirmation(
        job.run, name, job.core_dbu, job.process, job.opc, job.batch_windows,
        clips=_name_list(name), folder=f"{_ROUNDS}/{name}",
    )  # fmt: skip


def list_batches(job: AuditJob) -> list[Batch]:
    """Return the units of all rounds."""
    return [
        Batch(name, number)
        for name in list_rounds(job)
        for number in _make_confirmation(job, name).batches
    ]


def simulate_batch(unit: Batch, *, job: AuditJob) -> UnitOutcome:
    """Simulate a batch of clips, as confirming does."""
    outcome = confirm.confirm_batch(unit.number, job=_make_confirmation(job, unit.round))
    return replace(outcome, stage="audit", unit=unit.name)


def read_verdicts(job: AuditJob, ledger: Ledger) -> dict[Place, Verdict]:
    """Return the verdict on each clip of the rounds, by its place."""
    finished = ledger.finished("audit")
    verdicts: dict[Place, Verdict] = {}
    for name in list_rounds(job):
        work = _make_confirmation(job, name)
        done = [batch for batch in work.batches if Batch(name, batch).name in finished]
        said = confirm.read_confirmed(work, [confirm.name_batch(batch) for batch in done]).verdicts
        places = _read_places(job.run, name)
        verdicts |= {places[number]: verdict for number, verdict in said.items()}
    return verdicts


def time_clip(job: AuditJob, x_dbu: Int64s, y_dbu: Int64s) -> float:
    """Return the seconds that simulating one clip takes, measured on the given ones."""
    places = sorted(zip(x_dbu.tolist(), y_dbu.tolist(), strict=True))
    name = f"{job.opc}-timed"
    _write_round(job.run, name, places)
    try:
        work = _make_confirmation(replace(job, batch_windows=_ALL), name)
        confirm.confirm_batch(0, job=work)  # kernels are built here, not in the time
        started = time.perf_counter()
        confirm.confirm_batch(0, job=work)
        return (time.perf_counter() - started) / len(places)
    finally:
        shutil.rmtree(job.run / _ROUNDS / name)
