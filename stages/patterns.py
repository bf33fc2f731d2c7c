"""The distinct pictures among the clips: each is judged once, however often it is placed.

in       pictures, or the keys of pictures in scan order
out      canonical pictures and their 16-byte keys; the distinct keys in order of first place
unit     the clips of a tile for keys, all clips for the distinct ones
promise  two clips share a key when their pictures are equal up to the symmetries that the
         process allows, and (but for a collision of BLAKE2b-128, odds below 1e-20 on a full
         chip) only then
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from stages.contracts import Bytes, Int64s
from stages.geometry.symmetry import SYMMETRIES, first_of_twins

KEY_BYTES = 16


def canonical(pictures: Bytes, symmetries: int = 8) -> Bytes:
    """Return each picture turned to the first, in byte order, of its symmetric twins.

    Parameters
    ----------
    pictures : (n, layers, h, w) uint8
        Square pictures.
    symmetries : {8, 4, 1}
        How many symmetries the process allows, see `SYMMETRIES`.
    """
    if symmetries == 1:
        return pictures
    turned: Bytes = first_of_twins(np.ascontiguousarray(pictures), SYMMETRIES[symmetries])
    return turned


def keys_of(pictures: Bytes) -> Bytes:
    """Return the key of each picture, (n, 16) uint8."""
    digests = [hashlib.blake2b(picture, digest_size=KEY_BYTES).digest() for picture in pictures]
    return np.frombuffer(b"".join(digests), np.uint8).reshape(-1, KEY_BYTES)


@dataclass(frozen=True, slots=True)
class Distinct:
    """The distinct keys, in order of the lowest, then leftmost clip that shows each."""

    first: Int64s
    """(p,) that clip."""
    count: Int64s
    """(p,) how many clips show it."""
    pattern: Int64s
    """(n,) index of each clip's pattern."""


def distinct(keys: Bytes, x_dbu: Int64s, y_dbu: Int64s) -> Distinct:
    """Find the distinct rows of ``(n, 16)`` keys of clips centred at `x_dbu`, `y_dbu`.

    The order does not depend on that of the clips, hence not on the tiles they come from.
    """
    place = np.lexsort((x_dbu, y_dbu))
    halves = np.ascontiguousarray(keys).view(np.uint64)[place]  # (n, 2)
    by_key = np.lexsort((halves[:, 1], halves[:, 0]))  # stable: by place within a key
    ordered = halves[by_key]
    starts = np.flatnonzero(np.concatenate(([True], (ordered[1:] != ordered[:-1]).any(axis=1))))
    if not len(keys):
        starts = starts[:0]
    count = np.diff(starts, append=len(keys))
    first = by_key[starts]  # position in place order
    rank = np.argsort(first)
    number = np.empty(len(starts), np.int64)
    number[rank] = np.arange(len(starts))
    pattern = np.empty(len(keys), np.int64)
    pattern[place[by_key]] = np.repeat(number, count)
    return Distinct(place[first[rank]], count[rank], pattern)
