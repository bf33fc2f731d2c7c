"""A run under review: its hotspots, what is decided of them, and how to decide more.

in       a run directory, the file of waivers
out      `ReviewSession`
promise  the run is only read, but for ``review.jsonl``; a waiver is given as `hotscan waive` gives
         it, and one that was not given in this review is never taken back
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

import numpy as np

from pipeline.engine.storage.run_directory import Run
from pipeline.engine.storage.run_record import read_record
from pipeline.passes.scan_settings import ScanSettings
from pipeline.report import WAIVERS
from pipeline.report.failures import find_failures
from pipeline.report.run_view import RunView, open_view
from pipeline.report.waive import describe_waiver, parse_grounds
from pipeline.report.waiver_file import add_waiver, remove_waiver
from pipeline.review.decision_file import DecisionFile
from stages.contracts import Bytes, Hotspot, Int32s, Int64s, Verdict
from stages.errors import UsageError
from stages.findings import Bools
from stages.review.decisions import (
    COMMENT,
    STATES,
    Decision,
    apply_decision,
    list_notes,
    pack_ids,
    unpack_ids,
)
from stages.review.spots import Filter, SpotTable, index_places, select
from stages.rows import read_field, share_by_id

OPEN, _, _, WAIVED = range(len(STATES))
_KEPT = 8
"""Filters whose rows are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What somebody decides."""

    what: str
    """One of `STATES`, or `COMMENT`."""
    by: str
    hotspot: int
    whole_class: bool = False
    """Whether it is for all hotspots of its class that are open; of ``open``, that are not."""
    text: str = ""
    expires: str | None = None
    """Last day of a waiver."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a decision did."""

    changed: int
    """Hotspots."""
    left_out: int = 0
    """Hotspots that print in simulation, which are not waived."""
    waiver: str = ""
    """Id of the waiver that was added."""


class ReviewSession:
    """A run under review; not for several threads at once."""

    def __init__(self, run: Path, waivers: Path | None = None) -> None:
        self.waiver_file = waivers or find_waiver_file(Run(run))
        in_force = self.waiver_file if self.waiver_file.exists() else None
        view = open_view(Run(run), waivers=in_force)
        self._file = DecisionFile(view.run, len(view.hotspots))
        given = {each.waiver for each in self.decisions if each.waiver}
        today = view.today
        self._ours = {w.id for w in view.waivers if w.id in given and not w.is_expired(today)}
        # Matching takes a while for each hotspot: waivers given here are known without.
        self.view = replace(view, waivers=tuple(w for w in view.waivers if w.id not in given))
        self.table = make_table(self.view)
        self.class_levels = [
            self.view.class_reviews[row.id].level or 0 for row in self.view.classes
        ]
        """Worst level of each class that is not waived by waivers from elsewhere."""
        self.index = index_places(self.table.place_dbu)
        self.rank = np.argsort(self.table.order)
        """(n,) place of each row in the order of the table."""
        self.version = 0
        """Grows with each change of a state."""
        self.state = self._compute_states()
        self._rows = lru_cache(maxsize=_KEPT)(self._select)

    @property
    def decisions(self) -> Sequence[Decision]:
        """All decisions so far."""
        return self._file.decisions

    def _compute_states(self) -> Bytes:
        """Return what each hotspot is, (n,) indices into `STATES`."""
        state = np.zeros(len(self.table), np.uint8)
        for each in self.decisions:
            is_lost = each.what == STATES[WAIVED] and each.waiver not in self._ours
            apply_decision(state, replace(each, what=STATES[OPEN]) if is_lost else each)
        state[self._waived_elsewhere] = WAIVED
        return state

    @property
    def _waived_elsewhere(self) -> list[int]:
        """Rows of the hotspots that waivers cover which were not given here."""
        return [spot - 1 for spot in self.view.waived.by]

    def _select(self, asked: Filter, version: int) -> tuple[Bools, Int64s]:
        chosen = select(self.table, self.state, asked)
        return chosen, np.flatnonzero(chosen[self.table.order])

    def choose(self, asked: Filter) -> tuple[Bools, Int64s]:
        """Return which rows pass a filter, (n,), and their ranks in the order of the table."""
        return self._rows(asked, self.version)

    def find_spot(self, hotspot: int) -> Hotspot:
        """Return a hotspot by its id.

        Raises
        ------
        UsageError
            When there is none.
        """
        if not 1 <= hotspot <= len(self.table):
            raise UsageError(f"there is no hotspot {hotspot}; ids go from 1 to {len(self.table)}")
        return self.view.hotspots[hotspot - 1]

    def decide(self, asked: Request) -> Outcome:
        """Decide about a hotspot, or about its class.

        Raises
        ------
        UsageError
            When it cannot be met: there is no such hotspot, nobody decides, a waiver has no
            reason, or one that was not given here would have to be taken back.
        """
        rows = self._list_rows(asked)
        if asked.what == COMMENT and not asked.text.strip():
            raise UsageError("the comment is empty; write one, or leave it")
        if asked.what not in (COMMENT, STATES[OPEN]) and (self.state[rows] == WAIVED).any():
            raise UsageError(f"hotspot {asked.hotspot} is waived; open it first")
        if asked.what == STATES[WAIVED]:
            return self._waive(asked, rows)
        if asked.what == STATES[OPEN]:
            return self._open(asked, rows)
        return Outcome(self._add(asked, rows))

    def _list_rows(self, asked: Request) -> Int64s:
        """Return the rows that a decision is about."""
        row = self.find_spot(asked.hotspot).id - 1
        if not asked.whole_class:
            return np.array([row])
        members = self.table.class_id == self.table.class_id[row]
        is_open = self.state == OPEN
        return np.flatnonzero(members & (~is_open if asked.what == STATES[OPEN] else is_open))

    def _waive(self, asked: Request, rows: Int64s) -> Outcome:
        """Give a waiver."""
        failing = rows[self.table.level[rows] > 0]
        ids = (failing + 1).tolist()
        number = self.table.class_id[asked.hotspot - 1]
        named = [f"class C{number}"] if asked.whole_class else [f"H{asked.hotspot}"]
        grounds = parse_grounds(asked.text, asked.by, asked.expires or None)
        failures = find_failures(self.view, set(ids))
        waiver = describe_waiver(self.view, failures, ids, grounds, named)
        add_waiver(self.waiver_file, waiver)
        self._ours.add(waiver.id)
        self._add(asked, failing, waiver.id)
        return Outcome(len(ids), len(rows) - len(ids), waiver.id)

    def _open(self, asked: Request, rows: Int64s) -> Outcome:
        """Open hotspots again; waivers given here are taken back, with all that they cover."""
        for name in self._find_waivers(rows):
            remove_waiver(self.waiver_file, name)
            self._ours.discard(name)
        before = self.state
        self.state = self._compute_states()
        opened = np.flatnonzero((before == WAIVED) & (self.state == OPEN))
        return Outcome(self._add(asked, np.union1d(rows, opened)))

    def _find_waivers(self, rows: Int64s) -> set[str]:
        """Return the ids of the waivers that were given here for some of the rows."""
        waived = rows[self.state[rows] == WAIVED]
        if not len(waived):
            return set()
        if others := sorted(set(waived.tolist()) & set(self._waived_elsewhere)):
            names = " ".join(each.id for each in self.view.waived.by[others[0] + 1])
            raise UsageError(
                f"hotspot {others[0] + 1} is waived by {names}, not given in this "
                f"review; take it out of {self.waiver_file} and begin again"
            )
        return {
            each.waiver for each in self.decisions
            if each.waiver in self._ours and np.isin(waived + 1, unpack_ids(each.hotspots)).any()
        }  # fmt: skip

    def _add(self, asked: Request, rows: Int64s, waiver: str = "") -> int:
        """Keep a decision; return how many hotspots it is about."""
        if not len(rows):
            raise UsageError("nothing to decide: no hotspot of this class is left")
        decision = Decision(
            what=asked.what, hotspots=pack_ids((rows + 1).tolist()), by=asked.by.strip(),
            at=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}", text=asked.text.strip(), waiver=waiver,
        )  # fmt: skip
        self._file.add(decision)
        apply_decision(self.state, decision)
        self.version += 1
        return len(rows)

    def list_notes(self, hotspot: int) -> list[Decision]:
        """Return what was decided of a hotspot and said of it, in order."""
        return list_notes(self.decisions, hotspot)

    def close(self) -> None:
        """Let another process review the run."""
        self._file.close()


