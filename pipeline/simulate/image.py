"""The image of a region as an array: light, drawn shapes, mask and band, with coordinates.

in       a packed layout, a process, the region, the distance of the samples
out      ``image.zarr``, which xarray opens; a unit writes one chunk of each array
promise  memory does not grow with the region; the result does not depend on units or workers
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from pipeline.engine.agreement import Agreement
from pipeline.engine.session import Session, Written
from pipeline.engine.storage.checksums import list_files, seal
from pipeline.engine.storage.ledger import Status, UnitOutcome
from pipeline.engine.storage.tables import ANY, explain_damage, open_arrays
from pipeline.passes.units import open_layout
from pipeline.simulate.tiles import Simulation, measure, name_tile, read_geometry
from stages.contracts import Box, Bytes, Floats, Int64s
from stages.errors import UsageError
from stages.geometry.coverage import FULL, draw_windows
from stages.lithography.optics.fields import make_disjoint
from stages.lithography.optics.resist import compute_threshold
from stages.lithography.optics.sampling import sample_images
from stages.lithography.process import Process
from stages.tiles import Tile

ARRAY = "image.zarr"
CHUNK_PX = 2048
"""Side of a chunk in samples, which is the unit of work: 16 MB for each corner."""
_STEPS = 36
"""Samples in wavelength / NA, by default: contours between them are within a tenth of a nm."""
_KINDS = {"intensity": (3, "f4"), "band": (2, "u1"), "target": (2, "u1"), "mask": (2, "u1")}
"""Arrays of samples: dimensions and type."""
_MOST_FILLED = 0.9
"""Largest share of the free disk that an array may take."""


@dataclass(frozen=True, slots=True)
class ImageGrid:
    """Where an image is sampled: the centres of pixels that lie on the layout's origin."""

    step_dbu: int
    """Side of a pixel, the distance of the samples."""
    pixels: Box
    """The pixels of the image, in pixels from the layout's origin."""

    @property
    def x_dbu(self) -> Floats:
        """Places of the samples, (columns,)."""
        return self._list_places(self.pixels.x_min, self.pixels.x_max)

    @property
    def y_dbu(self) -> Floats:
        """Places of the samples, (rows,)."""
        return self._list_places(self.pixels.y_min, self.pixels.y_max)

    def _list_places(self, first: int, end: int) -> Floats:
        return (np.arange(first, end, dtype=np.float64) + 0.5) * self.step_dbu

    @property
    def box(self) -> Box:
        """The box of the pixels, in dbu."""
        return Box(*(side * self.step_dbu for side in self.pixels.as_tuple()))

    def list_chunks(self) -> Iterator[Tile]:
        """Yield the chunks, named by row and column from the lower left one, in pixels."""
        pixels = self.pixels
        for row, y in enumerate(range(pixels.y_min, pixels.y_max, CHUNK_PX)):
            for column, x in enumerate(range(pixels.x_min, pixels.x_max, CHUNK_PX)):
                part = Box(x, y, x + CHUNK_PX, y + CHUNK_PX).intersect(pixels)
                assert part is not None  # it begins inside
                yield Tile(f"r{row}_c{column}", part)


