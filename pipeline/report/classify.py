"""The stage ``classes``: group the hotspots of a run, and name the cells at fault.

in       hotspots, their verdicts by simulation, the packed layout
out      ``findings.parquet`` with a row per hotspot, ``classes.parquet`` with a row per class
unit     some hotspots to find their places, a whole scan to group them
promise  the tables depend on the hotspots and verdicts alone
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import get_type_hints

import numpy as np
import pyarrow as pa

from pipeline.config import ClassesConfig
from pipeline.engine.session import Session, Written
from pipeline.engine.storage.checksums import seal
from pipeline.engine.storage.ledger import Status, UnitOutcome
from pipeline.engine.storage.run_directory import Run, write_array, write_parts, write_table
from pipeline.engine.storage.tables import explain_damage, read_table
from pipeline.passes.job import Job
from pipeline.passes.units import open_layout
from pipeline.report.run_results import find_among, find_near, require_possible
from pipeline.simulate.confirm import Confirmed
from stages.cells import find_owners
from stages.classes.classify import Classes, Rules, Spots, classify, sign_spots
from stages.classes.cover import Tolerance
from stages.classes.places import FEATURES
from stages.classes.results import list_classes, list_findings
from stages.contracts import Hotspot, Int64s, PackedLayout, Verdict
from stages.errors import ConfigError, IncompleteError
from stages.findings import Bools, Finding, HotspotClass
from stages.lithography.process import Process
from stages.rows import ById, Row, Rows, as_row

RESOLUTION = 0.6
"""Least radius of a class, in wavelengths over the numerical aperture: further away, geometry
hardly changes what fails."""

PART_SPOTS = 1024
"""Hotspots whose places one unit finds."""

FINDINGS, CLASSES = "findings.parquet", "classes.parquet"

_TYPES = {int: pa.int64(), float: pa.float64(), str: pa.string()}


def make_rules(config: ClassesConfig, process: Process, job: Job, dbu_nm: float) -> Rules:
    """Return the rules of grouping in the units of a layout.

    Raises
    ------
    ConfigError
        When the radius is less than the resolution of the process.
    """
    least_nm = RESOLUTION * process.wavelength_nm / process.na
    radius_nm = least_nm if config.radius_nm is None else config.radius_nm
    if radius_nm < least_nm:
        raise ConfigError(
            f"[classes] radius_nm is {radius_nm:g}; of process {process.name} geometry within "
            f"{least_nm:.1f} nm decides what fails: give that or more, or leave it out"
        )
    sampling = process.sampling
    limits_nm = (
        sampling.space_nm, sampling.width_nm, sampling.tip_to_tip_nm, sampling.line_end_to_side_nm,
        sampling.line_end_nm,
    )  # fmt: skip
    tolerance = Tolerance(
        half=4 * math.ceil(radius_nm / dbu_nm / 2),  # in half dbu, and divisible by 4
        edge=round(2 * config.edge_tolerance_nm / dbu_nm),
        move=round(2 * config.shift_nm / dbu_nm),
        area_share=config.area_match,
        symmetries=job.symmetries,
    )
    limits: Int64s = np.round(np.array(limits_nm) / dbu_nm).astype(np.int64)
    return Rules(job.core_dbu, limits, tolerance)


def group_hotspots(
    session: Session,
    job: Job,
    layout: PackedLayout,
    rules: Rules,
    hotspots: Rows[Hotspot],
    simulated: Confirmed | None,
) -> None:
    """Write both tables, unless they are those of these hotspots and verdicts."""
    verdicts = None if simulated is None else simulated.verdicts
    known = len(verdicts or {})
    spots = _place_hotspots(hotspots, verdicts or {})
    parts = [
        SpotsPart(first, spots.select(first, PART_SPOTS))
        for first in range(0, len(spots), PART_SPOTS)
    ]

    def group() -> Written:
        places = [np.empty((0, 8), np.int64), *(_read_places(job.run, part) for part in parts)]
        layers = layout.packed[: job.spec.layers]
        classes = classify(layers, spots, rules, np.concatenate(places))
        rows = _write_tables(job, layout, rules, hotspots, verdicts, classes)
        return Written((FINDINGS, CLASSES), {"classes": rows, "verdicts": known})

    # Batches that failed before may have succeeded since: then there are more verdicts.
    if session.ledger.totals("classes").counts.get("verdicts", known) != known:
        session.ledger.forget("classes")
    session.run_units(
        "classes", "parts", parts,
        partial(sign_part, run=job.run, layers=job.spec.layers, rules=rules),
        lambda part: part.name, reads=("layout",),
    )  # fmt: skip
    session.run_once("classes", group)


@dataclass(frozen=True, slots=True, eq=False)
class SpotsPart:
    """Some hotspots whose places are found together."""

    first: int
    """Number of the first, from 0."""
    spots: Spots

    @property
    def name(self) -> str:
        """The unit's name in the ledger."""
        return f"{self.first // PART_SPOTS:05d}"

    @property
    def file(self) -> str:
        """Where its places are kept, relative to the run directory."""
        return f"classes/{self.name}.npy"


def sign_part(part: SpotsPart, *, run: Path, layers: int, rules: Rules) -> UnitOutcome:
    """Find the places of some hotspots, sign what is around them, and write both."""
    started = time.perf_counter()
    places = sign_spots(open_layout(run).packed[:layers], part.spots, rules, part.first)
    write_array(run / part.file, places)
    return UnitOutcome(
        "classes", part.name, Status.DONE, {"places": len(places)}, seal(run, (part.file,)),
        time.perf_counter() - started, files=(part.file,),
    )  # fmt: skip


