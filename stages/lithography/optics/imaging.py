"""Images of masks, on the coarsest grid that holds them exactly.

in       rectangles of square, periodic fields
out      intensity, as a share of the clear field
unit     a batch of fields
promise  the clear field has intensity 1, the dark field 0

An image has no frequency over 2 NA / wavelength, so a step of wavelength / (4 NA) samples it
exactly. The mask is not band-limited: its Fourier coefficients are computed from the rectangles in
closed form, and only those that the pupil passes.
"""

from __future__ import annotations

import math

import torch

from stages.lithography.optics.kernels import Field, Kernels
from stages.lithography.process import Process

_TOGETHER = 16
"""Waves that are transformed in one call: the calls for a small field cost as much as the work."""
_SMALL_PX = 80
"""Fields up to this side are transformed by all their waves at once: they fit into a cache."""


def compute_spectrum(rects: torch.Tensor, field: Field) -> torch.Tensor:
    """Return the Fourier coefficients of a sum of rectangles, exactly.

    Parameters
    ----------
    rects : (b, r, 5) float64
        x_min, y_min, x_max, y_max in nm from the field's corner, and the transmission there:
        1 for disjoint rectangles, -1 for those cut out of others. Pad with zeros.

    Returns
    -------
    (b, 2 band + 1, 2 band + 1) complex64
        Coefficient 0 is the covered share of the field.
    """
    ends = (rects[..., :4] / field.side_nm).to(torch.float32)
    passes = rects[..., 4:].to(torch.float32)
    order = torch.arange(field.band + 1, device=rects.device, dtype=torch.float32)
    low, high = ends[..., :2, None], ends[..., 2:, None]
    length, middle = high - low, (high + low) / 2
    # The coefficients 0..band of the intervals along x and along y, each (b, r, band + 1).
    waves = torch.polar(length * torch.sinc(order * length), -2 * math.pi * order * middle)
    x, y = waves.unbind(2)
    both = torch.cat([x[..., 1:].flip(-1).conj(), x], dim=-1)  # (b, r, 2 band + 1)
    upper = y.transpose(1, 2) @ (both * passes)  # (b, band + 1, 2 band + 1), frequencies y >= 0
    lower = upper[:, 1:].flip(1, 2).conj()  # the mask is real
    return torch.cat([lower, upper], dim=1)


def transmit(spectrum: torch.Tensor, process: Process) -> torch.Tensor:
    """Return the spectrum of the mask from that of its clear shapes, (..., 2 band + 1, same).

    Beside them, a phase-shift mask lets through some light.
    """
    background = process.mask.amplitude
    if not background:
        return spectrum
    mask, band = (1 - background) * spectrum, spectrum.shape[-1] // 2
    mask[..., band, band] += background
    return mask


def compute_image(spectrum: torch.Tensor, optics: Kernels, field: Field) -> torch.Tensor:
    """Return the intensity of a mask, (b, pixels, pixels) float32, row 0 at the field's y = 0."""
    n, device = field.pixels, spectrum.device
    if n <= _SMALL_PX:
        return torch.stack([compute_image_at_once(each, optics, field) for each in spectrum])
    power = spectrum.real.square() + spectrum.imag.square()
    rest = (power * optics.rest.to(device)).sum(dim=(1, 2))
    intensity = rest[:, None, None].repeat(1, n, n)
    for kernels in torch.split(optics.waves.to(device), _TOGETHER):
        # Frequency -band is put in the place of 0: that gives the wave a phase, not an intensity.
        waves = torch.fft.ifft2(spectrum[:, None] * kernels, s=(n, n), norm="forward")
        for real, imag in zip(waves.real.unbind(1), waves.imag.unbind(1), strict=True):
            intensity.addcmul_(real, real).addcmul_(imag, imag)
    return intensity


def compute_image_at_once(spectrum: torch.Tensor, optics: Kernels, field: Field) -> torch.Tensor:
    """Return the image of one field, (pixels, pixels), by all kernels at once; it can be derived.

    Faster than waves by turns for few kernels or a small field; takes more memory.
    """
    n, device = field.pixels, spectrum.device
    power = spectrum.real.square() + spectrum.imag.square()
    rest = (power * optics.rest.to(device)).sum()
    waves = torch.fft.ifft2(spectrum * optics.waves.to(device), s=(n, n), norm="forward")
    squares = torch.view_as_real(waves).square().sum(0)
    intensity: torch.Tensor = squares[..., 0] + squares[..., 1] + rest
    return intensity
