"""``run.json``: what a run works on, its state, and whether it may be resumed.

in       the settings of a command, and the record of an earlier session, if any
out      `RunRecord`, frozen; every change is a new record, written whole
promise  finished work is never mixed with work done under other inputs: stages that may be
         recomputed are, all others refuse, naming each value before and now
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from pipeline.engine.memory import peak_rss_mb
from pipeline.engine.storage.checksums import sync
from pipeline.engine.storage.ledger import Ledger
from pipeline.engine.storage.run_directory import Run, require_own_files, write_whole
from stages.errors import RunMismatchError, UsageError

FORMAT = 2
"""Version of ``run.json``."""

Inputs = Mapping[str, Mapping[str, Any]]
"""Per stage, in order: the named values that change its answer and that no earlier stage has."""


class State(StrEnum):
    """How far a run is."""

    RUNNING = "running"
    COMPLETE = "complete"
    INCOMPLETE = "incomplete"
    PART_DONE = "part done"
    """One shard of a scan is finished; `hotscan merge` puts the shards together."""
    INTERRUPTED = "interrupted"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class LayoutFile:
    """The layout that a run is of."""

    path: str
    """Absolute."""
    sha256: str

    def __post_init__(self) -> None:
        if not isinstance(self.path, str) or not isinstance(self.sha256, str):
            raise TypeError(f"layout is {self.path!r}, {self.sha256!r}, not two texts")

    @property
    def name(self) -> str:
        """File name, without the folders of this machine."""
        return Path(self.path).name


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """What ``run.json`` holds."""

    task: str
    """The command: ``scan``, ``simulate``, ``label``, ``select``."""
    layout: LayoutFile
    settings: Mapping[str, Any]
    """All other settings of the task, as JSON values."""
    state: State = State.RUNNING
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Wall time spent on each stage, over all sessions."""
    peak_rss_mb: float = 0.0
    """Most memory that any session's driver held, in MiB."""
    finished: str = ""
    """When the last session ended, UTC."""
    hotscan: str = importlib.metadata.version("hotscan")
    python: str = platform.python_version()

    def __post_init__(self) -> None:
        times = (self.peak_rss_mb, *self.seconds.values())
        if not all(isinstance(value, int | float) for value in times):
            raise TypeError(f"times and memory are {times}, not numbers")
        plain = json.loads(json.dumps(dict(self.settings)))  # tuples become lists, as in the file
        object.__setattr__(self, "settings", plain)

    def add_time(self, stage: str, seconds: float) -> RunRecord:
        """Return the record with the cost of a stage added."""
        spent = dict(self.seconds)
        spent[stage] = round(spent.get(stage, 0.0) + seconds, 3)
        return replace(self, seconds=spent, peak_rss_mb=max(self.peak_rss_mb, peak_rss_mb()))

    def end(self, state: State) -> RunRecord:
        """Return the record of a session that has ended."""
        return replace(self, state=state, finished=datetime.now(UTC).isoformat(timespec="seconds"))


class DamagedRecordError(UsageError):
    """``run.json`` cannot be read, or is not what was written."""


def has_record(run: Run) -> bool:
    """Return whether the directory holds a run."""
    return run.record.exists() or run.record_copy.exists()


def read_record(run: Run) -> RunRecord:
    """Return the record of a run, from its copy where ``run.json`` is lost or damaged.

    Raises
    ------
    UsageError
        When the directory holds no run, or neither file can be read.
    IncompleteError
        When something in it is a link or a device.
    """
    require_own_files(run.path)
    refused: list[UsageError] = []
    for file in (run.record, run.record_copy):
        try:
            return _read_file(file)
        except UsageError as error:
            refused.append(error)
    raise max(refused, key=lambda error: isinstance(error, DamagedRecordError))


def list_damaged_records(run: Run) -> list[str]:
    """Return which of ``run.json`` and its copy is lost or damaged, where the other is there."""
    damaged = []
    for file in (run.record, run.record_copy) if has_record(run) else ():
        try:
            _read_file(file)
        except UsageError:
            damaged.append(file.name)
    return damaged


