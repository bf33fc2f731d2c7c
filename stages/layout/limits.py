"""What a layout may ask of its reader before it is refused."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ReadLimits:
    """Bounds on what a file may hold; all hold for the layers that are read."""

    extent_mm: float = 100.0
    """Longest side of a shape and of the layout, in mm; a reticle field has 33."""
    unpacked_bytes: int = 64 << 30
    """Largest size after decompression, in bytes."""
    shapes_per_um2: float = 10_000.0
    """Most shapes per square um, arrays written out, of what places over 10 million; vias at the
    pitch of a 7 nm process are some 800."""


MOST_SHAPES_ANYWHERE = 10_000_000
"""So many shapes are placed however dense they are."""
DEFAULT_LIMITS = ReadLimits()
