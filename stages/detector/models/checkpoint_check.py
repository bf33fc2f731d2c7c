"""Refuse a model whose sizes cannot be, or whose weights are not those of its networks.

in: parts of a checkpoint as its file describes them
out: nothing, or an error that names what is wrong
promise: nothing is allocated for what the settings ask
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from stages.contracts import Bytes, RasterSpec
from stages.detector.models.familiarity import Familiar
from stages.detector.networks.prefilter import Prefilter
from stages.detector.networks.shapes import Rules

MOST_PX = 4096
"""Largest side, in pixels, and number of layers of a picture."""
MOST_NM = 1e6
"""Largest side of a pixel."""


def check_sizes(raster: RasterSpec, threshold: float, rules: Rules | None, weights: int) -> None:
    """Refuse sizes that cannot be.

    Raises
    ------
    ValueError
        The message names the size.
    """
    if not max(_shape(raster)) <= MOST_PX or raster.pixel_nm > MOST_NM:
        raise ValueError(f"its picture is {raster}; the limit is {MOST_PX} pixels")
    if not 0 <= threshold <= 1:
        raise ValueError(f"its threshold is {threshold}, not from 0 to 1")
    if rules and not 0 < rules.members <= weights:
        raise ValueError(f"it has {rules.members} members but {weights} weights")


def check_optional(raster: RasterSpec, examples: Bytes | None, familiar: Familiar | None) -> None:
    """Refuse examples that are no pictures, and vectors that are none; raises as `check_sizes`."""
    expected = np.dtype(np.uint8), _shape(raster)
    if examples is not None and (examples.dtype, examples.shape[1:]) != expected:
        raise ValueError(f"its examples are {examples.dtype} of {tuple(examples.shape)}")
    if familiar is not None and not (
        familiar.vectors.dtype == np.float16
        and familiar.vectors.ndim == 2
        and len(familiar.vectors)
        and np.isfinite(familiar.vectors).all()
        and 0 <= familiar.limit <= 2
    ):
        raise ValueError(f"its vectors are {tuple(familiar.vectors.shape)}, or not finite")


def _shape(raster: RasterSpec) -> tuple[int, int, int]:
    return raster.layers, raster.clip_px, raster.clip_px


def check_networks(
    build: Callable[[], Any], weights: Mapping[str, Any], prefilter: Prefilter | None
) -> None:
    """Refuse weights that are not those of the networks; raises as `check_sizes`.

    Parameters
    ----------
    build
        Returns the network that `weights` are for.
    """
    import torch

    from stages.detector.networks.prefilter_network import PrefilterNetwork

    with torch.device("meta"):  # nothing is allocated for what the settings ask
        networks = [(build(), weights)]
        if prefilter is not None:
            networks.append((PrefilterNetwork(prefilter.config), prefilter.weights))
    for network, own in networks:
        expected: Mapping[str, Any] = network.state_dict()
        for name in expected.keys() | own.keys():
            asked, found = (
                (name_type(each[name]), tuple(each[name].shape)) if name in each else None
                for each in (expected, own)
            )
            if asked != found:
                raise ValueError(f"weight {name} is {found}, but its settings ask for {asked}")


def name_type(value: Any) -> str:
    """Return the type of an array or tensor as torch calls it, and digests have it."""
    return f"torch.{str(value.dtype).removeprefix('torch.')}"
