"""Aerial images, straight from polygons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, overload

import numpy as np
import numpy.typing as npt

from hotscan.pictures import Picture, PngPicture
from hotscan.settings import PathLike

if TYPE_CHECKING:
    from stages.lithography.process import Corner, Process

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class AerialImage:
    """The light in the resist, and where it prints."""

    intensity: npt.NDArray[np.float32]
    """(rows, columns), the clear field 1, dose included; row 0 at the lowest y."""
    x_nm: Floats
    """(columns,) places of the samples."""
    y_nm: Floats
    """(rows,)"""
    threshold: float
    """What is brighter prints."""

    def _repr_png_(self) -> bytes:
        return bytes(self.picture("png"))

    @overload
    def picture(self, form: Literal["svg"] = "svg") -> Picture: ...

    @overload
    def picture(self, form: Literal["png"]) -> PngPicture: ...

    def picture(self, form: Literal["svg", "png"] = "svg") -> Picture | PngPicture:
        """Return the image as a picture, with the contour of what prints."""
        from stages.exports.figure import draw_light

        drawn = draw_light(self.intensity, self.x_nm, self.y_nm, self.threshold, form)
        return PngPicture(drawn) if form == "png" else Picture(drawn.decode())


def aerial_image(
    polygons: Sequence[npt.ArrayLike],
    process: PathLike = "krf130",
    corner: str | None = None,
    *,
    step_nm: float = 4.0,
    window_nm: Sequence[float] | None = None,
) -> AerialImage:
    """Image polygons of a mask, drawn bright on dark.

    Parameters
    ----------
    polygons
        Each (corners, 2) in nm; they may overlap.
    process
        Shipped process or TOML file.
    corner
        Name of a corner of its process window; nominal focus and dose by default.
    step_nm
        Distance of the samples.
    window_nm
        x0, y0, x1, y1 of the image; by default the box of the polygons, with half a wavelength
        around.

    Raises
    ------
    ConfigError
        When there is no such process or corner, or the window is larger than one optical field.
    """
    from stages.lithography.optics.aerial import image_window
    from stages.lithography.process import load_process

    model = load_process(str(process))
    rings = [np.asarray(ring, np.float64).reshape(-1, 2) for ring in polygons]
    window = _window(rings, model, window_nm)
    intensity, level, x, y = image_window(rings, window, model, _corner(model, corner), step_nm)
    return AerialImage(intensity, x, y, level)


def _window(
    rings: Sequence[Floats], process: Process, window_nm: Sequence[float] | None
) -> tuple[float, float, float, float]:
    from stages.errors import ConfigError

    if window_nm is not None:
        x_0, y_0, x_1, y_1 = (float(value) for value in window_nm)
        return x_0, y_0, x_1, y_1
    if not rings:
        raise ConfigError("no polygon and no window_nm is given; give one of them")
    points, margin = np.concatenate(rings), process.wavelength_nm / 2
    (x_0, y_0), (x_1, y_1) = points.min(axis=0) - margin, points.max(axis=0) + margin
    return float(x_0), float(y_0), float(x_1), float(y_1)


def _corner(process: Process, name: str | None) -> Corner:
    from stages.errors import ConfigError
    from stages.lithography.correction.placement import choose_nominal

    if name is None:
        return choose_nominal(process)
    for corner in process.corners:
        if corner.name == name:
            return corner
    known = ", ".join(corner.name for corner in process.corners)
    raise ConfigError(f"process {process.name} has no corner {name!r}; it has {known}")
