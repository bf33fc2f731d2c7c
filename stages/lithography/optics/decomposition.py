"""Sums of coherent systems (SOCS): the strongest kernels of a TCC.

in       A, the rows that a TCC = A^H A is made of, by the symmetries that they share
out      waves, and the diagonal of what they leave

The eigenvectors of the Gram matrix A A^H, which is small, give the kernels. Points of a source that
is even in x and in y see the same pupil but for mirrors. Of such twins, sums with different signs
are orthogonal: each of these parts has a Gram matrix of its own.

N. Cobb, PhD thesis, University of California, Berkeley (1998).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy

from stages.contracts import Float32s, Floats

Complexes = npt.NDArray[np.complex64]
Rows = npt.NDArray[Any]
"""complex64, or float32 where they are real"""

_MANY = 1000
"""Of more rows than these only the strongest kernels are computed."""


def select_waves(
    rows: Rows, whole: Floats, twins: int, energy: float
) -> tuple[Complexes, Float32s]:
    """Return the fewest kernels that carry a share of the light, and what they leave.

    Parameters
    ----------
    rows : (r, n, n)
        Of A, of the first of their twins.
    whole : (n, n)
        Diagonal of the TCC.
    twins : {1, 2, 4}
        How many rows each stands for, see `add_twins`.

    Returns
    -------
    waves : (k, n, n) complex64
        Two kernels in each where the TCC and the mask are real.
    rest : (n, n) float32
        Diagonal of the TCC less that of the kernels.
    """
    total, parts = whole.sum(), range(twins)
    # What is weaker than this cannot add up to the energy that may be left out.
    least = (1 - energy) * total / (len(rows) * twins)
    found = [_find_strongest(_combine_twins(rows, part, twins), least, twins) for part in parts]
    every = np.concatenate([values for values, _ in found])
    order = np.argsort(-every, kind="stable")
    share = np.cumsum(every[order]) / total
    count = min(1 + int(np.searchsorted(share, energy)), len(every))
    while count < len(every) and every[order[count]] > 0.999 * every[order[count - 1]]:
        count += 1  # kernels of equal weight are rotations of one another: keep the symmetry
    least = every[order[count - 1]]
    strong = []
    for part, (values, vectors) in enumerate(found):
        mixed = vectors[:, : int((values >= least).sum())].conj().T.astype(rows.dtype)
        combined = _combine_twins(rows, part, twins)
        strong.append((mixed @ combined.reshape(len(rows), -1)).reshape(-1, *whole.shape))
    rest = whole - sum((np.abs(wave) ** 2).sum(axis=0) for wave in strong)
    waves = np.concatenate(strong).astype(np.complex64)
    if twins > 1 and not rows.imag.any():
        # Even kernels of a real TCC make real images of a real mask, odd ones imaginary: two of
        # them, as real and imaginary part, cost one transform.
        odd = np.repeat([_is_odd(part) for part in parts], [len(wave) for wave in strong])
        waves[odd] *= 1j
        waves = np.concatenate([waves, np.zeros_like(waves[: len(waves) % 2])])
        waves = waves[0::2] + 1j * waves[1::2]
    return waves, np.maximum(rest, 0).astype(np.float32)


def find_first_of_twins(points: Floats, twins: int) -> npt.NDArray[np.bool_]:
    """Return which points are the first of their twins; no point lies on an axis."""
    first: npt.NDArray[np.bool_] = (points[:, 1] < 0) | (twins < 2)
    return first & ((points[:, 0] < 0) | (twins < 4))


def _is_odd(part: int) -> bool:
    """Return whether a part of `_combine_twins` changes its sign when it is turned by half."""
    return part % 2 == 1


def add_twins(rows: Rows, part: int, twins: int) -> Rows:
    """Add rows and what their twins see, with the signs of a part."""
    total = rows.copy()
    # Of twins in x and y: even in both, odd in x, odd in both, odd in y: even and odd by turns.
    odd_x, odd_y = part in (1, 2), part in (2, 3)
    if twins > 1:
        flipped = rows[:, ::-1, ::-1]
        (np.subtract if odd_x != odd_y else np.add)(total, flipped, out=total)
    if twins > 2:
        (np.subtract if odd_x else np.add)(total, rows[:, :, ::-1], out=total)
        (np.subtract if odd_y else np.add)(total, rows[:, ::-1], out=total)
    return total


def _combine_twins(rows: Rows, part: int, twins: int) -> Rows:
    """Return one of as many parts as there are twins, which are orthogonal and share the TCC."""
    total = add_twins(rows, part, twins)
    total /= math.sqrt(twins)
    return total


def _find_strongest(rows: Rows, least: float, twins: int) -> tuple[Floats, Rows]:
    """Return the largest weights of kernels of A^H A, and the mixtures of rows that they are of.

    Of large problems only those over `least`.
    """
    if twins == 4:  # a quarter of the frequencies shows all: those on the axes count half
        middle = rows.shape[1] // 2
        rows = 2 * rows[:, middle:, middle:]
        rows[:, 0] /= math.sqrt(2)
        rows[:, :, 0] /= math.sqrt(2)
    flat = rows.reshape(len(rows), -1)
    if 2 * flat.shape[1] < len(flat):  # few frequencies: the TCC itself is the smaller matrix
        tcc = _drop_zeros(flat.conj().T @ flat)
        values, waves = scipy.linalg.eigh(tcc, subset_by_value=(least, np.inf), driver="evr")
        mixtures = flat @ (waves / np.sqrt(values))
    elif len(flat) > _MANY:
        gram = _drop_zeros(flat @ flat.conj().T)
        values, mixtures = scipy.linalg.eigh(gram, subset_by_value=(least, np.inf), driver="evr")
    else:
        values, mixtures = np.linalg.eigh(_drop_zeros(flat @ flat.conj().T))
    return np.maximum(values[::-1], 0).astype(np.float64), mixtures[:, ::-1]


def _drop_zeros(matrix: Rows) -> Rows:
    """Return a matrix as a real one, where it is."""
    return matrix if matrix.imag.any() else np.ascontiguousarray(matrix.real)
