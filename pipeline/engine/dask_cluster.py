"""Dask: workers on this machine, or a scheduler that is already running.

in       resources, or the scheduler's address
out      a `LocalCluster`, a `Client`
promise  workers start from one process that has imported what they need; none of them takes the
         Ctrl-C that is meant for the driver; nobody else on the machine can reach them
"""

from __future__ import annotations

import gc
import logging
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING, Any

from pipeline.config import Resources
from pipeline.engine import memory
from stages.errors import UsageError

if TYPE_CHECKING:
    from distributed import Client, LocalCluster, Security

CONNECT_S = 10.0
"""How long a scheduler may take to answer at first, in seconds."""

LOCAL_SETTINGS: dict[str, Any] = {
    # Workers are forked from a process that has imported what they need: torch is read once.
    # Elsewhere than on Linux, system libraries that torch uses do not survive a fork.
    "distributed.worker.multiprocessing-method": (
        "forkserver" if sys.platform == "linux" else "spawn"
    ),
    # At 80 % of its memory a worker would pause, and since results stay out of Dask it would wait
    # for ever. Let the nanny end it at 95 % instead, which blames the units that it had.
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    # One death may come from outside; at the second the unit is set aside.
    "distributed.scheduler.allowed-failures": 1,
    # The web servers that Dask opens all the same serve nothing.
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
    "distributed.nanny.http.routes": [],
    # Dask's profiler, which nobody reads, interrupts driver and workers a hundred times a second.
    "distributed.worker.profile.enabled": False,
    # Dask has its workers give memory back at every chance.
    "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": memory.KEPT_BYTES,
    "distributed.nanny.pre-spawn-environ.MALLOC_MMAP_THRESHOLD_": memory.MAPPED_BYTES,
}


def local_cluster(resources: Resources, imports: Sequence[str]) -> LocalCluster:
    """Start workers on this machine, which begin with `imports`; under `LOCAL_SETTINGS`.

    Whoever reaches a scheduler can run code as its owner, and any user of the machine reaches its
    loopback: so every connection needs a certificate made for this cluster, which never touches
    the disk.
    """
    from distributed import LocalCluster, Security
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
            protocol="tls://",
            security=Security.temporary(),
            # No dashboard; but its port is opened all the same, so let it be any free one.
            dashboard_address=None,
            scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},
            silence_logs=logging.CRITICAL,
        )


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Hold Ctrl-C back; threads and processes started meanwhile leave it to this thread for good.

    A terminal sends it to every process. Workers that took it would die with a traceback each, and
    be restarted while the driver closes.
    """
    resource_tracker.ensure_running()  # its start, else by the first worker, would end the hold
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def connect(address: str, stack: ExitStack, security: Security | None = None) -> Client:
    """Return a client of the scheduler at `address`, closed with the stack.

    Parameters
    ----------
    security
        Certificates; those that Dask's own configuration names by default.

    Raises
    ------
    UsageError
        When none answers there.
    """
    from distributed import Client

    try:
        return stack.enter_context(Client(address, timeout=CONNECT_S, security=security))
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
def quiet_logs() -> Iterator[None]:
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
