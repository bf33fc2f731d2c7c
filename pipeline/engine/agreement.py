"""Agreement on what computes a stage: its units are never of several arithmetics.

in       what computed the finished units, what the workers compute, what earlier runs have
out      the arithmetic of the stage, and the machines that compute so
promise  the choice depends on what is recorded and on the workers, not on the order of either
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from stages.arithmetic import Arithmetic

Probe = Callable[[], Arithmetic]
"""Measures the arithmetic of the process that it runs in; it travels to the workers."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How the units of a stage come to be of one arithmetic, where results depend on it."""

    probe: Probe
    dependents: tuple[str, ...] = ()
    """Stages that are forgotten when a unit of this one is, because they read all of them."""
    preferred: tuple[Arithmetic, ...] = ()
    """Arithmetics of earlier runs, whose results can be reused if a worker has one of them."""


def choose_arithmetic(
    recorded: Mapping[Arithmetic, int],
    workers: Collection[Arithmetic],
    preferred: Sequence[Arithmetic] = (),
) -> Arithmetic | None:
    """Return the arithmetic for a stage; None without any worker.

    Of those that a worker has: the one with the most finished units; else the first of `preferred`;
    else the one of most workers.

    Parameters
    ----------
    recorded
        How many finished units each computed.
    workers
        The arithmetic of each worker.

    Examples
    --------
    >>> old, new = Arithmetic("0a", "AVX2"), Arithmetic("0b", "AVX512")
    >>> choose_arithmetic({old: 5}, [new, new, old]) == old
    True
    >>> choose_arithmetic({old: 5}, [new, new]) == new
    True
    """
    count = Counter(workers)
    ranks = {one: -place for place, one in enumerate(reversed(preferred), 1)}
    order = sorted(
        count,
        key=lambda one: (-recorded.get(one, 0), ranks.get(one, 0), -count[one], one.fingerprint),
    )
    return order[0] if order else None


def find_hosts(workers: Mapping[str, Sequence[Arithmetic]], chosen: Arithmetic) -> frozenset[str]:
    """Return the machines all of whose workers have an arithmetic.

    Parameters
    ----------
    workers
        The arithmetic of each worker, by machine.
    """
    return frozenset(host for host, every in workers.items() if set(every) == {chosen})
