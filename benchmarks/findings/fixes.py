"""How many classes of hotspots are fixed, checked by full simulation and by KLayout's rule checks.

hotscan fix RUN --out FIXED.gds
python -m benchmarks.findings.fixes RUN FIXED.gds

Every fixed hotspot is simulated on the written layout in the fields of a region, at all corners:
the cores that it failed in, and as far around as the fix has an effect. Exit code 1 if anything
fails in those cores, if anything fails elsewhere that did not before, or if a rule is broken. Only
real layouts without OPC: the mask is what is drawn.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median

import klayout.db as kdb
import numpy as np

from benchmarks.machine import machine
from pipeline.engine.storage.ledger import Ledger
from pipeline.engine.storage.run_directory import Run
from pipeline.fix.fix import list_groups, make_job
from pipeline.fix.ground import FixJob, open_ground
from pipeline.layout import ingest
from pipeline.report.fix_table import NOT_FIXED, FixRow
from pipeline.report.run_view import RunView, open_view
from pipeline.simulate.tiles import read_slanted, read_target
from stages.contracts import Box, Defect, PackedLayer
from stages.geometry.window_query import query, split_polygons
from stages.lithography.measure.defects import find_defects
from stages.lithography.optics.fields import compute_halo_nm

NEAR_DBU = 120
"""A defect that is this near to one of its kind before is the same."""


def simulate(packed: PackedLayer, window: Box, job: FixJob, dbu_nm: float) -> tuple[Defect, ...]:
    """Return the defects of a window, as the simulation of a region finds them."""
    around = window.grow(int(compute_halo_nm(job.process) / dbu_nm) + 1)
    target, edges = read_target(packed, around, dbu_nm, job.process), read_slanted(packed, around)
    return find_defects(target, window, dbu_nm, job.process, slanted=edges)


def count_violations(packed: PackedLayer, window: Box, limits: tuple[int, int]) -> list[int]:
    """Return how many violations of width and space KLayout finds in a window."""
    shapes, region = query(packed, window.grow(4 * max(limits))), kdb.Region()
    for rect in shapes.rects.tolist():
        region.insert(kdb.Box(*rect))
    for ring in split_polygons(shapes):
        region.insert(kdb.Polygon([kdb.Point(*point) for point in ring.tolist()]))
    region.merge()
    inside = kdb.Region(kdb.Box(*window.as_tuple()))
    found = region.width_check(limits[0]), region.space_check(limits[1])
    return [pairs.polygons(1).interacting(inside).count() for pairs in found]


def is_new(defect: Defect, before: Sequence[Defect]) -> bool:
    """Return whether a defect has none of its kind near it before, at any corner."""
    return not any(
        defect.kind == other.kind
        and max(abs(defect.x_dbu - other.x_dbu), abs(defect.y_dbu - other.y_dbu)) <= NEAR_DBU
        for other in before
    )


def check(
    row: FixRow, cores: Sequence[Box], layers: tuple[PackedLayer, PackedLayer], view: RunView
) -> str:
    """Return what is wrong with a fixed hotspot, empty if nothing is."""
    job, dbu_nm = make_job(view), view.layout.dbu_nm
    ground = open_ground(job)
    limits = ground.bench.rules.width, ground.bench.rules.space
    for x, y in ground.list_windows(row.origin, row.change, cores):
        window = Box(x, y, x, y).grow(ground.bench.far.core_dbu // 2)
        before, after = (simulate(layer, window, job, dbu_nm) for layer in layers)
        if any(is_in(core, defect) for core in cores for defect in after):
            return "it fails"
        if any(is_new(each, before) for each in after):
            return "another place fails"
        counts = [count_violations(layer, window, limits) for layer in layers]
        if (np.array(counts[1]) > counts[0]).any():
            return "breaks a rule"
    return ""


def is_in(core: Box, defect: Defect) -> bool:
    """Return whether a defect lies in a core."""
    x, y = defect.x_dbu, defect.y_dbu
    return core.x_min <= x < core.x_max and core.y_min <= y < core.y_max


def print_classes(view: RunView, rows: Sequence[FixRow], seconds: Sequence[float]) -> None:
    """Print how many classes and hotspots are fixed, and why the others are not."""
    of_class: dict[int, list[FixRow]] = {}
    for row in rows:
        of_class.setdefault(row.class_id, []).append(row)
    some = sum(any(row.scope for row in group) for group in of_class.values())
    whole = sum(all(row.scope for row in group) for group in of_class.values())
    fixed = sum(row.scope != NOT_FIXED for row in rows)
    print(f"classes that fail       {len(of_class)}")
    print(f"every hotspot fixed     {whole} ({whole / len(of_class):.1%})")
    print(f"fixed, in part or whole {some} ({some / len(of_class):.1%})")
    print(f"hotspots                {fixed} of {len(rows)} ({fixed / len(rows):.1%})")
    print(
        f"seconds a class         {median(seconds):.1f} at the median, {max(seconds):.1f} at most"
    )
    print("reason                                            classes  hotspots")
    first = Counter(
        group[0].reason for group in of_class.values() if not any(r.scope for r in group)
    )
    for reason, count in Counter(row.reason for row in rows if row.reason).most_common():
        print(f"{reason:<50}{first[reason]:>7}{count:>10}")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("fixed", type=Path)
    parser.add_argument("--hotspots", type=int, default=10**9, help="check at most so many")
    options = parser.parse_args()
    run = Run(options.run)
    view, job = open_view(run), make_job(open_view(run))
    fixes = view.fixes
    with Ledger(run.ledger, read_only=True) as ledger:
        seconds = [unit.seconds for unit in ledger.finished("fix").values()]
    assert fixes is not None, "search fixes first"
    assert job.opc == "none", "the mask must be what is drawn"
    print(machine())
    print_classes(view, list(fixes.values()), seconds)
    fixed = ingest.read_layout(options.fixed, view.layout.layers, view.config.layout.cell)
    layers, wrong = (view.layout.packed[0], fixed.packed[0]), Counter[str]()
    cores = {member.id: member.cores for group in list_groups(view) for member in group.members}
    checked = order_by_class(fixes.values())[: options.hotspots]
    failed_classes = set[int]()
    for row in checked:
        if said := check(row, cores[row.hotspot], layers, view):
            wrong[said] += 1
            failed_classes.add(row.class_id)
            print(f"  hotspot {row.hotspot} of class {row.class_id}: {said}: {row.moves}")
    classes = {row.class_id for row in checked}
    print(f"checked                 {len(checked)} fixed hotspots: {dict(wrong) or 'all print'}")
    print(f"of classes              {len(classes)}, with one that is wrong {len(failed_classes)}")
    sys.exit(bool(wrong))


def order_by_class(rows: Iterable[FixRow]) -> list[FixRow]:
    """Return the fixed ones, one of each class first, so that a limit leaves no class out."""
    seen, order = Counter[int](), []
    for row in sorted((row for row in rows if row.scope), key=lambda row: row.hotspot):
        order.append((seen[row.class_id], row.hotspot, row))
        seen[row.class_id] += 1
    return [row for *_, row in sorted(order, key=lambda each: each[:2])]


if __name__ == "__main__":
    main()
