"""Masks, processes and an Abbe sum: what the tests of the optics share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from stages.contracts import Box, Floats, Int64s, Layer, PackedLayer
from stages.geometry.union import merge
from stages.geometry.window_query import query
from stages.layout.builder import pack_layout
from stages.lithography.measure.defects import find_defects
from stages.lithography.measure.margins import make_worst
from stages.lithography.measure.sections import Worst
from stages.lithography.optics.fields import compute_halo_nm
from stages.lithography.optics.imaging import compute_image, compute_spectrum, transmit
from stages.lithography.optics.kernels import Field, compute_kernels, make_field, sample_source
from stages.lithography.process import Mask, Process, Source, load_process

Waves = npt.NDArray[np.complex128]
KRF, ARFI = load_process("krf130"), load_process("arfi45")
SHIPPED = [KRF, ARFI]
USUAL = 0.985
"""Energy of a process that does not state one."""
_MAP = np.kron(np.array([[1, 0, 2], [0, 0, 0], [2, 0, 1]]), np.ones((3, 3)))
CIRCULAR = replace(KRF, name="circular", energy=USUAL, source=Source("circular", 0.6))
PHASE_SHIFT = replace(KRF, name="phase shift", mask=Mask(0.06))
QUASAR = replace(KRF, name="quasar", energy=USUAL, source=Source("quasar", 0.85, 0.55, 45, 45))
DIPOLE = replace(KRF, name="dipole", energy=USUAL, source=Source("dipole", 0.85, 0.55, 60, 30))
MAP = replace(
    KRF, name="map", energy=USUAL, source=Source("map", 0.9, map=tuple(map(tuple, _MAP.tolist())))
)
OFF_CENTRE = replace(
    KRF,
    name="off-centre",
    energy=USUAL,
    source=Source("map", 0.8, map=((0.0, 0.0, 0.0), (0.0, 0.0, 0.0), (0.0, 1.0, 0.0))),
)


def make_cell(side: int) -> Worst:
    """Margins of a field of this side, in one cell."""
    return make_worst(side, Box(0, 0, side, side), Box(0, 0, side, side), (0, 0))


def name_of(process: Process) -> str:
    return process.name


def square_of(process: Process, samples: int) -> Field:
    """Field whose side is no whole number of steps: no frequency lies on a pupil's edge."""
    return make_field(process, math.floor(samples * process.wavelength_nm / process.na / 4))


def tracks(
    seed: int, rows: int, columns: int, longest: int = 20, gap: int = 1, ties: float = 0.5
) -> npt.NDArray[np.bool_]:
    """Random wires on every other row, up to `longest` cells, and ties across, `ties` in a row."""
    rng = np.random.default_rng(seed)
    drawn = np.zeros((rows, columns), bool)
    for row in range(0, rows, 2):
        x = 0
        while x < columns:
            length, space = int(rng.integers(3, longest)), int(rng.integers(gap, 6))
            drawn[row, x : x + length] = True
            x += length + space
    for y, x in rng.integers(0, (rows - 3, columns - 3), (int(rows * ties), 2)):
        drawn[y : y + 3, x] = True
    return drawn


def runs_of(drawn: npt.NDArray[np.bool_]) -> Int64s:
    """The cells of each row as disjoint rectangles, in cells."""
    rects = [
        (a, row, b, row + 1)
        for row in range(len(drawn))
        for a, b in np.flatnonzero(np.diff(drawn[row], prepend=False, append=False)).reshape(-1, 2)
    ]
    return np.array(rects, np.int64)


