"""Executors: how the units of a stage are run; the for-loop says what every other one must mean.

in       a task and its units
out      one outcome per unit, as they complete
promise  an error, or the death of a worker, costs its unit and no other; only a request to stop, or
         a cluster that is gone, ends the loop
"""

from __future__ import annotations

import gc
import logging
import math
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from concurrent.futures import Future as ThreadFuture
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from itertools import islice
from multiprocessing import resource_tracker
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self, TypeVar
from uuid import uuid4

from pipeline import memory
from pipeline.config import Resources
from pipeline.ledger import Status, UnitOutcome
from stages.errors import HotscanError, IncompleteError, UsageError

if TYPE_CHECKING:
    from distributed import Client, Future, LocalCluster

T = TypeVar("T")

UNITS_PER_WORKER = 3
"""Units in flight per worker: one that runs, and enough behind it to hide the round trip."""

POLL_S = 1.0
"""How often a wait for results looks whether there still are workers, in seconds."""

CONNECT_S = 10.0
"""How long a scheduler may take to answer at first, in seconds."""

GATHER_S = 30.0
"""How long the few counts of a finished unit may take to arrive, in seconds."""

LOCAL_SETTINGS = {
    # Workers are forked from a process that has imported what they need: torch is read once.
    # Elsewhere than on Linux, system libraries that torch uses do not survive a fork.
    "distributed.worker.multiprocessing-method": (
        "forkserver" if sys.platform == "linux" else "spawn"
    ),
    # Past 80 % of its memory a worker would pause, and with results kept out of Dask wait for
    # ever: rather let the nanny end it at 95 %, which blames the units it held.
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    # One death may come from outside; at the second the unit is set aside.
    "distributed.scheduler.allowed-failures": 1,
    # Nobody looks at Dask's profiles; taking them interrupts driver and workers a hundred times a
    # second.
    "distributed.worker.profile.enabled": False,
    # Dask has its workers give memory back at every chance.
    "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": memory.KEPT_BYTES,
    "distributed.nanny.pre-spawn-environ.MALLOC_MMAP_THRESHOLD_": memory.MAPPED_BYTES,
}


class Executor(Protocol):
    """Runs the units of a stage, inside a ``with`` block."""

    def run(
        self,
        task: Callable[[T], UnitOutcome],
        units: Iterable[T],
        *,
        stage: str,
        unit_id: Callable[[T], str] = str,
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
    ) -> Iterator[UnitOutcome]:
        """Yield the outcome of each unit, in order."""
        for unit in units:
            yield attempt(task, unit, stage, unit_id(unit))

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
        How long to go on without a single worker, in seconds.

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
            stack.enter_context(_quiet_logs())
            address = self._resources.scheduler_address
            if address is not None:
                self._client = _connect(address, stack)
            else:
                # For as long as workers may be started, so not by the thread alone.
                stack.enter_context(dask.config.set(LOCAL_SETTINGS))
                starter = stack.enter_context(ThreadPoolExecutor(1))
                self._cluster = starter.submit(_local_cluster, self._resources, self._imports)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        starting = self._cluster if self._client is None else None
        if starting is not None and not starting.exception():  # it was never asked for
            self._stack.enter_context(starting.result())
        self._client = self._cluster = None
        self._stack.close()

    def _connected(self) -> Client:
        """Return the client, once the workers that were started are there."""
        if self._client is None:
            if self._cluster is None:
                raise RuntimeError("DaskExecutor.run was called outside its with block")
            cluster = self._stack.enter_context(self._cluster.result())
            self._client = _connect(str(cluster.scheduler_address), self._stack)
        return self._client

    def run(
        self,
        task: Callable[[T], UnitOutcome],
        units: Iterable[T],
        *,
        stage: str,
        unit_id: Callable[[T], str] = str,
    ) -> Iterator[UnitOutcome]:
        """Yield the outcome of each unit as it completes; blamed units last, one at a time."""
        blamed: list[T] = []
        for unit, outcome in self._window(task, iter(units), stage, unit_id, width=None):
            if outcome is None:
                blamed.append(unit)
            else:
                yield outcome
        for unit, outcome in self._window(task, iter(blamed), stage, unit_id, width=1):
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
                    room = UNITS_PER_WORKER * max(1, _threads(client))
                    counted = time.monotonic()
                for unit in islice(units, max(0, room - len(in_flight))):
                    name = unit_id(unit)
                    key = f"{stage}-{uuid4().hex}"
                    future = client.submit(attempt, task, unit, stage, name, key=key)
                    in_flight[future] = unit
                if not in_flight:
                    return
                for future in self._completed(client, in_flight):
                    try:
                        outcome = _outcome_of(future, stage, unit_id(in_flight[future]))
                    except TimeoutError:  # its worker died with the result: Dask runs it again
                        continue
                    yield in_flight.pop(future), outcome
        finally:
            client.cancel(list(in_flight), force=True)

    def _completed(self, client: Client, futures: Iterable[Future]) -> list[Future]:
        """Wait until some of `futures` are done, and return those."""
        from distributed import wait

        alone_since: float | None = None
        while True:
            with suppress(TimeoutError), _scheduler_needed():
                return list(wait(list(futures), timeout=POLL_S, return_when="FIRST_COMPLETED").done)
            now = time.monotonic()
            alone_since = None if _threads(client) else alone_since or now
            if alone_since is not None and now - alone_since >= self._patience_s:
                raise IncompleteError(
                    f"no worker has been on {client.scheduler.address} for "
                    f"{self._patience_s:g} s; start workers, then resume the run"
                )


