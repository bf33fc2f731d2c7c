"""What a stopped training leaves beside its checkpoint, so that it goes on where it was."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from pipeline.datasets.store import Dataset
from stages.errors import RunMismatchError


def identity(datasets: Sequence[Dataset], settings: list[Any]) -> str:
    """Return a digest of everything that a training depends on."""
    sha = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for dataset in datasets:
        sha.update(dataset.key.tobytes() + dataset.pattern.tobytes() + dataset.label.tobytes())
    return sha.hexdigest()


def read_state(path: Path, digest: str) -> dict[str, Any]:
    """Return what a stopped training left of a network: its weights when done, else its state.

    Raises
    ------
    RunMismatchError
        When it was on what has another digest.
    """
    if not path.exists():
        return {"identity": digest, "weights": None, "history": [], "state": None}
    kept: dict[str, Any] = torch.load(path, weights_only=True)
    if kept["identity"] != digest:
        raise RunMismatchError(
            f"{path.parent} was left by a training on other data or settings; remove it to start "
            "anew"
        )
    return kept


def write_state(path: Path, content: dict[str, Any]) -> None:
    """Keep what a training has come to; a kill leaves the old or the new."""
    path.parent.mkdir(exist_ok=True)
    part = path.with_name(path.name + ".part")
    torch.save(content, part)
    os.replace(part, path)
