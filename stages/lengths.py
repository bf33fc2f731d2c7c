"""Lengths in database units, and in um.

in       lengths in dbu, the size of one in nm
out      lengths in um
promise  each is rounded alike, whether alone or among many
"""

from __future__ import annotations

import numpy as np

from stages.contracts import Floats, Int64s


def to_um(value_dbu: float, dbu_nm: float) -> float:
    """Return a length in um, rounded to 1e-6 nm to drop the noise of binary fractions."""
    return round(value_dbu * dbu_nm / 1000, 9)


def to_um_each(values_dbu: Int64s | Floats, dbu_nm: float) -> Floats:
    """Return `to_um` of each of many lengths.

    Examples
    --------
    >>> to_um_each(np.array([1, -3]), 0.35).tolist()
    [0.00035, -0.00105]
    """
    um: Floats = values_dbu * dbu_nm / 1000
    scaled = um * 1e9
    rounded: Floats = np.rint(scaled) / 1e9
    # The product is exact but for its last bit: that decides what is in the middle of two.
    unsure = np.abs(np.abs(scaled) % 1 - 0.5) <= np.spacing(np.abs(scaled))
    rounded[unsure] = [round(value, 9) for value in um[unsure].tolist()]
    return rounded
