"""The stages of fixing, after those of a scan: search, then put together.

in       a session of a scan whose hotspots are simulated and grouped
out      ``fixes.parquet``, a row per failing hotspot
unit     a class, then the whole scan
promise  run, resumed or repeated it says the same; every fix that is kept was simulated with all
         others in place
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import scipy

from pipeline.config import FixConfig
from pipeline.engine.agreement import Agreement
from pipeline.engine.session import Session, Written
from pipeline.engine.storage.checksums import list_files
from pipeline.engine.storage.tables import read_table
from pipeline.fix.ground import FOLDER, VIAS, FixJob, Ground, open_ground
from pipeline.fix.search import Group, Member, fix_class
from pipeline.layout import ingest
from pipeline.report.fix_table import (
    FLAT,
    IN_CELL,
    NOT_FIXED,
    TABLE,
    FixRow,
    read_rows,
    write_rows,
)
from pipeline.report.run_view import RunView
from pipeline.simulate.hot_clips import CLIPS
from pipeline.simulate.tiles import measure
from stages.contracts import Box, Int64s, Layer
from stages.fixes.members import Alignment
from stages.fixes.moves import Change, join_changes

Cores = Mapping[int, tuple[Box, ...]]
"""Those that each hotspot fails in."""
STAGES = ("vias", "fix", "fixes")
"""In the order in which they run."""
TOGETHER = "beside another fix it does not print"


def make_job(view: RunView) -> FixJob:
    """Return the input of every class of a run."""
    work, classes = view.confirmation, view.config.classes
    tolerance_nm = classes.edge_tolerance_nm + classes.shift_nm
    return FixJob(
        view.run.path, work.process, work.opc, view.config.fix, tolerance_nm / view.layout.dbu_nm
    )


def list_groups(view: RunView) -> list[Group]:
    """Return the classes with the hotspots that fail, largest class first.

    The first of a group is the class's representative, or else its worst.
    """
    assert view.simulated is not None
    work, members = view.confirmation, dict[int, list[int]]()
    clips = read_table(work.run / work.clips, CLIPS)
    middles = [clips[axis].to_numpy() for axis in ("x_dbu", "y_dbu")]
    for spot in view.order:
        if view.worst(spot):
            members.setdefault(view.findings[spot.id].class_id, []).append(spot.id)
    found = []
    for each in view.classes:
        if spots := members.get(each.id):
            ordered = _put_first(each.representative, spots)
            found.append(Group(each.id, tuple(_describe(view, spot, middles) for spot in ordered)))
    return found


def _put_first(wanted: int, spots: Sequence[int]) -> list[int]:
    first = wanted if wanted in spots else spots[0]
    return [first, *sorted(spot for spot in spots if spot != first)]


def _describe(view: RunView, spot: int, middles: Sequence[Int64s]) -> Member:
    assert view.simulated is not None
    finding, half = view.findings[spot], view.confirmation.core_dbu // 2
    cores = tuple(
        Box(x, y, x, y).grow(half)
        for x, y in zip(
            *(each[view.simulated.failing[spot]].tolist() for each in middles), strict=True
        )
    )
    place = finding.place_x_dbu, finding.place_y_dbu
    return Member(spot, *place, Alignment.of(finding), cores)


def run_stages(session: Session, view: RunView, source: Path) -> None:
    """Run every stage that is not finished, as far as its inputs are complete."""
    job, groups = make_job(view), list_groups(view)
    if job.rules.vias:
        session.run_once("vias", partial(_pack_vias, view, source, job.rules))
    alike = Agreement(partial(measure, job.run, job.process))
    session.run_units(
        "fix", "classes", groups, partial(fix_class, job=job), lambda group: group.name, alike
    )
    names = [group.name for group in groups if group.name in session.ledger.finished("fix")]
    made_of = zlib.crc32(" ".join(names).encode())
    if session.ledger.totals("fixes").counts.get("made_of", made_of) != made_of:
        session.ledger.forget("fixes")

    def put_together() -> Written:
        files = [view.run.path / FOLDER / f"{name}.parquet" for name in names]
        cores = {member.id: member.cores for group in groups for member in group.members}
        rows = _drop_failing(job, [row for file in files for row in read_rows(file)], cores)
        write_rows(view.run.path / TABLE, rows)
        counts = {"made_of": made_of, "fixed": sum(row.scope != NOT_FIXED for row in rows)}
        return Written((TABLE,), counts)

    session.run_once("fixes", put_together)


def _pack_vias(view: RunView, source: Path, rules: FixConfig) -> Written:
    layers = [Layer.parse(name) for name in rules.vias]
    (view.run.path / FOLDER).mkdir(exist_ok=True)
    ingest.pack_into(
        source, view.run.path / VIAS, layers, view.config.layout.cell,
        limits=ingest.Limits.of(view.config.reader),
    )  # fmt: skip
    return Written(list_files(view.run.path, VIAS))


def _drop_failing(job: FixJob, rows: Sequence[FixRow], cores: Cores) -> list[FixRow]:
    """Return the rows without the fixes that do not print beside others.

    Of two that fail beside each other the one of the smaller class, or of the later hotspot, is
    dropped; what is left is tried again.
    """
    kept = list(rows)
    while failing := _find_failing(job, kept, cores):
        dropped = {_name_source(kept[at]) for at in failing}
        kept = [
            FixRow(row.hotspot, row.class_id, row.origin, TOGETHER)
            if row.scope != NOT_FIXED and _name_source(row) in dropped
            else row
            for row in kept
        ]
    return kept


def _name_source(row: FixRow) -> tuple[object, ...]:
    """Return what a fix changes: a cell's shapes count once, however many hotspots ask for it."""
    return (row.cell, row.in_cell) if row.scope == IN_CELL else (row.hotspot,)


