"""Executors: how the units of a stage are run. The for-loop is the reference for all others.

in       a task and its units
out      one outcome per unit, as they complete
promise  an error, or the death of a worker, fails its unit and no other; only an interrupt or the
         loss of the cluster ends the loop
"""

from __future__ import annotations

import math
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from concurrent.futures import Future as ThreadFuture
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from itertools import islice
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self, TypeVar
from uuid import uuid4

from pipeline.config import Resources
from pipeline.engine.dask_cluster import LOCAL_SETTINGS, connect, local_cluster, quiet_logs
from pipeline.engine.storage.ledger import Status, UnitOutcome
from stages.errors import HotscanError, IncompleteError
from stages.text import escape_text

if TYPE_CHECKING:
    from distributed import Client, Future, LocalCluster

T = TypeVar("T")

UNITS_PER_WORKER = 3
"""Units in flight per worker: one that runs, and enough behind it to hide the round trip."""

POLL_S = 1.0
"""How often a wait for results looks whether there still are workers, in seconds."""

GATHER_S = 30.0
"""How long the few counts of a finished unit may take to arrive, in seconds."""


class Executor(Protocol):
    """Runs the units of a stage, inside a ``with`` block."""

    def run(
        self,
        task: Callable[[T], UnitOutcome],
        units: Iterable[T],
        *,
        stage: str,
        unit_id: Callable[[T], str] = str,
        hosts: frozenset[str] | None = None,
    ) -> Iterator[UnitOutcome]:
        """Yield the outcome of each unit as it completes, in any order.

        Parameters
        ----------
        task
            A module-level function, or a `functools.partial` of one: it travels to the workers.
        units
            Drawn from only as fast as there is room for them.
        stage, unit_id
            Name the FAILED outcome of a unit whose task could not return its own.
        hosts
            The machines to run on, as `survey` names them; all by default.
        """
        ...

    def survey(self, probe: Callable[[], T]) -> dict[str, list[T]]:
        """Return what `probe` gives on each worker that is there, by machine.

        A worker on which it fails has none: its units will say why.
        """
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


def executor_for(resources: Resources, imports: Sequence[str] = ()) -> Executor:
    """Return the executor that `resources` asks for, not yet started; see `DaskExecutor`."""
    if resources.scheduler_address is not None or resources.workers > 0:
        return DaskExecutor(resources, imports=imports)
    return SerialExecutor()


