"""The ledger: one row per unit of work, the only record of what is finished.

in       the outcome of each unit, after its data is on disk
out      which units need not run again
promise  a row survives a kill of the driver at any moment
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import socket
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from pipeline.engine.storage.ledger_file import connect, explain_failure, set_damaged_aside
from stages.arithmetic import Arithmetic
from stages.errors import UsageError


class Status(StrEnum):
    """How a unit ended."""

    DONE = "DONE"
    EMPTY = "EMPTY"
    """There was nothing to do, which is a result and not an error."""
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class UnitOutcome:
    """The result of one unit of work."""

    stage: str
    unit: str
    status: Status
    counts: Mapping[str, float] = field(default_factory=dict)
    """What was counted, by name; summed over units in `Ledger.totals`."""
    checksum: str = ""
    """Digest of what the unit wrote, see `pipeline.engine.storage.checksums.seal`."""
    seconds: float = 0.0
    """Wall time of the unit; stamped by the executor."""
    error: str = ""
    """Why it failed, for the user."""
    trace: str = ""
    """The whole traceback of a failure; `pipeline.engine.storage.failures` keeps it in a file."""
    files: tuple[str, ...] = ()
    """What the unit wrote, relative to the run directory."""
    arithmetic: Arithmetic | None = None
    """What computed it, where floating-point results are part of what it wrote."""


@dataclass(frozen=True, slots=True)
class Totals:
    """Totals over the units of a stage."""

    done: int
    empty: int
    failed: int
    seconds: float
    """Wall time summed over units, whichever worker ran them."""
    counts: dict[str, float]
    """Sum of each count over all units that did not fail."""


class Ledger:
    """The ledger of one run directory, held by one driver at a time.

    Every record is a commit of its own in SQLite's write-ahead log with ``synchronous = NORMAL``:
    a committed row outlives a kill of the process, and a power cut loses the last rows at most,
    never the file. Losing rows is safe, since those units run again; a ledger ahead of its
    unsynced data would call lost data finished. A commit costs tens of microseconds, so rows are
    not batched.

    Parameters
    ----------
    path
        The file; made when absent. ``<path>.lock`` beside it holds the driver's process id.
    read_only
        Look without the lock, also while a scan runs.

    Attributes
    ----------
    damaged
        Units whose rows were damaged when it was opened: they count as never run.

    Raises
    ------
    UsageError
        When another driver holds the ledger, or the file is not a ledger, damaged or unwritable.
    IncompleteError
        Here and from every method: when the disk is full or fails, or another program holds the
        file.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        self._session = 0
        self._lock = None if read_only else _take_lock(path)
        try:
            aside = not read_only and set_damaged_aside(path)
            self._db = connect(path, read_only=read_only)
            self.damaged: tuple[str, ...] = ("all units",) if aside else ()
            if not (read_only or aside):
                self.damaged = self._list_damaged_rows()
        except BaseException:
            self._release()
            raise

    def start_session(self) -> int:
        """Open a new session, to which the records that follow belong, and return its number."""
        with self._change():
            row = self._db.execute(
                "INSERT INTO sessions (started, pid) VALUES (?, ?)",
                (datetime.now(UTC).isoformat(timespec="seconds"), os.getpid()),
            )
        self._session = int(row.lastrowid or 0)
        return self._session

    def record(self, outcome: UnitOutcome) -> None:
        """Write one unit's outcome, after its data; a later outcome replaces an earlier one."""
        row = (
            outcome.stage, outcome.unit, str(outcome.status),
            json.dumps(dict(outcome.counts), sort_keys=True), outcome.checksum,
            json.dumps(outcome.files), outcome.seconds, outcome.error,
            str(outcome.arithmetic or ""),
        )  # fmt: skip
        with self._change():
            self._db.execute(
                "INSERT OR REPLACE INTO units VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (*row, _digest(row)),
            )
            self._note(outcome.stage, outcome.unit, outcome.status)

    def finished(self, stage: str) -> dict[str, UnitOutcome]:
        """Return the units of `stage` that are DONE or EMPTY, by name."""
        return self._outcomes(stage, "status != 'FAILED'")

    def failed(self, stage: str) -> dict[str, UnitOutcome]:
        """Return the units of `stage` that FAILED, by name."""
        return self._outcomes(stage, "status = 'FAILED'")

    def list_stages(self) -> list[str]:
        """Return the names of all stages that have units."""
        with explain_failure(self.path):
            rows = self._db.execute("SELECT DISTINCT stage FROM units ORDER BY stage").fetchall()
        return [str(stage) for (stage,) in rows]

    def copy(self) -> bytes:
        """Return the content of a ledger file with the same rows."""
        with explain_failure(self.path), closing(sqlite3.connect(":memory:")) as other:
            self._db.backup(other)
            return other.serialize()

    def has(self, stage: str) -> bool:
        """Return whether any unit of `stage` is recorded, failed ones included."""
        return bool(self.finished(stage) or self.failed(stage))

    def totals(self, stage: str) -> Totals:
        """Return the outcomes of `stage` added up."""
        finished, failed = self.finished(stage), self.failed(stage)
        counts: Counter[str] = Counter()
        for outcome in finished.values():
            counts.update(outcome.counts)
        empty = sum(outcome.status == Status.EMPTY for outcome in finished.values())
        return Totals(
            done=len(finished) - empty,
            empty=empty,
            failed=len(failed),
            seconds=sum(outcome.seconds for outcome in (*finished.values(), *failed.values())),
            counts=dict(counts),
        )

    def count_arithmetics(self, stage: str) -> Counter[Arithmetic]:
        """Return what computed the finished units of `stage`, and how many each."""
        every = (outcome.arithmetic for outcome in self.finished(stage).values())
        return Counter(arithmetic for arithmetic in every if arithmetic is not None)

    def forget(self, stage: str) -> None:
        """Drop the units of `stage`, whose inputs changed, so that all of them run again."""
        with self._change():
            self._db.execute("DELETE FROM units WHERE stage = ?", (stage,))
            self._note(stage, "", "FORGOTTEN")

    def forget_unit(self, stage: str, unit: str) -> None:
        """Drop one unit, whose data is damaged, so that it runs again."""
        with self._change():
            self._db.execute("DELETE FROM units WHERE stage = ? AND unit = ?", (stage, unit))

    def times_run(self) -> dict[tuple[str, str], int]:
        """Return how often each ``(stage, unit)`` came to an end since its stage was forgotten.

        A unit that never failed and stands over 1 was finished and yet run again.
        """
        rows = self._db.execute(
            "SELECT stage, unit, count(*) FROM history LEFT JOIN ("
            "  SELECT stage AS forgotten, max(id) AS last FROM history"
            "  WHERE status = 'FORGOTTEN' GROUP BY stage"
            ") ON forgotten = stage "
            "WHERE status != 'FORGOTTEN' AND id > coalesce(last, 0) GROUP BY stage, unit"
        )
        return {(stage, unit): count for stage, unit, count in rows}

    def close(self) -> None:
        """Close the file and let the next driver in."""
        if self._lock is not None:
            # Leave one plain file, which can be read where nothing can be written; where somebody
            # is reading now, leave it as it is.
            with suppress(sqlite3.OperationalError):
                self._db.execute("PRAGMA busy_timeout = 0")
                self._db.execute("PRAGMA journal_mode = DELETE")
        self._db.close()
        self._release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _note(self, stage: str, unit: str, status: str) -> None:
        self._db.execute(
            "INSERT INTO history (session, stage, unit, status) VALUES (?, ?, ?, ?)",
            (self._session, stage, unit, status),
        )

    @contextmanager
    def _change(self) -> Iterator[None]:
        """Commit what is executed, or nothing of it."""
        with explain_failure(self.path), self._db:
            yield

    def _outcomes(self, stage: str, which: str) -> dict[str, UnitOutcome]:
        with explain_failure(self.path):
            rows = self._db.execute(
                f"SELECT * FROM units WHERE stage = ? AND {which} ORDER BY unit", (stage,)
            ).fetchall()
        outcomes = (_outcome_of(row) for *row, digest in rows if _digest(row) == digest)
        return {outcome.unit: outcome for outcome in outcomes if outcome is not None}

    def _list_damaged_rows(self) -> tuple[str, ...]:
        with explain_failure(self.path):
            rows = self._db.execute("SELECT * FROM units").fetchall()
        return tuple(f"{row[0]} {row[1]}" for *row, digest in rows if _digest(row) != digest)

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.close()


