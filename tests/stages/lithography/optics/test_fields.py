"""The fields that a layout is cut into: how much of it each sees."""

from __future__ import annotations

from dataclasses import replace

import pytest

from stages.contracts import Box
from stages.lithography.optics.fields import (
    FURTHER,
    compute_guard_nm,
    compute_halo_nm,
    make_lattice,
)
from tests.support.optical import KRF

RESOLUTION_NM = KRF.wavelength_nm / KRF.na


@pytest.mark.parametrize("guard", [2.5, 3.7, 6.0])
@pytest.mark.parametrize("corrected", [False, True])
def test_a_field_sees_as_far_as_its_process_says(guard: float, corrected: bool) -> None:
    process = replace(KRF, guard=guard)
    lattice = make_lattice(process, 1.0, corrected=corrected)
    wanted_nm = (guard + (FURTHER if corrected else 0)) * RESOLUTION_NM
    assert compute_guard_nm(process, corrected=corrected) == pytest.approx(wanted_nm)
    assert wanted_nm <= lattice.guard_dbu < wanted_nm + lattice.pitch_dbu
    assert lattice.core_dbu + 2 * lattice.guard_dbu <= lattice.side_dbu
    assert lattice.side_dbu <= compute_halo_nm(process)


def test_cores_tile_the_plane_from_the_origin() -> None:
    lattice = make_lattice(KRF, 1.0)
    window = Box(-lattice.core_dbu, 1, lattice.core_dbu, lattice.core_dbu + 1)
    cores = [lattice.locate_core(place) for place in lattice.list_places(window)]
    assert len(cores) == 4
    assert {(core.x_min, core.y_min) for core in cores} == {
        (x, y) for x in (-lattice.core_dbu, 0) for y in (0, lattice.core_dbu)
    }