def _read_places(run: Path, part: SpotsPart) -> Int64s:
    """Return what `sign_part` wrote.

    Raises
    ------
    IncompleteError
        When it is missing or damaged, or the part failed.
    """
    advice = f"find its places again with: hotscan resume {run}"
    with explain_damage(run / part.file, advice=advice):
        places: Int64s = np.load(run / part.file, allow_pickle=False)
        if places.dtype != np.int64 or places.ndim != 2 or places.shape[1] != 8:
            raise ValueError(f"it is {places.dtype} of shape {places.shape}")
        owners = np.unique(places[:, 0]) - part.first
        if not np.array_equal(owners, np.arange(len(part.spots))):
            raise ValueError("it has places of other hotspots")
        return places


def _write_tables(
    job: Job,
    layout: PackedLayout,
    rules: Rules,
    hotspots: Rows[Hotspot],
    verdicts: Mapping[int, Verdict] | None,
    classes: Classes,
) -> int:
    """Write the tables of grouped hotspots; return how many classes there are."""
    channels = job.spec.layers
    scanned = replace(layout, packed=layout.packed[:channels], cells=layout.cells[:channels])
    half = rules.tolerance.half
    low, high = (classes.place - half) // 2, -((-classes.place - half) // 2)
    owners = find_owners(scanned, np.concatenate((low, high), axis=1))
    schema = _make_schema(Finding)
    columns = list_findings(classes, owners, rules.tolerance)
    parts = (pa.RecordBatch.from_pydict(part, schema) for part in columns)
    write_parts(job.run / FINDINGS, parts, schema)
    findings = Rows(_read_table(job.run / FINDINGS, Finding), _make_finding)
    found = list_classes(hotspots.get_column("score"), findings, classes, verdicts)
    table = pa.Table.from_pylist(list(map(as_row, found)), _make_schema(HotspotClass))
    write_table(job.run / CLASSES, table)
    return len(found)


def _place_hotspots(hotspots: Rows[Hotspot], verdicts: Mapping[int, Verdict]) -> Spots:
    """Return the centre of each hotspot, or the place of its worst defect."""
    x_dbu, y_dbu = (hotspots.get_column(name).copy() for name in ("x_dbu", "y_dbu"))
    fails = np.zeros(len(hotspots), bool)
    for number, verdict in verdicts.items():
        if worst := verdict.worst:
            x_dbu[number - 1], y_dbu[number - 1], fails[number - 1] = worst.x_dbu, worst.y_dbu, True
    return Spots(x_dbu, y_dbu, fails)


def _make_finding(row: Row) -> Finding:
    return Finding(**row)


def _make_schema(row: type[Finding | HotspotClass]) -> pa.Schema:
    kinds = get_type_hints(row)
    return pa.schema([(each.name, _find_type(kinds[each.name])) for each in fields(row)])


def _find_type(kind: object) -> pa.DataType:
    """Return the column type of a field, which may be None as well."""
    return next(column for plain, column in _TYPES.items() if kind in (plain, plain | None))


def read_findings(run: Run, hotspots: int) -> ById[Finding]:
    """Return the class and cell of each hotspot, by its id.

    Parameters
    ----------
    hotspots
        How many there are; their ids go from 1.

    Raises
    ------
    IncompleteError
        When the run has none yet, or they are damaged.
    """
    rows = Rows(_read_table(run.path / FINDINGS, Finding), _make_finding)
    with explain_damage(run.path / FINDINGS):
        require_possible(rows, partial(_find_possible, hotspots=hotspots))
        if len(rows) != hotspots:
            raise ValueError(f"it has {len(rows)} rows for {hotspots} hotspots")
    return ById(rows)


def _find_possible(part: pa.RecordBatch, *, hotspots: int) -> Bools:
    """Return which stored findings have values that a scan writes."""
    number = part["class_id"].to_numpy()
    turns = (part[name].to_numpy() for name in ("symmetry", "turn"))
    lengths = ("place_x_dbu", "place_y_dbu", "move_x_dbu", "move_y_dbu")
    possible: Bools = np.logical_and.reduce([
        (number >= 1) & (number <= hotspots), find_among(part["feature"], FEATURES),
        *((turn >= 0) & (turn < 8) for turn in turns),
        *(find_near(part[name].to_numpy()) for name in lengths),
    ])  # fmt: skip
    return possible


def read_classes(run: Run, named: ById[Finding]) -> tuple[HotspotClass, ...]:
    """Return the classes, those of most hotspots first; errors as of `read_findings`.

    Parameters
    ----------
    named
        What `read_findings` returned: the classes that it names are all there.
    """
    rows = tuple(HotspotClass(**row) for row in read_class_table(run).to_pylist())
    with explain_damage(run.path / CLASSES):
        sizes = Counter(named.rows.get_column("class_id").tolist())
        if [(row.id, row.hotspots) for row in rows] != sorted(sizes.items()):
            raise ValueError(f"its classes are not those of {FINDINGS}")
        for row in rows:
            if row.representative not in named or named[row.representative].class_id != row.id:
                raise ValueError(f"class {row.id} is represented by a hotspot of another class")
    return rows


def read_class_table(run: Run) -> pa.Table:
    """Return the classes as a table; errors as `read_findings`."""
    return _read_table(run.path / CLASSES, HotspotClass)


def _read_table(path: Path, row: type[Finding | HotspotClass]) -> pa.Table:
    if not path.exists():
        run = path.parent
        raise IncompleteError(
            f"{run} has no {path.name} yet; finish the scan with: hotscan resume {run}"
        )
    kinds = get_type_hints(row)
    optional = {name for name, kind in kinds.items() if kind not in _TYPES}
    return read_table(path, _make_schema(row), optional)