def find_waiver_file(run: Run) -> Path:
    """Return the file of waivers that a run was scanned with, or the usual one."""
    return Path(ScanSettings.of(read_record(run)).config.report.waivers or WAIVERS)


def make_table(view: RunView) -> SpotTable:
    """Return the hotspots of a run as columns."""
    findings, features = view.findings.rows, view.findings.rows.table["feature"].to_pylist()
    found = [
        _grade(spot, (view.verdicts or {}).get(spot.id), feature)
        for spot, feature in zip(view.hotspots, features, strict=True)
    ]
    kinds, kind = _number([kind for _, kind in found])
    cells, cell = _number(findings.table["cell"].to_pylist())
    places = [findings.get_column(f"place_{axis}_dbu") for axis in "xy"]
    ids = np.asarray(read_field(view.hotspots, "id"), np.int64)
    reviews, review = share_by_id(view.reviews, ids)
    return SpotTable(
        place_dbu=np.floor(np.stack(places, axis=1)).astype(np.int64),
        level=np.array([row.level or 0 for row in reviews], np.uint8)[review],
        severity=np.array([severity for severity, _ in found], np.float64),
        class_id=findings.get_column("class_id").copy(),
        kind=kind, cell=cell, kinds=kinds, cells=cells,
    )  # fmt: skip


def _grade(spot: Hotspot, verdict: Verdict | None, feature: str) -> tuple[float, str]:
    """Return how bad a hotspot is, and of what kind: by simulation, else as the model has it."""
    worst = verdict.worst if verdict else None
    if worst:
        return worst.severity, worst.kind
    predicted = spot.score if spot.predicted_margin is None else spot.predicted_margin
    return 0.0 if verdict else predicted, spot.predicted_kind or feature


def _number(names: Sequence[str]) -> tuple[list[str], Int32s]:
    """Return the different names, the most frequent first, and the index of each."""
    distinct = sorted(Counter(names).items(), key=lambda item: (-item[1], item[0]))
    index = {name: at for at, (name, _) in enumerate(distinct)}
    return list(index), np.array([index[name] for name in names], np.int32)