def make_grid(area: Box, step_nm: float | None, dbu_nm: float, process: Process) -> ImageGrid:
    """Return the grid of an area; the pixels at its border hang over it.

    Parameters
    ----------
    step_nm
        Distance of the samples; None for one fine enough for the light.

    Raises
    ------
    UsageError
        When the distance is not a whole number of database units.
    """
    wanted = process.wavelength_nm / process.na / _STEPS if step_nm is None else step_nm
    step = max(1, round(wanted / dbu_nm))
    if step_nm is not None and abs(step * dbu_nm - step_nm) > 1e-6:
        raise UsageError(
            f"--image-step is {step_nm:g} nm; samples lie on whole database units of {dbu_nm:g} "
            f"nm, such as {step * dbu_nm:g} nm"
        )
    low, high = (area.x_min // step, area.y_min // step), (-area.x_max // step, -area.y_max // step)
    return ImageGrid(step, Box(*low, -high[0], -high[1]))


def plan_image(job: Simulation, step_nm: float | None) -> ImageGrid:
    """Return the grid of a region's array.

    Raises
    ------
    UsageError
        When the step is not a whole number of database units, or the array would fill the disk.
    """
    grid = make_grid(job.area, step_nm, open_layout(job.run).dbu_nm, job.process)
    corners = len(job.process.corners)
    each = sum(
        np.dtype(_KINDS[name][1]).itemsize * (corners if _KINDS[name][0] == 3 else 1)
        for name in _list_names(job)
    )
    needed, free = grid.pixels.area * each, shutil.disk_usage(job.run).free
    if needed > free * _MOST_FILLED:
        raise UsageError(
            f"the array of {grid.pixels.width:,} x {grid.pixels.height:,} samples at {corners} "
            f"corners may take {needed / 1e9:.3g} GB; {free / 1e9:.3g} GB are free in {job.run}: "
            "choose a smaller --roi or a larger --image-step"
        )
    return grid


def _list_names(job: Simulation) -> list[str]:
    return [name for name in _KINDS if name != "mask" or job.mask or job.opc != "none"]


def write_image(session: Session, job: Simulation, grid: ImageGrid) -> int:
    """Write the array of a region, what is missing of it; return how many units failed."""
    session.run_once("image_array", partial(_create, job, grid, open_layout(job.run).dbu_nm))
    session.run_units(
        "image", "chunks", grid.list_chunks(), partial(fill_chunk, job=job, grid=grid), name_tile,
        Agreement(partial(measure, job.run, job.process)),
    )  # fmt: skip
    return session.ledger.totals("image").failed


def _create(job: Simulation, grid: ImageGrid, dbu_nm: float) -> Written:
    """Create the arrays, empty, and their coordinates."""
    unfinished = job.run / f".{ARRAY}.tmp"
    shutil.rmtree(unfinished, ignore_errors=True)
    group = zarr.create_group(unfinished, attributes={
        "title": "simulated lithography of a region", "process": job.process.name, "opc": job.opc,
        "dbu_nm": dbu_nm, "step_nm": grid.step_dbu * dbu_nm,
        # What xarray makes coordinates of, beside those that are named like a dimension.
        "coordinates": "x_dbu y_dbu dose defocus_nm",
    })  # fmt: skip
    for name, (dimension, values, unit) in _list_coordinates(job.process, grid, dbu_nm).items():
        array = group.create_array(
            name, shape=(len(values),), dtype=str if unit is None else "f8",
            dimension_names=[dimension], attributes={"units": unit} if unit else {},
        )  # fmt: skip
        array[:] = values
    size = (len(job.process.corners), grid.pixels.height, grid.pixels.width)
    for name in _list_names(job):
        n, kind = _KINDS[name]
        group.create_array(
            name, shape=size[-n:], dtype=kind, chunks=(1, CHUNK_PX, CHUNK_PX)[-n:],
            dimension_names=("corner", "y", "x")[-n:], attributes=_describe(name, job.process),
            fill_value=float("nan") if n == 3 else 0,
        )  # fmt: skip
    shutil.rmtree(job.run / ARRAY, ignore_errors=True)
    os.replace(unfinished, job.run / ARRAY)
    return Written(list_files(job.run, ARRAY))


def _list_coordinates(
    process: Process, grid: ImageGrid, dbu_nm: float
) -> dict[str, tuple[str, npt.NDArray[Any], str | None]]:
    """Return each coordinate's dimension, values and unit; None where the values are names."""
    corners = process.corners
    return {
        "corner": ("corner", np.array([corner.name for corner in corners], object), None),
        "dose": ("corner", np.array([corner.dose for corner in corners]), "1"),
        "defocus_nm": ("corner", np.array([corner.defocus_nm for corner in corners]), "nm"),
        "x": ("x", grid.x_dbu * dbu_nm, "nm"), "x_dbu": ("x", grid.x_dbu, "dbu"),
        "y": ("y", grid.y_dbu * dbu_nm, "nm"), "y_dbu": ("y", grid.y_dbu, "dbu"),
    }  # fmt: skip


def _describe(name: str, process: Process) -> dict[str, Any]:
    """Return the attributes of an array of samples."""
    if name == "intensity":
        return {"long_name": "light in the resist, dose included", "units": "clear field",
                "prints_above": compute_threshold(process)}  # fmt: skip
    if name == "band":
        return {"long_name": "prints at some corners, not at all", "units": "1"}
    shown = "drawn shapes" if name == "target" else "mask"
    return {"long_name": f"{shown}, covered share", "units": "1", "scale_factor": 1 / FULL}


def fill_chunk(chunk: Tile, *, job: Simulation, grid: ImageGrid) -> UnitOutcome:
    """Image a chunk, and write it."""
    started = time.perf_counter()
    part = ImageGrid(grid.step_dbu, chunk.box)
    target, mask = read_geometry(job, part.box)
    dbu_nm = open_layout(job.run).dbu_nm
    light = sample_images(
        target if mask is None else mask, part.x_dbu, part.y_dbu, dbu_nm, job.process,
        job.process.corners,
    )  # fmt: skip
    prints = light > compute_threshold(job.process)
    found: dict[str, npt.NDArray[Any]] = {
        "intensity": light, "band": np.any(prints, axis=0) & ~np.all(prints, axis=0),
        "target": draw_coverage(target, part),
    }  # fmt: skip
    if mask is not None:
        found["mask"] = draw_coverage(make_disjoint(mask), part)
    files = _write_chunk(job.run, chunk, grid, found)
    return UnitOutcome(
        "image", chunk.name, Status.DONE, counts={"samples": chunk.box.area},
        checksum=seal(job.run, files), files=files, seconds=time.perf_counter() - started,
        arithmetic=measure(job.run, job.process),
    )  # fmt: skip


def _write_chunk(
    run: Path, chunk: Tile, grid: ImageGrid, found: dict[str, npt.NDArray[Any]]
) -> tuple[str, ...]:
    """Write a chunk of each array; return the names of the files."""
    box, origin = chunk.box, grid.pixels
    rows = slice(box.y_min - origin.y_min, box.y_max - origin.y_min)
    columns = slice(box.x_min - origin.x_min, box.x_max - origin.x_min)
    shapes = {name: ((ANY,) * _KINDS[name][0], _KINDS[name][1]) for name in found}
    with explain_damage(run / ARRAY, advice="simulate into a new directory"):
        arrays = open_arrays(run / ARRAY, shapes, mode="r+")
        for name, values in found.items():
            arrays[name].with_config({"write_empty_chunks": True})[..., rows, columns] = values
    corners = [f"intensity/c/{corner}" for corner in range(len(found["intensity"]))]
    folders = [*corners, *(f"{name}/c" for name in found if name != "intensity")]
    place = f"{rows.start // CHUNK_PX}/{columns.start // CHUNK_PX}"
    return tuple(f"{ARRAY}/{folder}/{place}" for folder in folders)


def draw_coverage(rects: Int64s, grid: ImageGrid) -> Bytes:
    """Return how much of each pixel disjoint rectangles cover, (rows, columns), 255 for all."""
    size = max(grid.pixels.width, grid.pixels.height)
    left, bottom = (np.array([at]) for at in (grid.box.x_min, grid.box.y_min))
    drawn: Bytes = draw_windows(rects[:, :4], left, bottom, grid.step_dbu, size)
    return drawn[0, : grid.pixels.height, : grid.pixels.width]
