"""The units of a stage are of one arithmetic, whichever workers there are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.engine.agreement import Agreement, choose_arithmetic, find_hosts
from pipeline.engine.events import ArithmeticChanged, Event, WorkersDiffer
from pipeline.engine.session import Session
from pipeline.engine.storage.checksums import digest_files
from pipeline.engine.storage.ledger import Ledger, Status, UnitOutcome
from pipeline.engine.storage.run_directory import Run
from pipeline.engine.storage.run_record import LayoutFile, RunRecord
from stages.arithmetic import Arithmetic
from stages.errors import IncompleteError

OLD, NEW, THIRD = (Arithmetic(text, text) for text in ("old", "new", "third"))


def finish(stage: str, unit: str, kind: Arithmetic | None) -> UnitOutcome:
    """The outcome of a unit that wrote no file."""
    checksum = digest_files(Path(), ())
    return UnitOutcome(stage, unit, Status.DONE, checksum=checksum, arithmetic=kind)


class Machines:
    """An executor whose machines compute as they are told; units go round among them."""

    def __init__(self, *kinds: Arithmetic, late: tuple[Arithmetic, ...] = ()) -> None:
        self.kinds = {f"host{number}": kind for number, kind in enumerate(kinds)}
        self.late = {f"late{number}": kind for number, kind in enumerate(late)}
        self.ran: list[tuple[str, str]] = []

    def survey(self, probe: Callable[[], Any]) -> dict[str, list[Any]]:
        return {host: [kind] for host, kind in self.kinds.items()}

    def run(
        self,
        task: Callable[[int], UnitOutcome],
        units: Iterable[int],
        *,
        stage: str,
        unit_id: Callable[[int], str] = str,
        hosts: frozenset[str] | None = None,
    ) -> Iterator[UnitOutcome]:
        self.kinds |= self.late  # they join while the stage runs
        there = sorted(self.kinds if hosts is None else hosts)
        for number, unit in enumerate(units):
            host = there[number % len(there)]
            self.ran.append((host, unit_id(unit)))
            yield finish(stage, unit_id(unit), self.kinds[host])

    def __enter__(self) -> Machines:
        return self

    def __exit__(self, *error: object) -> None:
        pass


def probe() -> Arithmetic:
    raise AssertionError("the machines know what they are")


def run_scores(
    folder: Path, machines: Machines, *, finished: dict[str, Arithmetic] | None = None,
    agreement: Agreement | None = None,
) -> tuple[set[Arithmetic | None], list[Event]]:  # fmt: skip
    events: list[Event] = []
    record = RunRecord(task="scan", layout=LayoutFile("a.gds", ""), settings={})
    with Ledger(folder / "ledger.sqlite") as ledger:
        ledger.start_session()
        for unit, kind in (finished or {}).items():
            ledger.record(finish("scores", unit, kind))
        ledger.record(finish("hotspots", "all", None))
        session = Session(Run(folder), ledger, machines, events.append, record)
        agreement = agreement or Agreement(probe, dependents=("hotspots",))
        session.run_units("scores", "shards", range(6), lambda unit: probe(), str, agreement)
        kinds = {one.arithmetic for one in ledger.finished("scores").values()}
        assert len(ledger.finished("scores")) == 6
        changed = any(isinstance(event, ArithmeticChanged) for event in events)
        assert bool(ledger.finished("hotspots")) is not changed
    return kinds, events


def test_units_of_a_machine_that_is_gone_run_again(tmp_path: Path) -> None:
    kinds, events = run_scores(tmp_path, Machines(NEW), finished={"0": OLD, "3": OLD})
    assert kinds == {NEW}
    assert ArithmeticChanged("scores", ("0", "3"), (OLD,), NEW) in events


def test_finished_units_stay_as_they_are(tmp_path: Path) -> None:
    """A finished stage is of one arithmetic already: that of the worker does not matter."""
    machines = Machines(NEW)
    kinds, events = run_scores(tmp_path, machines, finished={str(unit): OLD for unit in range(6)})
    assert (kinds, machines.ran) == ({OLD}, [])
    assert not [event for event in events if isinstance(event, ArithmeticChanged)]


def test_only_machines_that_compute_as_the_finished_units_get_the_others(tmp_path: Path) -> None:
    machines = Machines(NEW, NEW, OLD)
    kinds, events = run_scores(tmp_path, machines, finished={"0": OLD})
    assert kinds == {OLD}
    assert {host for host, _ in machines.ran} == {"host2"}
    assert WorkersDiffer("scores", ("host0", "host1"), OLD) in events


def test_a_different_machine_that_joins_while_units_run_is_noticed(tmp_path: Path) -> None:
    machines = Machines(OLD, OLD, late=(NEW,))
    kinds, events = run_scores(tmp_path, machines)
    assert kinds == {OLD}
    (changed,) = [event for event in events if isinstance(event, ArithmeticChanged)]
    assert (changed.before, changed.now) == ((NEW,), OLD)


def test_a_machine_that_never_computes_twice_the_same_is_refused(tmp_path: Path) -> None:
    class Random(Machines):
        def survey(self, probe: Callable[[], Any]) -> dict[str, list[Any]]:
            return {"host0": [OLD, NEW]}

    with pytest.raises(IncompleteError, match="workers of one machine compute differently"):
        run_scores(tmp_path, Random(OLD))


def test_what_an_earlier_run_has_is_preferred_to_the_many() -> None:
    assert choose_arithmetic({}, [NEW, NEW, OLD], [THIRD, OLD]) == OLD
    assert choose_arithmetic({NEW: 1}, [NEW, OLD], [OLD]) == NEW
    assert choose_arithmetic({}, [NEW, NEW, OLD]) == choose_arithmetic({}, [OLD, NEW, NEW]) == NEW
    assert choose_arithmetic({OLD: 3}, []) is None


def test_a_machine_with_one_different_worker_is_left_out() -> None:
    assert find_hosts({"a": [OLD, OLD], "b": [OLD, NEW]}, OLD) == {"a"}