def _digest(row: Sequence[object]) -> str:
    # A row of somebody else may hold bytes, which have no digest that is a text of ours.
    return hashlib.blake2b(json.dumps(list(row), default=str).encode(), digest_size=16).hexdigest()


def _outcome_of(row: Sequence[Any]) -> UnitOutcome | None:
    """Return the outcome of a row; None of one that is damaged, whose unit counts as never run."""
    stage, unit, status, counts, checksum, files, seconds, error, arithmetic = row
    try:
        counted: dict[str, float] = json.loads(counts)
        if not all(isinstance(count, int | float) for count in counted.values()):
            return None
        outcome = UnitOutcome(
            str(stage), str(unit), Status(status), counted, str(checksum), float(seconds),
            str(error), files=tuple(map(str, json.loads(files))),
            arithmetic=Arithmetic.parse(arithmetic) if arithmetic else None,
        )  # fmt: skip
    except (ValueError, TypeError, AttributeError):
        return None
    return outcome


def running_driver(path: Path) -> str | None:
    """Return ``"process N on HOST"`` while a driver holds the ledger at `path`, else None."""
    try:
        with _lock_path(path).open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return lock.read().strip() or "another process"
    except FileNotFoundError:
        pass
    return None


def _lock_path(path: Path) -> Path:
    return path.with_name(path.name + ".lock")


def _take_lock(path: Path) -> IO[str]:
    # A file of its own: closing any handle of the database file would drop SQLite's own locks.
    # The kernel drops a flock when its process dies, however it dies, so none is ever stale.
    try:
        lock = _lock_path(path).open("a+")
    except OSError as error:
        raise UsageError(
            f"run directory {path.parent} cannot be written ({error.strerror}); "
            "choose another --out"
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        holder = lock.read().strip() or "another process"
        lock.close()
        raise UsageError(
            f"run directory {path.parent} is in use by {holder}; wait for it or stop it first"
        ) from None
    lock.truncate(0)
    lock.write(f"process {os.getpid()} on {socket.gethostname()}\n")
    lock.flush()
    return lock
