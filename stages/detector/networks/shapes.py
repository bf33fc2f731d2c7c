"""The shapes of the networks, as plain values: what a model file says of them.

in: JSON values; out: configs, rules
unit: a network; sizes in pixels where they end in ``_px``
Importing torch takes longer than a small scan, and scoring in integers needs none of it: nothing
here imports it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

SCALE = 8
"""Pixels per place of the final feature map."""

DISTINCT = 0.01
"""Difference of a channel's means, in the mean over all channels, that is as good as none."""


class Shape(Protocol):
    """What the configs of all detectors have in common."""

    @property
    def layers(self) -> int:
        """Channels of the picture."""

    @property
    def embedding(self) -> int:
        """Length of the embedding."""


@dataclass(frozen=True, slots=True)
class DetectorConfig:
    """The shape of a detector."""

    layers: int = 1
    """Channels of the picture."""
    core_px: int = 0
    """Side of the core, whose features are pooled separately; 0 pools the whole clip only."""
    centres_px: tuple[int, ...] = ()
    """Sides of squares in the middle of the core that are also pooled separately: for clips that
    are centred on their hotspot."""
    stem: int = 48
    """Channels after the stem."""
    fine: tuple[int, ...] = (48,)
    """Channels of the inception blocks at 1/4 of the picture's resolution; multiples of 8."""
    coarse: tuple[int, ...] = (64, 64)
    """Channels of the inception blocks at 1/8 of the picture's resolution; multiples of 8."""
    embedding: int = 64
    """Length of the embedding."""
    attention: str = "channel_spatial"
    """One of `stages.detector.networks.attention.NAMES`; it follows each block, or one."""
    inception: bool = True
    """Whether blocks have four branches, or one 3 x 3 convolution."""
    kinds: tuple[str, ...] = ()
    """Kinds of defects whose margins are predicted beside the verdict."""


@dataclass(frozen=True, slots=True)
class PrefilterConfig:
    """The shape of a prefilter, `stages.detector.networks.prefilter`."""

    layers: int = 1
    core_px: int = 0
    """Side of the core, whose features are pooled separately; 0 pools the whole clip only."""
    width: int = 32
    """Channels."""
    stem_px: int = 12
    """Kernel of the stem, whose stride is 8 pixels."""

    @property
    def embedding(self) -> int:
        """Length of the embedding."""
        return self.width


@dataclass(frozen=True, slots=True)
class Rules:
    """How the members of a committee are combined."""

    members: int = 1
    symmetries: int = 8
    """Equivalent orientations of a clip: 8, or 4 where x and y differ."""
    ensemble_from: float = math.inf
    """Log odds of a single pass, before calibration, from which the ensemble decides."""
    scale: float = 1.0
    shift: float = 0.0
    """Calibrated log odds are ``scale * x + shift`` (J. Platt, 1999)."""


def read_shape(config: type[Any], values: dict[str, Any]) -> Shape:
    """Return a config from JSON values, in which tuples have become lists."""
    tuples = {key: tuple(value) for key, value in values.items() if isinstance(value, list)}
    shape: Shape = config(**(values | tuples))
    return shape


def inner_places(places: int, side_px: int) -> slice:
    """Return the places of a row of features that a centred square overlaps.

    Examples
    --------
    >>> inner_places(8, 32), inner_places(11, 40), inner_places(8, 30)
    (slice(2, 6, None), slice(3, 8, None), slice(2, 6, None))
    """
    margin = max(places * SCALE - side_px, 0) // (2 * SCALE)
    return slice(margin, places - margin)
