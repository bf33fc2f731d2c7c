"""The state that a stopped training leaves beside its checkpoint, so that it can be resumed.

in       the state of a network after an epoch
out      a file per network, tied by a digest to the data and settings of the training
promise  an interruption leaves the previous state or the new one
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from pipeline.datasets.store import Dataset
from stages.errors import RunMismatchError


def compute_identity(
    training: Sequence[Dataset], validation: Sequence[Dataset], settings: list[Any]
) -> str:
    """Return a digest of everything that a training depends on.

    The digest also tells the same data divided differently into training and validation apart.
    """
    sha = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for purpose, datasets in ((b"training", training), (b"validation", validation)):
        sha.update(purpose)
        for dataset in datasets:
            sha.update(dataset.key.tobytes() + dataset.pattern.tobytes() + dataset.label.tobytes())
    return sha.hexdigest()


def read_state(path: Path, identity: str) -> dict[str, Any]:
    """Return what a stopped training left of a network: its weights when done, else its state.

    Raises
    ------
    RunMismatchError
        When it belongs to a training with another identity.
    """
    if not path.exists():
        return {"identity": identity, "weights": None, "history": [], "state": None}
    content: dict[str, Any] = torch.load(path, weights_only=True)
    if content["identity"] != identity:
        raise RunMismatchError(
            f"{path.parent} was left by a training with other data or settings; remove it to start "
            "over"
        )
    return content


def write_state(path: Path, content: dict[str, Any]) -> None:
    """Write the state of a network; an interruption leaves the previous file or the new one."""
    path.parent.mkdir(exist_ok=True)
    part = path.with_name(path.name + ".part")
    torch.save(content, part)
    os.replace(part, path)


def discard_state(folder: Path) -> None:
    """Remove the state of all networks, once the checkpoint is written."""
    shutil.rmtree(folder, ignore_errors=True)
