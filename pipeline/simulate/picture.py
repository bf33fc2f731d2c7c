"""The pictures of a simulated region.

in       a simulation whose tiles are finished, its defects
out      ``image.png`` and ``image.svg`` in its directory
promise  a region too large to be looked at is refused before anything is simulated
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.engine.storage.run_directory import write_whole
from pipeline.passes.units import open_layout
from pipeline.simulate.image import make_grid
from pipeline.simulate.tiles import Simulation, read_geometry
from stages.contracts import Box, Defect
from stages.errors import UsageError
from stages.exports.figure import Form, SimulatedWindow, draw_window
from stages.lithography.correction.placement import choose_nominal
from stages.lithography.measure.prints import simulate_prints
from stages.lithography.optics.fields import make_disjoint
from stages.lithography.optics.resist import compute_threshold
from stages.lithography.optics.sampling import sample_images
from stages.text import escape_text

MOST_UM = 20.0
"""Longest side of a region that is drawn: 140 nm wires are 11 pixels wide there."""
_SAMPLES = 1500
"""Samples of the light along the longer side, at most."""


def require_drawable(area: Box, dbu_nm: float) -> None:
    """Refuse a region whose picture could not be read.

    Raises
    ------
    UsageError
        The message names the largest that can.
    """
    width, height = area.width * dbu_nm / 1000, area.height * dbu_nm / 1000
    if max(width, height) > MOST_UM:
        raise UsageError(
            f"the region is {width:g} x {height:g} um; a picture shows at most {MOST_UM:g} x "
            f"{MOST_UM:g} um: choose a smaller --roi, or --image zarr, which takes any region"
        )


def draw_region(
    job: Simulation, layout_name: str, defects: Sequence[Defect], forms: Sequence[Form]
) -> tuple[str, ...]:
    """Draw the region; return the names of the files."""
    layout = open_layout(job.run)
    dbu_nm, nominal = layout.dbu_nm, choose_nominal(job.process)
    target, mask = read_geometry(job, job.area)
    light = target if mask is None else mask
    longer = max(job.area.width, job.area.height)
    finest = make_grid(job.area, None, dbu_nm, job.process).step_dbu
    step_nm = max(-(-longer // _SAMPLES), finest) * dbu_nm
    grid = make_grid(job.area, step_nm, dbu_nm, job.process)
    (intensity,) = sample_images(light, grid.x_dbu, grid.y_dbu, dbu_nm, job.process, [nominal])
    prints = simulate_prints(light, job.area, dbu_nm, job.process)
    box = ", ".join(f"{side * dbu_nm / 1000:g}" for side in job.area.as_tuple())
    data = SimulatedWindow(
        f"{escape_text(layout_name)} {layout.layers[0]}, process {job.process.name}, "
        f"opc {job.opc}, region {box} um",
        job.area, dbu_nm, target, None if mask is None else make_disjoint(mask), prints, intensity,
        grid.box, compute_threshold(job.process), defects,
    )  # fmt: skip
    for form in forms:
        write_whole(job.run / f"image.{form}", draw_window(data, form))
    return tuple(f"image.{form}" for form in forms)
