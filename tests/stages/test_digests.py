from __future__ import annotations

import hashlib

import numpy as np
import pytest

from stages.digests import LANES, compute_digests


@pytest.mark.parametrize("length", [0, 1, 16, 127, 128, 129, 4096])
@pytest.mark.parametrize("texts", [0, 1, LANES, 2 * LANES + 3])
def test_digests_are_those_of_the_standard_library(texts: int, length: int) -> None:
    random = np.random.default_rng(length).integers(0, 256, (texts, length), np.uint8)
    for size in (16, 64):
        wanted = [hashlib.blake2b(text.tobytes(), digest_size=size).digest() for text in random]
        assert compute_digests(random, size).tobytes() == b"".join(wanted)
