"""The bytes that make up the answer of a run, for comparing runs that were disturbed.

in       a folder that a command wrote
out      the content of each file that must not depend on what happened on the way; of a
         checkpoint, the digest of its content
promise  only times, memory and the record of the sessions are left out
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from stages.detector.models import checkpoint

RECORDS = ("run.json", "run.copy.json", "hotscan.log")
"""Files of a run that tell of its sessions."""
_UNFINISHED = (".part", ".tmp", ".partial")
_SPENT = re.compile(rb"seconds|peak_rss|elapsed| UTC</div>|class=\"share\"")


def read_answer(folder: Path) -> dict[str, bytes]:
    """Return the files of an answer by name, relative to the folder."""
    answer = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        session = path.name in RECORDS or path.name.startswith("ledger.sqlite")
        session |= path.parent.name == "failures"
        if path.is_file() and not session:
            answer[name] = _leave_out_times(path)
    return answer


def list_differences(one: dict[str, bytes], other: dict[str, bytes]) -> list[str]:
    """Return the names of files that differ, or that only one has."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def list_unfinished(folder: Path) -> list[str]:
    """Return the names of what was left half written."""
    return [path.name for path in folder.rglob("*") if path.name.endswith(_UNFINISHED)]


def _leave_out_times(path: Path) -> bytes:
    content = path.read_bytes()
    if path.suffix == ".pt":  # pickled alike, but strings that are one object or two
        return checkpoint.load(path).digest.encode()
    if path.name == "metrics.json":
        values = json.loads(content)
        kept = {name: value for name, value in values.items() if not _SPENT.search(name.encode())}
        return json.dumps(kept).encode()
    if path.name == "index.html":
        lines = (line.strip() for line in content.splitlines())
        return b"\n".join(line for line in lines if line and not _SPENT.search(line))
    return content
