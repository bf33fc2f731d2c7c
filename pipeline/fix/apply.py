"""The layout with its fixes applied.

in       a run whose fixes were searched
out      a layout file, and which fixes are not in it
promise  the file that was scanned is read again and must be the same; the new one appears whole
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from pipeline.engine.storage.run_directory import Run, write_library
from pipeline.layout import ingest
from pipeline.layout.unpack import GZIP_MAGIC, unpack
from pipeline.report.fix_table import FLAT, IN_CELL, NOT_FIXED, FixRow
from pipeline.report.run_view import RunView, open_view
from stages.contracts import Box, PackedLayer
from stages.errors import IncompleteError, LayoutError, UsageError
from stages.exports.fixed_layout import LayoutEdit, read_library
from stages.fixes.members import PlacedChange, locate_changes
from stages.fixes.moves import Change, join_changes
from stages.geometry.owners import Chain
from stages.geometry.staircase import cut_into_rects
from stages.geometry.union import merge
from stages.geometry.window_query import query


def write_fixed_layout(path: Path, out: Path) -> list[str]:
    """Write the layout of a run with its fixes; return what could not be applied, in words.

    Raises
    ------
    IncompleteError
        When no fixes were searched in the run.
    LayoutError
        When the layout file is not the one that was scanned.
    """
    view = open_view(Run(path))
    fixes = view.fixes
    if fixes is None:
        raise IncompleteError(f"{path} has no fixes; search them with: hotscan fix {path}")
    layer = view.layout.layers[0]
    with tempfile.TemporaryDirectory(dir=out.parent) as scratch:
        edit = LayoutEdit(read_library(_find_file(view, Path(scratch))), layer)
    for name, change in _join_in_cells(fixes.values()):
        edit.change_cell(name, change)
    for each in _join_placements(view, fixes.values()):
        edit.change_placement(each)
    try:
        write_library(out, edit.library, oasis=out.suffix == ".oas")
    except OSError as error:
        raise UsageError(
            f"{out} cannot be written ({error.strerror}); choose another --out"
        ) from error
    limits = ingest.Limits.of(view.config.reader)
    written = ingest.read_layout(out, [layer], view.config.layout.cell, limits=limits)
    return [
        f"hotspot {row.hotspot}: {row.moves}: the hierarchy did not allow it"
        for row in fixes.values()
        if row.scope != NOT_FIXED and not _is_applied(row.change, written.packed[0])
    ]


def _is_applied(change: Change, packed: PackedLayer) -> bool:
    """Return whether what a change adds is in a layout, and what it takes away is not."""
    covered = [_compute_covered(packed, rect) for rect in (*change.removed, *change.added)]
    wanted = [0.0] * len(change.removed) + [1.0] * len(change.added)
    return covered == wanted


def _compute_covered(packed: PackedLayer, rect: tuple[int, int, int, int]) -> float:
    """Return the share of a rectangle that shapes cover, slanted edges in steps of a dbu."""
    box = Box(*rect)
    rects = cut_into_rects(query(packed, box), 1)
    inside = merge(np.clip(rects, rect[:2] * 2, rect[2:] * 2))
    areas = (inside[:, 2] - inside[:, 0]) * (inside[:, 3] - inside[:, 1])
    return float(areas.sum() / box.area)


def _find_file(view: RunView, scratch: Path) -> Path:
    """Return the layout file that was scanned, unpacked if it is packed."""
    record = view.record.layout
    path = Path(record.path)
    ingest.require_layout(path)
    if ingest.compute_sha256(path) != record.sha256:
        raise LayoutError(f"{path} is not the file that was scanned; scan it into a new directory")
    with path.open("rb") as file:
        if not file.read(2).startswith(GZIP_MAGIC):
            return path
    most_bytes = int(view.config.reader.unpacked_gb * 1e9)
    unpack(path, scratch / "layout", most_bytes, lambda _: False)
    return scratch / "layout"


def _join_in_cells(rows: Iterable[FixRow]) -> list[tuple[str, Change]]:
    """Return the change of each cell that is changed in all its placements."""
    found: dict[str, list[Change]] = {}
    for row in rows:
        if row.scope == IN_CELL:
            found.setdefault(row.cell, []).append(row.in_cell)
    return [(name, join_changes(changes)) for name, changes in sorted(found.items())]


def _join_placements(view: RunView, rows: Iterable[FixRow]) -> list[PlacedChange]:
    """Return the change of each placed cell that is changed in that placement alone."""
    found: dict[Chain, list[Change]] = {}
    flat = [row.change for row in rows if row.scope == FLAT]
    for each in locate_changes(view.layout, flat):
        found.setdefault(each.chain, []).append(each.change)
    return [PlacedChange(chain, join_changes(changes)) for chain, changes in sorted(found.items())]
