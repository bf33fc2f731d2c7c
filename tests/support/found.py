"""Findings and classes for tests of what shows them."""

from __future__ import annotations

from stages.findings import Finding, HotspotClass


def make_finding(hotspot: int, class_id: int, cell: str = "inv_1", moved: float = 3.5) -> Finding:
    """Return the finding of a hotspot at a space of 140 dbu."""
    return Finding(
        id=hotspot, class_id=class_id, place_x_dbu=1000.5, place_y_dbu=-2000.0, feature="space",
        measured_dbu=140.0, moved_dbu=moved, differs=None, cell_kind="cell", cell=cell,
        cell_path=f"block(1,2,r0)/{cell}(3,4,m90)", surroundings=0, symmetry=0, turn=0,
        move_x_dbu=0.0, move_y_dbu=0.0,
    )  # fmt: skip


def make_class(number: int, representative: int, hotspots: int) -> HotspotClass:
    """Return a class that was not simulated."""
    return HotspotClass(
        id=number, representative=representative, hotspots=hotspots, patterns=1, kind="space",
        worst_score=0.99, median_score=0.5, fails=None, worst_severity=None, median_severity=None,
        moved_dbu=3.5, differs=None, cells=1, cell="inv_1",
    )  # fmt: skip
