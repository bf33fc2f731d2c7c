"""What features of a network are over pictures: ranges, and how the inputs of layers correlate.

in: a network prepared for inference, pictures · out: `Observed`
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stages.contracts import Bytes, Floats
from stages.detector.networks.attention import ChannelSpatial
from stages.detector.networks.detector import Detector
from stages.detector.networks.network import Convolution, Network
from stages.threads import limit_threads

AT_ONCE = 64
CORRELATED = 256
"""Pictures, of all parts of those given, whose inputs of layers are correlated."""
FIRST_BLOCK = "input of fine.0"
"""Name of what the first block is given: the stem's features and the place."""


@dataclass(frozen=True, slots=True)
class Observed:
    """Ranges and correlations, by name of a layer."""

    ranges: dict[str, Floats] = field(default_factory=dict)
    """(2, c) least and largest value of each channel that it gives."""
    products: dict[str, Floats] = field(default_factory=dict)
    """(k + 1, k + 1) sums, over places, of products of its k inputs and a constant 1."""

    def see_range(self, name: str, features: Tensor) -> None:
        """Take in features (n, c, h, w)."""
        least, largest = features.amin((0, 2, 3)), features.amax((0, 2, 3))
        found = torch.stack([least, largest]).double().numpy()
        before = self.ranges.get(name, found)
        self.ranges[name] = np.stack(
            [np.minimum(before[0], found[0]), np.maximum(before[1], found[1])]
        )

    def see_inputs(self, name: str, layer: nn.Conv2d, features: Tensor) -> None:
        """Take in what a convolution is given, (n, c, h, w)."""
        kernel, padding, stride = layer.kernel_size, layer.padding, layer.stride
        assert not isinstance(padding, str)  # ours are numbers
        seen = F.unfold(features, kernel, padding=padding, stride=stride)  # (n, k, places)
        rows = F.pad(seen.transpose(1, 2).flatten(0, 1), (0, 1), value=1.0)  # (n places, k + 1)
        found = (rows.T @ rows).double().numpy()
        self.products[name] = self.products.get(name, 0.0) + found


def observe(network: Network, pictures: Bytes) -> Observed:
    """Run a network over pictures (n, layers, h, w)."""
    observed = Observed()
    correlated = [False]

    def see(name: str, module: nn.Module, given: tuple[Tensor, ...], features: Tensor) -> None:
        observed.see_range(name, features)
        if correlated[0] and isinstance(module, Convolution):
            observed.see_inputs(name, module.conv, given[0])

    handles = [
        module.register_forward_hook(
            lambda module, given, out, name=name: see(name, module, given, out)
        )
        for name, module in network.named_modules()
        if isinstance(module, Convolution | ChannelSpatial)
    ]
    if isinstance(network, Detector):
        handles.append(
            network.fine[0].register_forward_pre_hook(
                lambda _, given: observed.see_range(FIRST_BLOCK, given[0])
            )
        )
    every = max(len(pictures) // CORRELATED, 1)
    with torch.inference_mode(), limit_threads(1):
        for some, correlated[0] in ((pictures[::every], True), (pictures, False)):
            for start in range(0, len(some), AT_ONCE):
                batch = np.ascontiguousarray(some[start : start + AT_ONCE])
                network(torch.from_numpy(batch).float() / 255)
    for handle in handles:
        handle.remove()
    return observed