def _find_failing(job: FixJob, rows: Sequence[FixRow], cores: Cores) -> list[int]:
    """Return which fixes to drop: those that fail beside others, last of their neighbours."""
    ground = open_ground(job)
    changes = list_changes(ground, rows)
    if not changes:
        return []
    of_rect = [(at, rect) for at, each in enumerate(changes) for rect in each.removed + each.added]
    rects = np.array([rect for _, rect in of_rect])
    tree = scipy.spatial.cKDTree((rects[:, :2] + rects[:, 2:]) / 2)
    reach = ground.bench.reach + (rects[:, 2:] - rects[:, :2]).max() / 2
    failing = []
    for at, row in enumerate(rows):
        if row.scope == NOT_FIXED:
            continue
        own, mended = row.change, cores[row.hotspot]
        windows = ground.list_windows(row.origin, own, mended)
        near = {
            of_rect[i][0] for some in tree.query_ball_point(windows, reach, p=np.inf) for i in some
        }
        beside = join_changes(changes[each] for each in near)
        if join_changes((own, beside)) != own and ground.verify(
            row.origin, own, mended, beside
        ) != ("", []):
            failing.append(at)
    reach = 2 * ground.bench.reach
    places = np.array([rows[at].origin for at in failing]).reshape(-1, 2)
    pairs = scipy.spatial.cKDTree(places).query_pairs(reach, p=np.inf) if len(failing) else set()
    rank = [(rows[at].class_id, rows[at].hotspot) for at in failing]
    later = {max(pair, key=lambda i: rank[i]) for pair in pairs}
    alone = set(range(len(failing))) - {each for pair in pairs for each in pair}
    return [failing[each] for each in sorted(later | alone)]


def list_changes(ground: Ground, rows: Sequence[FixRow]) -> list[Change]:
    """Return every change of the layout, in the top cell, each once."""
    flat = [row.change for row in rows if row.scope == FLAT]
    in_cells = {(row.cell, row.in_cell) for row in rows if row.scope == IN_CELL}
    return flat + [
        change.place(*placed)
        for cell, change in sorted(in_cells)
        for placed in ground.list_placements(ground.names.index(cell)).tolist()
    ]
