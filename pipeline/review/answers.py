"""What the page asks of a run, and the answers, as plain values for JSON.

in       a `ReviewSession`, the words of a query
out      dictionaries and lists
promise  an answer grows with what a screen shows, not with the run
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from pipeline.review.session import Outcome, Request, ReviewSession
from pipeline.review.tiles import SIZE_PX, locate_tile
from stages.contracts import Int64s
from stages.errors import UsageError
from stages.exports.pages.pictures import name_colour
from stages.lengths import to_um
from stages.review.decisions import COMMENT, STATES
from stages.review.spots import LEVELS, Filter, count_in_grid

MOST_POINTS = 200
"""Hotspots that a tile shows one by one; more are counted."""
GRID = 32
"""Squares on a side of a tile in which they are counted."""
MOST_ROWS = 200
"""Rows of a table that are sent at once."""
MOST_NAMES = 500
"""Cells that are offered to filter by, those of most hotspots."""


def parse_filter(query: Mapping[str, str]) -> Filter:
    """Return the filter of a query.

    Raises
    ------
    UsageError
        When a value is none of those known.
    """
    levels = frozenset(parse_number(part) for part in _split(query, "levels"))
    class_id = parse_number(query["class"]) if query.get("class") else None
    return Filter(
        levels, frozenset(_split(query, "states")), class_id, query.get("kind", ""),
        query.get("cell", ""),
    )  # fmt: skip


def _split(query: Mapping[str, str], name: str) -> list[str]:
    return [part for part in query.get(name, "").split(",") if part]


def parse_number(text: str) -> int:
    """Return a whole number of a query.

    Raises
    ------
    UsageError
        When it is none, or has more than ten digits.
    """
    if len(text) > 11 or not text.removeprefix("-").isdecimal() or not text.isascii():
        raise UsageError(f"{text[:20]!r} is no number")
    return int(text)


def describe_run(session: ReviewSession, by: str) -> dict[str, Any]:
    """Return what the page needs to know first."""
    view, table = session.view, session.table
    names = view.config.layout.layer_names.show
    return {
        "layout": view.record.layout.name, "top": view.layout.top, "run": str(view.run.path),
        "dbu_nm": view.layout.dbu_nm, "extent": view.layout.extent.as_tuple(),
        "core_dbu": view.job.core_dbu, "tile_px": SIZE_PX,
        "layers": [
            {"name": names(channel), "colour": name_colour(at)}
            for at, channel in enumerate(view.config.layout.channels)
        ],
        "hotspots": len(table), "classes": len(view.classes), "kinds": list(table.kinds),
        "cells": list(table.cells[:MOST_NAMES]),
        "simulated": view.verdicts is not None, "waivers": str(session.waiver_file), "by": by,
    } | count_states(session)  # fmt: skip


def count_states(session: ReviewSession) -> dict[str, Any]:
    """Return how many hotspots are in each state, less those that print, and open at each level."""
    fails = session.table.level > 0
    states = np.bincount(session.state[fails], minlength=len(STATES)).tolist()
    levels = np.bincount(session.table.level[session.state == 0], minlength=len(LEVELS)).tolist()
    return {
        "states": dict(zip(STATES, states, strict=True)), "open_levels": levels,
        "prints": int(len(fails) - fails.sum()),
        "version": session.version,
    }  # fmt: skip


def list_marks(session: ReviewSession, asked: Filter, tile: tuple[int, int, int]) -> dict[str, Any]:
    """Return the hotspots of a tile: one by one, or counted where they are many."""
    box, table = locate_tile(*tile), session.table
    rows = session.index.find(table.place_dbu, box)
    rows = rows[session.choose(asked)[0][rows]]
    if len(rows) > MOST_POINTS:
        counted = count_in_grid(table.place_dbu[rows], table.level[rows], box, GRID)
        return {"grid": GRID, "cells": counted.tolist()}
    columns = np.column_stack((
        rows + 1, table.place_dbu[rows], table.level[rows], session.state[rows],
        table.class_id[rows],
    ))  # fmt: skip
    return {"points": columns.tolist()}


def list_spots(session: ReviewSession, asked: Filter, offset: int, limit: int) -> dict[str, Any]:
    """Return some rows of the table of hotspots, the worst first."""
    _, ranks = session.choose(asked)
    shown = session.table.order[ranks[max(0, offset) : max(0, offset) + min(limit, MOST_ROWS)]]
    return {"total": len(ranks), "rows": [_describe_row(session, row) for row in shown.tolist()]}


def _describe_row(session: ReviewSession, row: int) -> dict[str, Any]:
    table = session.table
    x, y = (to_um(value, session.view.layout.dbu_nm) for value in table.place_dbu[row].tolist())
    return {
        "id": row + 1, "level": int(table.level[row]), "kind": table.kinds[table.kind[row]],
        "class": int(table.class_id[row]), "cell": table.cells[table.cell[row]],
        "severity": round(float(table.severity[row]), 3), "state": STATES[session.state[row]],
        "x_um": x, "y_um": y,
    }  # fmt: skip


def list_classes(session: ReviewSession, asked: Filter, offset: int, limit: int) -> dict[str, Any]:
    """Return some rows of the table of classes that pass a filter, those of most hotspots first."""
    ids, found, still = _count_classes(session, asked)
    shown = ids[max(0, offset) : max(0, offset) + min(limit, MOST_ROWS)].tolist()
    rows = [session.view.classes[number - 1] for number in shown]
    return {
        "total": len(ids),
        "rows": [
            {"id": row.id, "hotspots": int(found[row.id]), "open": int(still[row.id]),
             "kind": row.kind, "cell": row.cell, "cells": row.cells,
             "level": session.class_levels[row.id - 1]}
            for row in rows
        ],
    }  # fmt: skip


def _count_classes(session: ReviewSession, asked: Filter) -> tuple[Int64s, Int64s, Int64s]:
    """Return the ids of the classes that pass a filter, and by id how many pass and are open."""
    chosen, _ = session.choose(asked)
    most = len(session.view.classes) + 1
    found = np.bincount(session.table.class_id[chosen], minlength=most)
    still = np.bincount(session.table.class_id[chosen & (session.state == 0)], minlength=most)
    ids = np.flatnonzero(found)
    return ids[np.argsort(-found[ids], kind="stable")], found, still


def step_to_class(
    session: ReviewSession, asked: Filter, class_id: int, step: int
) -> dict[str, Any]:
    """Return the worst hotspot of the class before or after another in their list."""
    ids, _, _ = _count_classes(session, asked)
    if not len(ids):
        return {"total": 0}
    here = np.flatnonzero(ids == class_id)
    at = (int(here[0]) + step if len(here) else 0) % len(ids)
    _, ranks = session.choose(replace(asked, class_id=int(ids[at])))
    return describe_spot(session, asked, int(session.table.order[ranks[0]]) + 1)


def step_through(session: ReviewSession, asked: Filter, hotspot: int, step: int) -> dict[str, Any]:
    """Return the hotspot before or after another in the order of the table; the first after 0."""
    _, ranks = session.choose(asked)
    if not len(ranks):
        return {"total": 0}
    if hotspot == 0:
        at = 0
    else:
        mine = int(session.rank[session.find_spot(hotspot).id - 1])
        at = int(np.searchsorted(ranks, mine, "right" if step > 0 else "left")) - (step < 0)
    at %= len(ranks)  # the first follows the last
    return describe_spot(session, asked, int(session.table.order[ranks[at]]) + 1)


def describe_spot(session: ReviewSession, asked: Filter, hotspot: int) -> dict[str, Any]:
    """Return all about a hotspot, and where it is in the order of those that pass a filter."""
    spot = session.find_spot(hotspot)
    view, finding = session.view, session.view.findings[hotspot]
    verdict, review = (view.verdicts or {}).get(hotspot), view.reviews[hotspot]
    chosen, ranks = session.choose(asked)
    at = int(np.searchsorted(ranks, session.rank[hotspot - 1]))
    um = view.layout.dbu_nm
    return _describe_row(session, hotspot - 1) | {
        "place": session.table.place_dbu[hotspot - 1].tolist(), "core": spot.core(
            view.job.core_dbu).as_tuple(), "box": spot.box.as_tuple(),
        "at": at if chosen[hotspot - 1] else None, "total": len(ranks),
        "score": spot.score, "clips": spot.clips, "level_by": review.level_by,
        "cell_kind": finding.cell_kind, "path": finding.cell_path, "feature": finding.feature,
        "measured_nm": finding.measured_dbu * um,
        "members": view.classes[finding.class_id - 1].hotspots,
        "verdict": None if verdict is None else {
            "defects": verdict.defects, "margin": verdict.margin,
            "worst": None if verdict.worst is None else asdict(verdict.worst),
        },
        "waiver": review.waiver, "reason": review.reason,
        "notes": [
            {"what": each.what, "by": each.by, "at": each.at, "text": each.text,
             "waiver": each.waiver}
            for each in session.list_notes(hotspot)
        ],
    }  # fmt: skip


def parse_object(body: bytes) -> dict[str, Any]:
    """Return a JSON object.

    Raises
    ------
    UsageError
        When the body is none.
    """
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise UsageError("the decision is no JSON object")
    return found


def decide(session: ReviewSession, given: Mapping[str, Any]) -> dict[str, Any]:
    """Carry out a decision, and return what it did.

    Raises
    ------
    UsageError
        When it has other keys or types than a `Request`, or cannot be met.
    """
    kinds = {"what": str, "by": str, "hotspot": int, "whole_class": bool, "text": str,
             "expires": str}  # fmt: skip
    if wrong := [name for name, value in given.items() if type(value) is not kinds.get(name)]:
        raise UsageError(f"{wrong[0]!r} is no part of a decision, or of another type")
    if missing := {"what", "by", "hotspot"} - given.keys():
        raise UsageError(f"the decision has no {sorted(missing)[0]!r}")
    if given["what"] not in (*STATES, COMMENT):
        raise UsageError(f"decision {given['what'][:20]!r} is unknown")
    found: Outcome = session.decide(Request(**given))
    return asdict(found) | count_states(session)
