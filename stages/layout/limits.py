"""Limits past which a layout file is refused."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ReadLimits:
    """Limits on the contents of a file, on the layers that are read."""

    extent_mm: float = 100.0
    """Longest side of a shape and of the layout, in mm; a reticle field is 33 mm."""
    unpacked_bytes: int = 64 << 30
    """Largest size after decompression, in bytes."""
    shapes_per_um2: float = 10_000.0
    """Most shapes per square um, arrays flattened, in a placement of over 10 million; vias at the
    pitch of a 7 nm process come to some 800."""


def advise_raising(name: str) -> str:
    """Return how to raise a limit of ``[reader]``; every command that reads a layout can.

    Examples
    --------
    >>> advise_raising("extent_mm")
    'raise it with --reader-extent-mm'
    """
    return f"raise it with --reader-{name.replace('_', '-')}"


MOST_SHAPES_ANYWHERE = 10_000_000
"""A placement of up to this many shapes is accepted at any density."""
DEFAULT_LIMITS = ReadLimits()
