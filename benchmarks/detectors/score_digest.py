"""The digest of all that scoring gives, to compare between processors.

python -m benchmarks.detectors.score_digest MODEL PICTURES [KIND ...]

PICTURES is an array in a .npy file, KIND ``int8`` or ``float32``. Scores in integers are computed
without torch, which an emulated processor takes a minute to import.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stages.contracts import Bytes
from stages.detector.models import checkpoint

if TYPE_CHECKING:
    from stages.scores import ModelScorer

KINDS = ("float32", "int8")
BATCH = 64


def main() -> None:
    """Print a digest for each kind."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("kinds", nargs="*", choices=[*KINDS, []], default=[])
    asked = parser.parse_args()
    model, pictures = checkpoint.load(asked.model), np.load(asked.pictures)
    print(*(digest_scores(load_scorer(model, kind), pictures) for kind in asked.kinds or KINDS))


def load_scorer(model: checkpoint.Checkpoint, kind: str) -> ModelScorer:
    """Return what scores in integers or in float32."""
    if kind == "int8":
        return model.integer_scorer()
    from stages.scores import build_scorer

    return build_scorer(model, arithmetic=kind)


def digest_scores(scorer: ModelScorer, pictures: Bytes) -> str:
    """Return a digest of scores, embeddings and margins, and of the prefilter's scores.

    Parameters
    ----------
    pictures
        As many as whole batches have.
    """
    digest = hashlib.blake2b(digest_size=8)
    for batch in np.split(pictures, len(pictures) // BATCH):
        for found in scorer.score_batch(batch):
            digest.update(found.tobytes())
        if scorer.reject_below:
            digest.update(scorer.prefilter_batch(batch).tobytes())
    return digest.hexdigest()


if __name__ == "__main__":
    main()