def _read_file(file: Path) -> RunRecord:
    try:
        text = file.read_text()
        values: dict[str, Any] = json.loads(text)
        version = values.get("format")
        if version == FORMAT:
            del values["digest"]
            if text != _format(values):
                raise ValueError("its digest is not that of its content")
            del values["format"]
            layout, state = LayoutFile(**values.pop("layout")), State(values.pop("state"))
            return RunRecord(layout=layout, state=state, **values)
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(
            f"{file.parent} holds no run (no run.json); give the --out of a scan"
        ) from None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DamagedRecordError(
            f"{file} cannot be read: {error}; run the command that began the run again, which then "
            "computes everything again"
        ) from error
    raise UsageError(
        f"{file} is of format {version}, this hotscan reads {FORMAT}; resume it with the "
        "hotscan that started it, or use a new --out"
    )


def read_readable_record(run: Run) -> RunRecord | None:
    """Return the record of a run; None when there is none, or it is damaged."""
    if not has_record(run):
        return None
    try:
        return read_record(run)
    except DamagedRecordError:
        return None


def write_record(run: Run, record: RunRecord) -> None:
    """Write the record of a run, and its copy."""
    text = _format(json.loads(json.dumps({"format": FORMAT, **asdict(record)})))
    for file in (run.record, run.record_copy):
        write_whole(file, text.encode())
    sync(run.path)


def _format(values: Mapping[str, Any]) -> str:
    """Return the text of a file with these values, which ends with their digest."""
    plain = json.dumps(values, sort_keys=True).encode()
    digest = hashlib.blake2b(plain, digest_size=16).hexdigest()
    return json.dumps({**values, "digest": digest}, indent=1) + "\n"


def bind(
    run: Run,
    ledger: Ledger,
    wanted: RunRecord,
    collect_inputs: Callable[[RunRecord], Inputs],
    recomputed: tuple[str, ...] = (),
) -> RunRecord:
    """Start ``run.json``, or check that the run there may be resumed; return its record.

    A stage is bound to its inputs once the ledger has a unit of it: what failed before it wrote
    anything does not bind, so that a corrected command can replace it.

    Parameters
    ----------
    recomputed
        Stages that forget their units when their inputs changed, instead of refusing.

    Raises
    ------
    RunMismatchError
        When a finished stage had other inputs; the text names each, before and now.
    """
    before = read_readable_record(run)
    if before is None:  # whatever is finished here may be of other inputs
        for stage in collect_inputs(wanted):
            ledger.forget(stage)
        write_record(run, wanted)
        return wanted
    if before.task != wanted.task:
        raise RunMismatchError(
            f"{run.path} was started by hotscan {before.task}, not {wanted.task}; choose another "
            "--out"
        )
    then, now = collect_inputs(before), collect_inputs(wanted)
    changed: list[str] = []
    for stage in now:
        changed += differences(then.get(stage, {}), now[stage])
        if not changed or not ledger.has(stage):
            continue
        if stage not in recomputed:
            raise RunMismatchError(
                f"{run.path} was started with other inputs: {'; '.join(changed)}; choose another "
                "--out, or remove it to start over"
            )
        ledger.forget(stage)
    record = replace(wanted, seconds=before.seconds, peak_rss_mb=before.peak_rss_mb)
    write_record(run, record)
    return record


def all_inputs(record: RunRecord) -> Inputs:
    """Return all settings as inputs of the first stage: for tasks that recompute nothing."""
    return {"layout": {"layout": record.layout.sha256, **record.settings}}


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Yield what differs between two sets of named values, in words.

    Examples
    --------
    >>> list(differences({"cell": "A", "opc": "none"}, {"cell": "B", "opc": "none"}))
    ["cell was 'A', is 'B'"]
    """
    for name in dict.fromkeys((*before, *now)):
        if before.get(name) != now.get(name):
            yield f"{name} was {before.get(name)!r}, is {now.get(name)!r}"