def attempt(task: Callable[[T], UnitOutcome], unit: T, stage: str, name: str) -> UnitOutcome:
    """Run `task` on `unit` where the work is done: time it, and turn an error into its outcome."""
    start = time.perf_counter()
    try:
        outcome = task(unit)
    except Exception as error:
        outcome = _failure(stage, name, _describe(error))
    return replace(outcome, seconds=time.perf_counter() - start)


def _describe(error: Exception) -> str:
    """Return the text of an error; of an unexpected one also its kind and place."""
    if isinstance(error, HotscanError):
        return str(error)
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({place.filename}:{place.lineno} in {place.name})"


def _failure(stage: str, name: str, error: str) -> UnitOutcome:
    return UnitOutcome(stage, name, Status.FAILED, error=error)


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
        return _failure(stage, name, f"{type(error).__name__}: {error}")
    return outcome


def _threads(client: Client) -> int:
    with _scheduler_needed():
        return sum(client.nthreads().values())


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


def _local_cluster(resources: Resources, imports: Sequence[str]) -> LocalCluster:
    from distributed import LocalCluster
    from distributed.utils import get_mp_context

    # At its first call Dask names what it needs itself, in place of what was named before.
    context = get_mp_context()
    if context.get_start_method() == "forkserver":
        context.set_forkserver_preload(["distributed", *imports])
    with _interrupts_held():
        return LocalCluster(
            n_workers=resources.workers,
            threads_per_worker=1,
            processes=True,
            memory_limit=resources.worker_memory or "auto",
            # No dashboard; but its port is opened all the same, so let it be any free one.
            dashboard_address=None,
            scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},
            silence_logs=logging.CRITICAL,
        )


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Hold Ctrl-C back; threads and processes started meanwhile leave it to this thread for good.

    A terminal sends it to every process. Workers that took it would die with a traceback each, and
    be started anew while the driver closes.
    """
    resource_tracker.ensure_running()  # its start, else by the first worker, would end the hold
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _connect(address: str, stack: ExitStack) -> Client:
    from distributed import Client

    try:
        return stack.enter_context(Client(address, timeout=CONNECT_S))
    except (OSError, ValueError) as error:
        reason = str(error)
    # Left to a later garbage collection, a client that could not start may be closed while the
    # next one starts, and wait for a lock that this one holds.
    gc.collect()
    raise UsageError(
        f"no Dask scheduler answers at {address!r} ({reason}); "
        "give the address it printed when it started, like tcp://host:8786"
    )


@contextmanager
def _quiet_logs() -> Iterator[None]:
    """Silence what Dask says of workers that die or close: the outcomes say it better."""
    loggers = [logging.getLogger(name) for name in ("distributed", "tornado", "asyncio")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
