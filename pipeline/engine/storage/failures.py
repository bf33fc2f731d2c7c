"""The files that tell why units of work failed: ``RUN/failures/STAGE-UNIT.txt``.

in       outcomes of units
out      a file with the error and the whole traceback of each that failed
promise  a unit that succeeds later leaves no file behind
"""

from __future__ import annotations

from pathlib import Path

from pipeline.engine.storage.ledger import Status, UnitOutcome
from pipeline.engine.storage.run_directory import Run, write_whole
from stages.text import escape_text


def failure_file(run: Run, stage: str, unit: str) -> Path:
    """Return the path of a unit's file."""
    return run.path / "failures" / f"{stage}-{unit}.txt"


def write_failure(run: Run, outcome: UnitOutcome) -> None:
    """Write why a unit failed, or remove what an earlier failure left."""
    path = failure_file(run, outcome.stage, outcome.unit)
    if outcome.status == Status.FAILED:
        text = escape_text(f"{outcome.error}\n\n{outcome.trace}", keep="\n")
        write_whole(path, text.encode())
    else:
        path.unlink(missing_ok=True)