def routed(seed: int, side_nm: float, width_nm: float) -> Floats:
    """Random wires on tracks and ties between them, as disjoint rectangles in nm."""
    n = int(side_nm // width_nm)
    return runs_of(tracks(seed, n, n)) * np.float64(width_nm)


@lru_cache(maxsize=1)
def metal_of(path: Path) -> tuple[Int64s, Box]:
    layout = pack_layout(path, [Layer(68, 20)], None)
    return merge(query(layout.packed[0], layout.extent).rects), layout.extent


def real_clips(
    shared_data: Callable[[str], Path], side_nm: int, count: int = 20, shrunk: float = 1.0
) -> list[Floats]:
    """Squares of a real block's met1 at random places, each with 20 rectangles or more, in nm."""
    metal, extent = metal_of(shared_data("layouts/tt02_jar_pi.gds"))
    rng, side = np.random.default_rng(0), side_nm / shrunk
    clips: list[Floats] = []
    while len(clips) < count:
        x = int(rng.integers(extent.x_min, int(extent.x_max - side)))
        y = int(rng.integers(extent.y_min, int(extent.y_max - side)))
        near = (metal[:, 0] < x + side) & (metal[:, 2] > x)
        near &= (metal[:, 1] < y + side) & (metal[:, 3] > y)
        if near.sum() >= 20:
            clips.append(np.clip(metal[near] - (x, y, x, y), 0, side) * shrunk)
    return clips


def spectra(masks: Sequence[Floats | Int64s], field: Field) -> torch.Tensor:
    rects = np.zeros((len(masks), max(map(len, masks)), 5))
    for row, mask in zip(rects, masks, strict=True):
        row[: len(mask), :4], row[: len(mask), 4] = mask, 1
    return compute_spectrum(torch.from_numpy(rects), field)


def images(
    process: Process, defocus_nm: float, masks: Sequence[Floats | Int64s], field: Field
) -> Floats:
    """Images of disjoint rectangles in nm, (b, n, n)."""
    kernels = compute_kernels(process, defocus_nm, field)
    pictures = compute_image(transmit(spectra(masks, field), process), kernels, field)
    return pictures.numpy().astype(np.float64)


def imaged(
    process: Process,
    defocus_nm: float,
    rects: Floats | Int64s,
    field: Field,
    energy: float | None = None,
) -> Floats:
    asked = process if energy is None else replace(process, energy=energy)
    picture: Floats = images(asked, defocus_nm, [rects], field)[0]
    return picture


def fourier(lo: Floats, hi: Floats, order: Int64s, side_nm: float) -> Waves:
    """Fourier coefficients of intervals, by the integral of exp(-2 pi i k x) itself."""
    k = np.where(order == 0, 1, order)
    ends = [np.exp(-2j * np.pi * np.outer(at, k) / side_nm) for at in (lo, hi)]
    integral = (ends[0] - ends[1]) / (2j * np.pi * k)
    integral[:, order == 0] = ((hi - lo) / side_nm)[:, None]
    return integral


def pupils(process: Process, defocus_nm: float, field: Field) -> tuple[Waves, Floats]:
    """The amplitudes that each source point sees, times the root of its weight.

    (s, n - 1, n - 1); of vector light (6 s, n - 1, n - 1): in x, y and z, of light polarized both
    ways, or (3 s, ...) of polarized light, divided by the root of the clear field.

    The pupil shows each point by the share of its cell that lies inside, of that which is lit.
    Where a frequency meets itself that share counts once, not twice: what that adds is the second
    result.
    """
    order = np.arange(1 - field.pixels // 2, field.pixels // 2) / field.side_nm
    cutoff = process.na / process.wavelength_nm
    medium = process.refractive_index / process.wavelength_nm
    points, weights = sample_source(process.source)
    seen: list[Waves] = []
    missing = np.zeros((field.pixels - 1, field.pixels - 1))
    for (sx, sy), weight in zip(points * cutoff, weights, strict=True):
        fx, fy = np.meshgrid(order + sx, order + sy)
        f_2 = fx**2 + fy**2
        reach = process.source.sigma_out * cutoff / 48
        inside, lit = (
            np.interp(at, [cutoff - reach, cutoff + reach], [1, 0])
            for at in (np.sqrt(f_2), math.hypot(sx, sy))
        )
        inside = np.minimum(inside / max(lit, 0.5), 1)
        path = np.sqrt(np.maximum(medium**2 - f_2, 0)) - medium
        phase = np.exp(2j * np.pi * defocus_nm * path)
        pupil = math.sqrt(weight) * inside * phase
        if process.is_vector:
            radius = math.hypot(sx, sy)
            jones = {
                "unpolarized": [(math.sqrt(0.5), 0.0), (0.0, math.sqrt(0.5))],
                "x": [(1.0, 0.0)],
                "y": [(0.0, 1.0)],
                "te": [(-sy / radius, sx / radius)],
                "tm": [(sx / radius, sy / radius)],
            }[process.source.polarization]
            rays = refract(fx * process.wavelength_nm, fy * process.wavelength_nm, process)
            found = [np.moveaxis(rays @ each, -1, 0) for each in jones]
        else:
            found = [np.ones((1, *fx.shape))]
        seen += [pupil * each for each in found]
        for each in found:
            missing += weight * (inside - inside**2) * np.square(each).sum(axis=0)
    every, middle = np.concatenate(seen), field.pixels // 2 - 1
    clear = (np.abs(every[:, middle, middle]) ** 2).sum() + missing[middle, middle]
    return every / np.sqrt(clear), missing / clear


def refract(x: Floats, y: Floats, process: Process) -> Floats:
    """The matrices (..., 3, 2) from the field on the mask to the field in the resist.

    Ray by ray, with its directions as vectors: index times sine of the angle is (x, y).
    """
    sines = np.minimum(np.hypot(x, y), process.na)
    turn = np.arctan2(y, x)
    across = np.stack([-np.sin(turn), np.cos(turn), 0 * turn], axis=-1)
    outward = np.stack([np.cos(turn), np.sin(turn), 0 * turn], axis=-1)
    liquid, resist = process.refractive_index, process.resist.refractive_index
    one, two = np.arcsin(sines / liquid), np.arcsin(sines / resist)
    ray = np.sin(two)[..., None] * outward + np.cos(two)[..., None] * [0, 0, 1]
    lying = np.cross(across, ray)  # in the plane of incidence, across the ray
    # Fresnel's equations by the angles, and the beam that a lens without losses narrows.
    sum_, apart = np.maximum(one + two, 1e-9), one - two
    entered_s = np.where(
        sines > 1e-6, 2 * np.sin(two) * np.cos(one) / np.sin(sum_), 2 * liquid / (liquid + resist)
    )
    entered_p = entered_s / np.cos(apart)
    narrowed = np.sqrt(np.cos(np.arcsin(sines / 4)) / np.cos(one))
    matrix: Floats = narrowed[..., None, None] * (
        entered_s[..., None, None] * across[..., None] * across[..., None, :2]
        + entered_p[..., None, None] * lying[..., None] * outward[..., None, :2]
    )
    return matrix


def abbe(
    process: Process, defocus_nm: float, masks: Sequence[Floats | Int64s], field: Field
) -> Floats:
    """Sum the coherent images of all source points, in double precision, by definition."""
    n, side_nm = field.pixels, field.side_nm
    order = np.arange(1 - n // 2, n // 2)
    waves = np.stack(
        [
            fourier(rects[:, 1], rects[:, 3], order, side_nm).T
            @ fourier(rects[:, 0], rects[:, 2], order, side_nm)
            for rects in (np.asarray(mask, np.float64) for mask in masks)
        ]
    )
    background = process.mask.amplitude
    waves *= 1 - background
    waves[:, n // 2 - 1, n // 2 - 1] += background
    intensity, spectrum = np.zeros((len(masks), n, n)), np.zeros((len(masks), n, n), complex)
    seen, missing = pupils(process, defocus_nm, field)
    intensity += (np.abs(waves) ** 2 * missing).sum(axis=(1, 2))[:, None, None]
    for pupil in seen:
        # Frequency -(n / 2 - 1) goes where 0 belongs: the wave gets a phase, its intensity not.
        spectrum[:, : n - 1, : n - 1] = waves * pupil
        amplitude = np.fft.ifft2(spectrum, norm="forward")
        intensity += amplitude.real**2 + amplitude.imag**2
    return intensity


def grating(
    process: Process, pitch_nm: float, defocus_nm: float = 0.0, lines: int = 4, duty: float = 0.5
) -> Waves:
    """Image along x of lines and spaces, a line's centre at 0, as Fourier coefficients."""
    field = make_field(process, lines * pitch_nm)
    x = np.arange(lines + 1)[:, None] * pitch_nm + [-duty * pitch_nm / 2, duty * pitch_nm / 2]
    x = np.clip(x, 0, field.side_nm)
    rects = np.stack([x[:, 0], x[:, 0] * 0, x[:, 1], x[:, 0] * 0 + field.side_nm], axis=1)
    picture = imaged(process, defocus_nm, rects, field, 0.99999)
    np.testing.assert_allclose(picture, picture[:1].repeat(len(picture), axis=0), atol=1e-5)
    harmonics: Waves = np.fft.rfft(picture[0], norm="forward")[::lines]
    return harmonics


def interpolated(picture: Floats, times: int) -> Floats:
    """A periodic image on a lattice `times` as fine, by its Fourier series: (..., n, n)."""
    n = picture.shape[-1]
    order = np.arange(1 - n // 2, n // 2)
    harmonics = np.fft.fft2(picture, norm="forward")
    wide = np.zeros((*picture.shape[:-2], times * n, times * n), complex)
    wide[..., order[:, None], order] = harmonics[..., order[:, None], order]
    fine: Floats = np.fft.ifft2(wide, norm="forward").real
    return fine


Places = set[tuple[int, int]]


def judge_clips(
    layer: PackedLayer, places: Iterable[tuple[int, int]], core_dbu: int
) -> tuple[Places, Places]:
    """Return the clips that surely fail in a simulation by fields, and those that surely print.

    A place within 3 % of its limit may fall on either side, as light from afar differs between
    fields and windows. A defect lies where it is worst, and may reach 1.2 um into other clips.
    """
    every = list(places)
    x, y = zip(*every, strict=True)
    area = Box(min(x), min(y), max(x), max(y)).grow(core_dbu)
    halo = round(compute_halo_nm(KRF)) + 1
    target = merge(query(layer, area.grow(halo)).rects)

    def find_near(share: float, reach_dbu: int) -> Places:
        limits = KRF.limits
        scaled = replace(KRF, limits=replace(
            limits, pinch_share=limits.pinch_share * share, space_share=limits.space_share * share,
            epe_nm=limits.epe_nm / share, line_end_epe_nm=limits.line_end_epe_nm / share,
        ))  # fmt: skip
        at = np.array([(d.x_dbu, d.y_dbu) for d in find_defects(target, area, 1.0, scaled)])
        off = np.abs(at[None] - np.array(every)[:, None]).max(axis=2).min(axis=1)
        return {place for place, far in zip(every, off, strict=True) if far < reach_dbu}

    half = core_dbu // 2
    return find_near(0.97, half), set(every) - find_near(1.03, half + 1200)
