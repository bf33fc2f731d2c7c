"""Runs in an object store, of which each machine keeps a copy of what it needs.

in       the address of a run; the files that the ledger says were written
out      `Replica`, a folder that travels as the address; `StoredTask`, which a worker runs
promise  a unit reads what the ledger says, by digest; what it wrote is in the store before it is
         recorded; the store alone resumes the run
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PosixPath
from typing import Any, Generic, TypeVar
from urllib.parse import quote, unquote

import psutil

from pipeline.engine.storage.checksums import digest_files, is_intact, list_files
from pipeline.engine.storage.ledger import Ledger, UnitOutcome
from pipeline.engine.storage.object_store import Store, is_address
from pipeline.engine.storage.run_directory import INNER, Run, write_whole
from stages.errors import IncompleteError, UsageError

T = TypeVar("T")

_OWN = ".driver/"
"""Objects of the driver, which are no part of the run."""
_LEASE = _OWN + "lease.json"
LEASE_S = 60.0
"""How long a driver that says nothing keeps others out, in seconds."""
MIRROR_S = 2.0
"""How often the ledger is copied to the store, in seconds."""
_TAGS = ".tags.json"
"""Ends the name of the file beside a replica, of what is the same in the store."""
_LEDGER = "ledger.sqlite"
_RECORDS = ("run.json", "run.copy.json", "hotscan.log")
"""What only the driver reads."""

Need = tuple[str, str, Sequence[str]]
"""What units read: the address of a run, the digest of some of its files, and their names."""
Tags = dict[str, tuple[str, int, int]]
"""Of a file that is the same in the store: its tag there, its size and time here, in ns."""


class Replica(PosixPath):
    """The folder, on one machine, of a run in an object store.

    Pickled it is the address, so that a worker finds its own folder.
    """

    def __reduce__(self) -> Any:
        """Return how to find the folder of the same run on another machine."""
        root, *inside = self.relative_to(_replicas()).parts
        return _place, (unquote(root), *inside)

    def resolve(self, strict: bool = False) -> Replica:
        """Return itself: by another way the address would not be known."""
        return self

    @property
    def address(self) -> str:
        """Where the run is stored."""
        root, *inside = self.relative_to(_replicas()).parts
        return "/".join((unquote(root), *inside))


def _replicas() -> Path:
    """Return the folder of all replicas: ``HOTSCAN_REPLICAS``, else in the user's cache."""
    from stages.kernel_folders import user_cache

    return Path(os.environ.get("HOTSCAN_REPLICAS") or user_cache() / "replicas").absolute()


def _place(address: str, *inside: str) -> Replica:
    return Replica(_replicas(), quote(address, safe=""), *inside)


def place_run(name: str | os.PathLike[str]) -> Path:
    """Return the folder of a run: as given, or this machine's of an address, as it is."""
    if isinstance(name, Path):  # a replica stays one
        return name
    if not isinstance(name, str) or not is_address(name):
        return Path(name)
    return _place(name.rstrip("/"))


def locate_run(name: str | os.PathLike[str]) -> Path:
    """Return the folder of a run, brought up to date, with the runs in it.

    Raises
    ------
    IncompleteError
        The store cannot be reached.
    """
    folder = place_run(name)
    if isinstance(folder, Replica):
        folder.mkdir(parents=True, exist_ok=True)
        for each in (folder, *Mirror(folder).list_inner()):
            Mirror(each).pull()
    return folder


def name_run(folder: Path) -> str:
    """Return how a user names a run: the address of a replica, else the folder."""
    return folder.address if isinstance(folder, Replica) else str(folder)


