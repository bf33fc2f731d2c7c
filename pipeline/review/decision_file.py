"""The file of a run's decisions: added to line by line, by one process at a time.

in       a run directory
out      ``review.jsonl`` in it
promise  a decision is on disk before anybody is told that it is kept
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import IO

from pipeline.engine.storage.checksums import sync
from pipeline.engine.storage.run_directory import Run
from pipeline.layout.ingest import compute_sha256
from stages.errors import IncompleteError, UsageError
from stages.review.decisions import Decision, format_decision, parse_file, start_file

NAME = "review.jsonl"


class DecisionFile:
    """The decisions of a run, open for more.

    Parameters
    ----------
    run
        Its hotspots are those that the file is of.
    hotspots
        How many there are.

    Raises
    ------
    UsageError
        When another process reviews the run, the file cannot be written, or it is of other
        hotspots.
    IncompleteError
        When the file is damaged.
    """

    def __init__(self, run: Run, hotspots: int) -> None:
        self.path = run.path / NAME
        self._file = _open_alone(self.path)
        try:
            self.decisions, self._last = self._read(compute_sha256(run.hotspots), hotspots)
        except BaseException:
            self._file.close()
            raise

    def _read(self, digest: str, hotspots: int) -> tuple[list[Decision], str]:
        text = self._file.read().decode(errors="replace")
        try:
            known, decisions, last = parse_file(text)
        except IncompleteError as error:
            raise IncompleteError(f"{self.path}: {error}") from None
        beyond = [last for each in decisions for _, last in each.hotspots if last > hotspots]
        if last and (known != digest or beyond):
            raise UsageError(
                f"{self.path} is of other hotspots: the run was scanned again since; move the file "
                "away to begin a new review"
            )
        whole = text.rfind("\n") + 1
        if whole < len(text):  # a kill came before the line was acknowledged
            self._file.truncate(len(text[:whole].encode()))
        if not last:
            last = start_file(digest)
            self._write(last)
        return decisions, last

    def add(self, decision: Decision) -> None:
        """Add a decision, and bring it to disk.

        Raises
        ------
        OSError
            When it cannot be written; the file is as before.
        """
        line = format_decision(decision, self._last)
        self._write(line)
        self._last = line
        self.decisions.append(decision)

    def _write(self, line: str) -> None:
        before = self._file.seek(0, os.SEEK_END)
        try:
            self._file.write(f"{line}\n".encode())
            self._file.flush()
            os.fsync(self._file.fileno())
            sync(self.path.parent)
        except OSError:
            self._file.truncate(before)
            raise

    def close(self) -> None:
        """Let another process review the run."""
        self._file.close()


def _open_alone(path: Path) -> IO[bytes]:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        file = os.fdopen(descriptor, "r+b", buffering=0)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written ({error.strerror}); review a run that you may write into"
        ) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise UsageError(
            f"{path} is in use: another hotscan review shows this run; end that one first"
        ) from None
    return file
