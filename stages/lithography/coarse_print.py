"""A coarse print of a clip's picture: how near to failing it is, in a tenth of a simulation's time.

in       pictures of clips, a process
out      a few margins of each, in shares of the process's limits
unit     a batch of pictures
promise  the margins of a picture depend on it and the process alone

The picture itself is imaged, at the focus furthest off and by the strongest kernels only, and
printed widths and spaces are measured along its rows and columns. No mask is corrected, the picture
ends where the simulation's window does not, and pixels are coarser than its samples: the margins
rank clips and say nothing sure of any. Line ends are seen where their sides lie on borders of
pixels, or nearly.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from stages.compiled import kernel
from stages.contracts import Bytes, Float32s, Floats, RasterSpec
from stages.errors import ConfigError
from stages.lithography.optics.kernels import compute_kernels, make_field, select_strongest
from stages.lithography.optics.resist import compute_threshold
from stages.lithography.process import Process
from stages.threads import limit_threads

MARGINS = ("pinch", "space", "line_end", "line_end_grown", "narrow_pinch", "narrow_space")
"""Columns of the result: the first two over all widths and spaces up to `REACH` times the least,
the last two up to `NARROW` times."""
ENERGY = 0.9
"""Share of the light that the kernels carry."""
REACH, NARROW = 2.5, 1.3
FREE, FAR = 1.6, -4.0
"""Margins where there is nothing to measure: no width, no line end."""
STRAIGHT = 3
"""Rows either way in which a width must go on."""
ALIKE = 0.1
"""Furthest that coverage may differ where an edge goes on."""


@dataclass(frozen=True, slots=True, eq=False)
class Optics:
    """What pictures of one size are imaged and measured with."""

    waves: torch.Tensor
    """(k, px, px) complex64 in the order of `fft2`, divided by the spectrum of a pixel."""
    rest: torch.Tensor
    """(px, px) float32 of the light that they leave out."""
    levels: tuple[float, float]
    """Intensity above which the resist prints at the least and at the highest dose."""
    core: tuple[int, int]
    """First pixel of the core, and the one after its last."""
    wide_px: tuple[float, float, float, float]
    """Widths up to which each of pinch, space, narrow pinch and narrow space is measured."""
    end_px: int
    """Longest line end, in rows."""


@lru_cache(maxsize=4)
def make_optics(process: Process, spec: RasterSpec) -> Optics:
    """Return the optics for pictures of a raster.

    Raises
    ------
    ConfigError
        When the kernels of the process come from a file, which is for fields of one size.
    """
    if process.kernels is not None:
        raise ConfigError(
            f"process {process.name} takes its kernels from a file, so pictures of clips cannot be "
            "imaged; give a model to start from with --model"
        )
    px = spec.clip_px
    field = make_field(process, px * spec.pixel_nm)
    defocus_nm = max(abs(corner.defocus_nm) for corner in process.corners)
    strong = select_strongest(compute_kernels(process, defocus_nm, field), ENERGY)
    order = torch.arange(-field.band, field.band + 1)
    at = order % px
    pixel = torch.sinc(order / px)
    waves = torch.zeros(len(strong.waves), px, px, dtype=torch.complex64)
    waves[:, at[:, None], at] = strong.waves / (pixel[:, None] * pixel)
    rest = torch.zeros(px, px)
    rest[at[:, None], at] = strong.rest
    doses = [corner.dose for corner in process.corners]
    level, edge = compute_threshold(process), (px - spec.core_px) // 2
    width_px, space_px = (
        least / spec.pixel_nm for least in (process.min_width_nm, process.min_space_nm)
    )
    return Optics(
        waves, rest, (level / min(doses), level / max(doses)), (edge, edge + spec.core_px),
        (REACH * width_px, REACH * space_px, NARROW * width_px, NARROW * space_px),
        round(process.sampling.line_end_nm / spec.pixel_nm) + 1,
    )  # fmt: skip


def measure_pictures(pictures: Bytes, optics: Optics) -> Float32s:
    """Return the margins of pictures, (n, len(MARGINS)).

    Widths and spaces are printed as a share of drawn; negative is the light that is missing. Line
    ends are drawn less printed, in pixels.

    Parameters
    ----------
    pictures
        (n, layers, px, px) coverage, 0 to 255; the first layer prints.
    """
    drawn = pictures[:, 0].astype(np.float32) / np.float32(255)
    with torch.inference_mode(), limit_threads(1):
        image = _compute_image(torch.from_numpy(drawn), optics).numpy()
    found = np.empty((len(drawn), len(MARGINS)), np.float32)
    widest = np.array(optics.wide_px)
    _measure(drawn, image, np.array(optics.levels), np.array(optics.core), widest, optics.end_px,
             found)  # fmt: skip
    return found


def _compute_image(drawn: torch.Tensor, optics: Optics) -> torch.Tensor:
    spectrum = torch.fft.fft2(drawn, norm="forward")
    power = spectrum.real.square() + spectrum.imag.square()
    lit = (power * optics.rest).sum((1, 2))[:, None, None]
    image: torch.Tensor = lit.repeat(1, *drawn.shape[1:])
    for wave in optics.waves:
        light = torch.fft.ifft2(spectrum * wave, norm="forward")
        image.addcmul_(light.real, light.real).addcmul_(light.imag, light.imag)
    return image


@kernel
def _measure(
    drawn: Float32s, image: Float32s, levels: Floats, core: np.ndarray, widest: Floats, end: int,
    found: Float32s,
) -> None:  # fmt: skip
    for n in range(drawn.shape[0]):
        found[n, 0] = found[n, 1] = found[n, 4] = found[n, 5] = FREE
        found[n, 2] = found[n, 3] = FAR
        for turned in range(2):
            cover, light = drawn[n], image[n]
            if turned:
                cover, light = cover.T.copy(), light.T.copy()
            for row in range(core[0], core[1]):
                _measure_row(cover, light, row, levels, core, widest, end, found[n])


@kernel
def _measure_row(
    cover: Float32s, light: Float32s, row: int, levels: Floats, core: np.ndarray, widest: Floats,
    end: int, found: Float32s,
) -> None:  # fmt: skip
    """Measure what one row crosses: between each two edges, and the line ends."""
    before, was = -1, 0.0
    for i in range(1, cover.shape[0]):
        rises = cover[row, i - 1] < 0.5
        if rises != (cover[row, i] >= 0.5):
            continue
        # The edge of a straight shape lies where its two partly covered pixels say.
        grey = cover[row, i - 1] + cover[row, i]
        edge = i + 1 - grey if rises else i - 1 + grey
        _measure_end(cover, light, row, i, edge, rises, levels, core, end, found)
        width, middle = edge - was, (edge + was) / 2
        metal = 0 if not rises else 1
        if (
            before >= 0 and width <= widest[metal] and core[0] <= middle < core[1]
            and _goes_on(cover, row, before, i, metal)
        ):  # fmt: skip
            share = _measure_extent(light[row], was, edge, levels[metal], 1 - 2 * metal)
            share = share / width if share > 0 else share
            found[metal] = min(found[metal], share)
            if width <= widest[2 + metal]:
                found[4 + metal] = min(found[4 + metal], share)
        before, was = i, edge


@kernel
def _goes_on(cover: Float32s, row: int, first: int, last: int, space: int) -> bool:
    """Return whether a metal, or a space, goes on in the rows around."""
    if row < STRAIGHT or row + STRAIGHT >= cover.shape[0]:
        return False
    sign = 1 - 2 * space
    for other in range(row - STRAIGHT, row + STRAIGHT + 1):
        for i in range(first - 1, last + 1):
            if sign * (cover[row, i] - cover[other, i]) > ALIKE:
                return False
    return True


@kernel
def _measure_extent(line: Float32s, low: float, high: float, level: float, sign: int) -> float:
    """Return the printed extent of [low, high), in pixels; the missing light if none prints."""
    size = len(line)
    first, last = max(int(np.ceil(low - 0.5)), 0), min(int(np.floor(high - 0.5)), size - 1)
    best, at = -np.inf, first
    for i in range(first, last + 1):
        height = sign * (line[i] - level)
        if height > best:
            best, at = height, i
    if best <= 0 or at == 0 or at == size - 1:
        return min(best, 0.0)
    i = at
    while i > 0 and i > low - 4 and sign * (line[i] - level) > 0:
        i -= 1
    left = i + 0.5 + (level - line[i]) / (line[i + 1] - line[i])
    i = at
    while i < size - 1 and i < high + 4 and sign * (line[i] - level) > 0:
        i += 1
    right = i - 0.5 + (level - line[i - 1]) / (line[i] - line[i - 1])
    extent: float = min(right, high + 4) - max(left, low - 4)
    return extent


@kernel
def _measure_end(
    cover: Float32s, light: Float32s, row: int, i: int, edge: float, rises: bool, levels: Floats,
    core: np.ndarray, end: int, found: Float32s,
) -> None:  # fmt: skip
    """Measure how far an edge is off, in the middle row of a line end."""
    if not core[0] <= edge < core[1]:
        return
    size = cover.shape[0]
    inner = i if rises else i - 1
    up = down = 1
    while up < end and row + up < size and _is_alike(cover, row, row + up, i):
        up += 1
    while down < end and row - down >= 0 and _is_alike(cover, row, row - down, i):
        down += 1
    if up + down - 1 > end or abs(up - down) > 1 or row + up >= size or row - down < 0:
        return
    if cover[row + up, inner] >= 0.5 or cover[row - down, inner] >= 0.5:
        return
    inward = 1 if rises else -1
    for k in range(2):
        off = _find_contour(light[row], edge, inward, levels[k])
        found[2 + k] = max(found[2 + k], off if k == 0 else -off)


@kernel
def _is_alike(cover: Float32s, row: int, other: int, i: int) -> bool:
    near = abs(cover[row, i - 1] - cover[other, i - 1]) <= ALIKE
    alike: bool = near and abs(cover[row, i] - cover[other, i]) <= ALIKE
    return alike


@kernel
def _find_contour(line: Float32s, edge: float, inward: int, level: float) -> float:
    """Return how far inside an edge the print ends, in pixels; from 5 inside to 4 outside."""
    before = np.inf
    for step in range(37):
        inside = 5.0 - step / 4
        at = edge + inward * inside - 0.5
        i = int(np.floor(at))
        if i < 0 or i + 1 >= len(line):
            continue
        here = line[i] + (line[i + 1] - line[i]) * (at - i)
        if here < level:
            return inside if before >= level else 5.0
        before = here
    return FAR
