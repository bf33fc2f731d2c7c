"""Refuse a model whose sizes cannot be, or whose weights are not those of its networks.

in: a checkpoint as its file describes it; out: nothing, or an error that names what is wrong
promise: nothing is allocated for what the settings ask
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from stages.detector.models.checkpoint import Checkpoint

MOST_PX = 4096
"""Largest side, in pixels, and number of layers of a picture."""
MOST_NM = 1e6
"""Largest side of a pixel."""


def check_model(model: Checkpoint) -> None:
    """Refuse sizes that cannot be, and weights that are not those of what scores with them.

    Raises
    ------
    ValueError
        The message names the size or weight.
    """
    picture = (model.raster.layers, model.raster.clip_px, model.raster.clip_px)
    if not max(picture) <= MOST_PX or model.raster.pixel_nm > MOST_NM:
        raise ValueError(f"its picture is {model.raster}; the limit is {MOST_PX} pixels")
    if not 0 <= model.threshold <= 1:
        raise ValueError(f"its threshold is {model.threshold}, not from 0 to 1")
    if model.rules and not 0 < model.rules.members <= len(model.weights):
        raise ValueError(f"it has {model.rules.members} members but {len(model.weights)} weights")
    if model.integers is None:
        check_networks(model)
    else:
        model.integer_scorer()
    examples, kind = model.examples, np.dtype(np.uint8)
    if examples is not None and (examples.dtype, examples.shape[1:]) != (kind, picture):
        raise ValueError(f"its examples are {examples.dtype} of {tuple(examples.shape)}")
    familiar = model.familiar
    if familiar is not None and not (
        familiar.vectors.dtype == np.float16
        and familiar.vectors.ndim == 2
        and len(familiar.vectors)
        and np.isfinite(familiar.vectors).all()
        and 0 <= familiar.limit <= 2
    ):
        raise ValueError(f"its vectors are {tuple(familiar.vectors.shape)}, or not finite")


def check_networks(model: Checkpoint) -> None:
    """Refuse weights that are not those of the networks; raises as `check_model`."""
    import torch

    from stages.detector.networks.prefilter_network import PrefilterNetwork

    with torch.device("meta"):  # nothing is allocated for what the settings ask
        networks = [(model.build(), model.weights)]
        if model.prefilter is not None:
            networks.append((PrefilterNetwork(model.prefilter.config), model.prefilter.weights))
    for network, weights in networks:
        expected: Mapping[str, Any] = network.state_dict()
        for name in expected.keys() | weights.keys():
            asked, found = (
                (name_type(each[name]), tuple(each[name].shape)) if name in each else None
                for each in (expected, weights)
            )
            if asked != found:
                raise ValueError(f"weight {name} is {found}, but its settings ask for {asked}")


def name_type(value: Any) -> str:
    """Return the type of an array or tensor as torch calls it, and digests have it."""
    return f"torch.{str(value.dtype).removeprefix('torch.')}"