class Mirror:
    """The driver's side: keeps folder and store the same.

    Between two commands the store is right, and within one the folder.
    """

    def __init__(self, folder: Replica) -> None:
        self.folder, self.store = folder, open_store(folder.address)
        self._tags = folder.with_name(folder.name + _TAGS)
        self._lease_tag, self._mirrored = "", 0.0
        self._by_workers: set[str] = set()

    def pull(self) -> None:
        """Make the folder what the store is."""
        there, tags = self._list(), self._read_tags()
        kept = {name: tag for name, tag in tags.items() if self._is_same(name, tag, there)}
        changed = [name for name in there if name not in kept]
        if _LEDGER in changed:  # the rest of another state must not be replayed into it
            for suffix in ("-wal", "-shm"):
                (self.folder / f"{_LEDGER}{suffix}").unlink(missing_ok=True)
        self.store.fetch(self.folder, changed)
        for name in tags.keys() - there.keys():
            (self.folder / name).unlink(missing_ok=True)
        self._write_tags(kept | {name: self._stamp(name, there[name]) for name in changed})

    def push(self, ledger: bytes) -> None:
        """Make the store what the folder is."""
        there, tags = self._list(), self._read_tags()
        here = [name for name in list_files(self.folder, "") if not _is_private(name)]
        by_workers = [name for name in here if name in self._by_workers and name in there]
        same = {name for name in here if name in tags and self._is_same(name, tags[name], there)}
        rest = [name for name in here if name not in same.union(by_workers)]
        put = self.store.put(self.folder, rest)
        self.store.put_bytes(_LEDGER, ledger)
        self.store.delete(there.keys() - {*here, _LEDGER})
        now = {name: there[name] for name in by_workers} | put
        stamped = {name: self._stamp(name, tag) for name, tag in now.items()}
        self._write_tags({name: tags[name] for name in same} | stamped)
        self._by_workers.clear()

    def list_inner(self) -> list[Replica]:
        """Return the folders of the runs that the store has inside of this one."""
        names = [name.split("/") for name in self.store.list_tags()]
        return [self.folder / INNER / each for each in sorted({
            name[1] for name in names if name[0] == INNER and len(name) > 2
        })]  # fmt: skip

    def receive(self, outcome: UnitOutcome) -> None:
        """Bring what a worker wrote to the folder.

        Raises
        ------
        IncompleteError
            It is not what the worker wrote.
        """
        fetch_intact(self.store, self.folder, outcome.files, outcome.checksum)
        self._by_workers.update(outcome.files)

    def mirror(self, copy_ledger: Callable[[], bytes]) -> None:
        """Copy the ledger to the store, and say that this driver is there, when it is time."""
        now = time.monotonic()
        if now - self._mirrored > MIRROR_S:
            self.store.put_bytes(_LEDGER, copy_ledger())
            self._lease_tag = self._put_lease({"e_tag": self._lease_tag})
            self._mirrored = now

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Keep other drivers out, and begin with what the store has.

        Raises
        ------
        UsageError
            Another one works on the run.
        """
        mode: Any = "create"
        try:
            lease = self.store.read_json(_LEASE)
            if not _is_over(lease):
                raise UsageError(
                    f"{self.folder.address} is in use by process {lease['pid']} on "
                    f"{lease['host']}; wait for it, or, if it is dead, {LEASE_S:g} s"
                )
            mode = {"e_tag": self._list(_LEASE)[_LEASE]}
        except FileNotFoundError:
            pass
        self._lease_tag = self._put_lease(mode)
        try:
            self.pull()
            yield
        finally:  # what was for the workers of this driver goes, too
            self.store.delete(name for name in self.store.list_tags() if name.startswith(_OWN))

    def _put_lease(self, mode: Any) -> str:
        said = {"host": socket.gethostname(), "pid": os.getpid(), "time": time.time()}
        try:
            return self.store.put_bytes(_LEASE, json.dumps(said).encode(), mode)
        except FileExistsError:
            raise UsageError(f"{self.folder.address} was just taken by another driver") from None

    def share(
        self, outcomes: Iterable[UnitOutcome], ledger: bytes, others: Iterable[Need] = ()
    ) -> str:
        """Put what units will read into the store, and a list of it, whose name is returned.

        Parameters
        ----------
        outcomes
            Of the units whose files they read; what lies at the top of the folder they read, too.
        others
            What they read of other runs, see `list_needs`.
        """
        self.push(ledger)
        address = self.folder.address
        top = [path.name for path in sorted(self.folder.iterdir()) if path.is_file()]
        names = [name for name in top if not _is_private(name) and name not in _RECORDS]
        needs: list[Need] = [(address, digest_files(self.folder, names), names)]
        needs += [(address, one.checksum, one.files) for one in outcomes if one.files]
        needs += others
        content = json.dumps(needs).encode()
        name = f"{_OWN}needs-{hashlib.blake2b(content, digest_size=16).hexdigest()}.json"
        self.store.put_bytes(name, content)
        return name

    def _list(self, *private: str) -> dict[str, str]:
        tags = self.store.list_tags().items()
        not_ours = (_OWN, f"{INNER}/")
        return {name: tag for name, tag in tags if name in private or not name.startswith(not_ours)}

    def _stamp(self, name: str, tag: str) -> tuple[str, int, int]:
        found = (self.folder / name).stat()
        return tag, found.st_size, found.st_mtime_ns

    def _is_same(self, name: str, tag: tuple[str, int, int], there: Mapping[str, str]) -> bool:
        try:
            return there.get(name) == tag[0] and self._stamp(name, tag[0]) == tag
        except OSError:
            return False

    def _read_tags(self) -> Tags:
        try:
            found: dict[str, Any] = json.loads(self._tags.read_text())
            return {name: (str(tag), int(size), int(at)) for name, (tag, size, at) in found.items()}
        except (OSError, ValueError):
            return {}

    def _write_tags(self, tags: Tags) -> None:
        write_whole(self._tags, json.dumps(tags).encode())


def _is_private(name: str) -> bool:
    return name.startswith((".", _LEDGER, f"{INNER}/")) or "/." in name


def list_needs(run: Path, stages: Iterable[str]) -> Iterator[Need]:
    """Yield what the units of some stages wrote in another run, and the ledger that says it.

    What is damaged is left out: nobody reads it. Nothing, of a run that is a folder.
    """
    if isinstance(run, Replica):
        yield run.address, digest_files(run, [_LEDGER]), [_LEDGER]
        with Ledger(Run(run).ledger, read_only=True) as ledger:
            outcomes = [one for stage in stages for one in ledger.finished(stage).values()]
        for one in outcomes:
            if one.files and is_intact(run, one.files, one.checksum):
                yield run.address, one.checksum, one.files


def _is_over(lease: Mapping[str, Any]) -> bool:
    """Return whether the driver of a lease is gone: silent for long, or dead on this machine."""
    if time.time() - float(lease["time"]) > LEASE_S:
        return True
    return lease["host"] == socket.gethostname() and not psutil.pid_exists(lease["pid"])


@cache
def open_store(address: str) -> Store:
    """Return the store of a run; one for this process, so that its traffic is counted."""
    return Store(address)


@cache
def _read_needs(address: str, name: str) -> list[tuple[str, str, list[str]]]:
    needs: list[tuple[str, str, list[str]]] = open_store(address).read_json(name)
    return needs


_INTACT: set[tuple[Path, str]] = set()
"""What this process has found in its folders, by digest."""


def fetch_needs(run: Replica, needs: str) -> None:
    """Bring to this machine what `Mirror.share` listed, unless it is there."""
    for address, checksum, files in _read_needs(run.address, needs):
        folder = _place(address)
        if (folder, checksum) not in _INTACT:
            fetch_intact(open_store(address), folder, files, checksum)
            _INTACT.add((folder, checksum))


@dataclass(frozen=True, slots=True)
class StoredTask(Generic[T]):
    """A task whose unit may run on a machine that has nothing of the run yet."""

    task: Callable[[T], UnitOutcome]
    run: Replica
    needs: str

    def __call__(self, unit: T) -> UnitOutcome:
        """Fetch what the unit reads, run it, and store what it wrote."""
        fetch_needs(self.run, self.needs)
        outcome = self.task(unit)
        open_store(self.run.address).put(self.run, outcome.files)
        return outcome


@dataclass(frozen=True, slots=True)
class StoredProbe(Generic[T]):
    """A probe that may run on a machine that has nothing of the run yet."""

    probe: Callable[[], T]
    run: Replica
    needs: str

    def __call__(self) -> T:
        """Fetch what the probe reads, and run it."""
        fetch_needs(self.run, self.needs)
        return self.probe()


def fetch_intact(store: Store, folder: Path, files: Iterable[str], checksum: str) -> None:
    """Bring files to a folder, unless they are there.

    Raises
    ------
    IncompleteError
        The store has others.
    """
    names = list(files)
    if is_intact(folder, names, checksum):
        return
    try:
        store.fetch(folder, names)
    except FileNotFoundError as error:
        raise IncompleteError(f"{error} is missing; resume the run") from error
    if not is_intact(folder, names, checksum):
        raise IncompleteError(
            f"{store.address}: {names[0]} is damaged in the store; resume the run"
        )
