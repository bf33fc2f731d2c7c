"""The file of the ledger: how it is opened, and what is no ledger.

in       a path
out      a connection to a SQLite file that has our tables and nothing else
promise  what another program wrote is left alone; what is damaged is set aside, never lost; what is
         only held by another program, or on a full disk, is not taken for damaged
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from stages.errors import IncompleteError, UsageError

APPLICATION_ID = 0x6873636E  # "hscn": marks a SQLite file as a ledger
VERSION = 3
_MACHINE = ("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_CANTOPEN", "SQLITE_BUSY", "SQLITE_LOCKED",
            "SQLITE_PERM")  # fmt: skip
BUSY_S = 30.0
"""How long another program may hold the file, in seconds."""

SCHEMA = f"""
BEGIN;
CREATE TABLE units (
  stage TEXT, unit TEXT, status TEXT NOT NULL, counts TEXT NOT NULL, checksum TEXT NOT NULL,
  files TEXT NOT NULL, seconds REAL NOT NULL, error TEXT NOT NULL, arithmetic TEXT NOT NULL,
  digest TEXT NOT NULL,
  PRIMARY KEY (stage, unit)
) WITHOUT ROWID;
CREATE TABLE sessions (session INTEGER PRIMARY KEY, started TEXT NOT NULL, pid INTEGER NOT NULL);
CREATE TABLE history (
  id INTEGER PRIMARY KEY, session INTEGER NOT NULL, stage TEXT NOT NULL, unit TEXT NOT NULL,
  status TEXT NOT NULL
);
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {VERSION};
COMMIT;
"""


@contextmanager
def explain_failure(path: Path) -> Iterator[None]:
    """Say what SQLite could not do: of a disk, or of a file that another program holds."""
    try:
        yield
    except sqlite3.Error as error:
        raise IncompleteError(
            f"ledger {path} cannot be used ({error}); free or repair its disk, or wait for what "
            "holds it, then run the same command again"
        ) from error


def connect(path: Path, *, read_only: bool) -> sqlite3.Connection:
    """Open a ledger, created when absent unless it is only read.

    Raises
    ------
    UsageError
        When it is not a ledger, or damaged.
    IncompleteError
        When its disk is full or fails, or another program holds it.
    """
    try:
        db = _open(path, "ro" if read_only else "rwc")
    except sqlite3.Error as error:
        raise UsageError(f"ledger {path} cannot be opened ({error})") from error
    try:
        db.execute("PRAGMA trusted_schema = OFF")  # nothing in a file of somebody else is run
        _check(db, path)
        if not read_only:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
            if not _is_ledger(db):
                db.executescript(SCHEMA)
        return db
    except sqlite3.Error as error:
        db.close()
        if _is_of_machine(error):
            with explain_failure(path):
                raise
        raise UsageError(
            f"ledger {path} is damaged or no ledger ({error}); run the command that began the run "
            "again, or hotscan resume: what cannot be read is computed again"
        ) from error
    except BaseException:
        db.close()
        raise


def set_damaged_aside(path: Path) -> bool:
    """Rename a ledger that cannot be used: all units run again; return whether it was one."""
    if not path.exists():
        return False
    try:
        with closing(_open(path, "rw")) as db:
            _check(db, path)
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("BEGIN IMMEDIATE")  # a header may say that the file is not to be written
    except sqlite3.DatabaseError as error:
        if _is_of_machine(error):
            with explain_failure(path):
                raise
        for suffix in ("", "-wal", "-shm"):
            part = path.with_name(path.name + suffix)
            if part.exists():
                part.rename(path.with_name(f"{path.name}.damaged{suffix}"))
        return True
    return False


def _open(path: Path, mode: str) -> sqlite3.Connection:
    db = sqlite3.connect(f"{path.resolve().as_uri()}?mode={mode}", uri=True, timeout=BUSY_S)
    # A damaged name need not be text, and the digest of its row tells.
    db.text_factory = lambda data: data.decode(errors="replace")
    return db


def _is_of_machine(error: sqlite3.Error) -> bool:
    """Say whether an error is of the disk, or of who else holds the file, and not of the file."""
    return getattr(error, "sqlite_errorname", "").startswith(_MACHINE)


def _is_ledger(db: sqlite3.Connection) -> bool:
    return bool(db.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID)


def _check(db: sqlite3.Connection, path: Path) -> None:
    """Refuse a file that is damaged, another program's, or another version's."""
    try:
        # The quick check would not see keys out of order, beside which rows are not found.
        verdict = db.execute("PRAGMA integrity_check(1)").fetchone()[0]
    except UnicodeDecodeError:  # of SQLite's own message, which quotes the file
        verdict = "its schema is no text"
    if verdict != "ok":
        raise sqlite3.DatabaseError(verdict)
    schema, own = _read_schema(db), _own_schema()
    version = db.execute("PRAGMA user_version").fetchone()[0]
    marked = _is_ledger(db) and version == VERSION
    kinds = [[kind for kind, *_ in tables] for tables in (schema, own)]
    if not schema or (marked and schema == own):
        return
    if schema == own or (marked and kinds[0] == kinds[1]):
        raise sqlite3.DatabaseError("its tables and its marks do not go together")
    if not _is_ledger(db):
        raise UsageError(f"{path} is not a ledger of hotscan; scan into a new run directory")
    if version != VERSION:
        raise UsageError(
            f"ledger {path} has version {version}, this hotscan reads {VERSION}; "
            "resume it with the hotscan that made it, or scan into a new run directory"
        )
    raise UsageError(f"{path} is not a ledger of hotscan; scan into a new run directory")


def _read_schema(db: sqlite3.Connection) -> list[Any]:
    """Return all tables, views and triggers; only ours are, so that no query does what it likes."""
    return db.execute("SELECT type, name, sql FROM sqlite_master ORDER BY name").fetchall()


@cache
def _own_schema() -> list[Any]:
    with closing(sqlite3.connect(":memory:")) as empty:
        empty.executescript(SCHEMA)
        return _read_schema(empty)