class SerialExecutor:
    """A for-loop in this process: the reference."""

    def run(
        self,
        task: Callable[[T], UnitOutcome],
        units: Iterable[T],
        *,
        stage: str,
        unit_id: Callable[[T], str] = str,
        hosts: frozenset[str] | None = None,
    ) -> Iterator[UnitOutcome]:
        """Yield the outcome of each unit, in order."""
        for unit in units:
            yield attempt(task, unit, stage, unit_id(unit))

    def survey(self, probe: Callable[[], T]) -> dict[str, list[T]]:
        """Return what `probe` gives here."""
        try:
            return {"": [probe()]}
        except Exception:  # the units will say it
            return {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass


class DaskExecutor:
    """Worker processes, of a LocalCluster or of a scheduler that is already running.

    Own workers start in the background: `run` waits for them, entering does not.

    Results are a few counts each and are let go at once, so that nothing piles up in Dask. A unit
    on a worker that died twice is blamed, perhaps wrongly, since whatever else was queued there is
    blamed with it: each such unit runs again at the end, alone, and only then fails for good.

    Parameters
    ----------
    resources
        Number of workers and their memory, or the scheduler's address.
    imports
        Modules that the units need: imported once for all own workers, while the caller may do
        something else.
    patience_s
        How long to wait without a single worker, in seconds.

    Raises
    ------
    UsageError
        On entry, when no scheduler answers at the address.
    IncompleteError
        From `run`, when the cluster is gone, or has had no worker for `patience_s`.
    """

    def __init__(
        self,
        resources: Resources,
        *,
        imports: Sequence[str] = (),
        patience_s: float = 60.0,
    ) -> None:
        self._resources = resources
        self._imports = imports
        self._patience_s = patience_s
        self._stack = ExitStack()
        self._cluster: ThreadFuture[LocalCluster] | None = None
        self._client: Client | None = None

    def __enter__(self) -> Self:
        import dask
        import distributed  # noqa: F401 - its defaults must lie under our settings

        with ExitStack() as stack:
            stack.enter_context(quiet_logs())
            address = self._resources.scheduler_address
            if address is not None:
                self._client = connect(address, stack)
            else:
                # For as long as workers may be started, so not by the thread alone.
                stack.enter_context(dask.config.set(LOCAL_SETTINGS))
                starter = stack.enter_context(ThreadPoolExecutor(1))
                self._cluster = starter.submit(local_cluster, self._resources, self._imports)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        starting = self._cluster if self._client is None else None
        if starting is not None and not starting.exception():  # no unit was run on it
            self._stack.enter_context(starting.result())
        self._client = self._cluster = None
        # On a busy machine a worker may take longer to end than Dask waits; what it did is
        # recorded, and it ends with this process.
        with suppress(TimeoutError):
            self._stack.close()

    def _connected(self) -> Client:
        """Return the client, once the workers that were started are there."""
        if self._client is None:
            if self._cluster is None:
                raise RuntimeError("DaskExecutor.run was called outside its with block")
            cluster = self._stack.enter_context(self._cluster.result())
            address = str(cluster.scheduler_address)
            self._client = connect(address, self._stack, cluster.security)
        return self._client

    def run(
        self,
        task: Callable[[T], UnitOutcome],
        units: Iterable[T],
        *,
        stage: str,
        unit_id: Callable[[T], str] = str,
        hosts: frozenset[str] | None = None,
    ) -> Iterator[UnitOutcome]:
        """Yield the outcome of each unit as it completes; blamed units last, one at a time."""
        blamed: list[T] = []
        where = None if hosts is None else sorted(hosts)
        for unit, outcome in self._window(task, iter(units), stage, unit_id, where, width=None):
            if outcome is None:
                blamed.append(unit)
            else:
                yield outcome
        for unit, outcome in self._window(task, iter(blamed), stage, unit_id, where, width=1):
            yield outcome or _failure(
                stage,
                unit_id(unit),
                "its worker died each time it ran, even alone; a crash or too little memory: "
                "raise --worker-memory, or use smaller tiles",
            )

    def _window(
        self,
        task: Callable[[T], UnitOutcome],
        units: Iterator[T],
        stage: str,
        unit_id: Callable[[T], str],
        hosts: list[str] | None,
        *,
        width: int | None,
    ) -> Iterator[tuple[T, UnitOutcome | None]]:
        """Yield units with their outcomes, None where the worker died; `width` in flight."""
        client = self._connected()
        in_flight: dict[Future, T] = {}
        room, counted = width or 0, -math.inf
        try:
            while True:
                if width is None and time.monotonic() - counted > POLL_S:  # workers come and go
                    room = UNITS_PER_WORKER * max(1, _threads(client, hosts))
                    counted = time.monotonic()
                for unit in islice(units, max(0, room - len(in_flight))):
                    name = unit_id(unit)
                    key = f"{stage}-{uuid4().hex}"
                    future = client.submit(attempt, task, unit, stage, name, key=key, workers=hosts)
                    in_flight[future] = unit
                if not in_flight:
                    return
                for future in self._completed(client, in_flight, hosts):
                    try:
                        outcome = _outcome_of(future, stage, unit_id(in_flight[future]))
                    except TimeoutError:  # its worker died with the result: Dask runs it again
                        continue
                    yield in_flight.pop(future), outcome
        finally:
            client.cancel(list(in_flight), force=True)

    def survey(self, probe: Callable[[], T]) -> dict[str, list[T]]:
        """Return what `probe` gives on each worker that is there, by machine."""
        from distributed import wait

        client = self._connected()
        with _scheduler_needed():
            waiting = {
                client.submit(probe, workers=[address], key=f"survey-{uuid4().hex}"): address
                for address in client.nthreads()
            }
            found: dict[str, list[T]] = {}
            while waiting:
                with suppress(TimeoutError):
                    wait(list(waiting), timeout=POLL_S, return_when="FIRST_COMPLETED")
                there = client.nthreads()
                for future, address in list(waiting.items()):
                    if future.status == "finished":
                        found.setdefault(_host_of(address), []).append(future.result(GATHER_S))
                    if future.done() or address not in there:
                        future.cancel()
                        del waiting[future]
        return found

    def _completed(
        self, client: Client, futures: Iterable[Future], hosts: list[str] | None
    ) -> list[Future]:
        """Wait until some of `futures` are done, and return those."""
        from distributed import wait

        alone_since: float | None = None
        while True:
            with suppress(TimeoutError), _scheduler_needed():
                return list(wait(list(futures), timeout=POLL_S, return_when="FIRST_COMPLETED").done)
            now = time.monotonic()
            alone_since = None if _threads(client, hosts) else alone_since or now
            if alone_since is not None and now - alone_since >= self._patience_s:
                which = f"no worker on {', '.join(hosts)}" if hosts else "no worker"
                raise IncompleteError(
                    f"{which} has been on {client.scheduler.address} for "
                    f"{self._patience_s:g} s; start workers, then resume the run"
                )


def attempt(task: Callable[[T], UnitOutcome], unit: T, stage: str, name: str) -> UnitOutcome:
    """Run `task` on `unit` where the work is done: time it, and turn an error into its outcome."""
    start = time.perf_counter()
    try:
        outcome = task(unit)
    except Exception as error:
        outcome = _failure(stage, name, _describe(error), traceback.format_exc())
    return replace(outcome, seconds=time.perf_counter() - start)


def _describe(error: Exception) -> str:
    """Return the text of an error; of an unexpected one also its kind and place."""
    if isinstance(error, HotscanError):
        return str(error)
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({place.filename}:{place.lineno} in {place.name})"


def _failure(stage: str, name: str, error: str, trace: str = "") -> UnitOutcome:
    # A lone surrogate, of a file's name that is not UTF-8, could not be recorded.
    return UnitOutcome(stage, name, Status.FAILED, error=escape_text(error), trace=trace)


def _outcome_of(future: Future, stage: str, name: str) -> UnitOutcome | None:
    """Return the outcome of a future that is done, None where its worker died."""
    from distributed import KilledWorker

    try:
        with _scheduler_needed():
            outcome: UnitOutcome = future.result(timeout=GATHER_S)
    except KilledWorker:
        return None
    except (TimeoutError, IncompleteError):
        raise
    except Exception as error:  # the task could not travel, or its worker cannot import it
        return _failure(stage, name, f"{type(error).__name__}: {error}", traceback.format_exc())
    return outcome


def _threads(client: Client, hosts: list[str] | None) -> int:
    with _scheduler_needed():
        threads = client.nthreads()
    return sum(n for at, n in threads.items() if hosts is None or _host_of(at) in hosts)


def _host_of(address: str) -> str:
    """Return the machine of a worker's address.

    Examples
    --------
    >>> _host_of("tls://10.0.0.5:40331")
    '10.0.0.5'
    """
    from distributed.comm.addressing import get_address_host

    host: str = get_address_host(address)
    return host


@contextmanager
def _scheduler_needed() -> Iterator[None]:
    from distributed.comm import CommClosedError

    try:
        yield
    except (CommClosedError, CancelledError) as error:
        raise IncompleteError(
            "the Dask scheduler is gone, or dropped this scan's units; "
            "restart it, then resume the run"
        ) from error
