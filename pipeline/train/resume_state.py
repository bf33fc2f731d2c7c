"""The state that a stopped training leaves beside its checkpoint, so that it can be resumed.

in       the state of a network after an epoch
out      a file per network, tied by a digest to the data and settings of the training
promise  an interruption leaves the previous state or the new one; a damaged one is not used
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from pipeline.datasets.store import Dataset
from pipeline.engine.storage.run_directory import write_whole
from stages.errors import RunMismatchError

_DIGEST_BYTES = 32


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
            if dataset.margin is not None:
                sha.update(dataset.margin.tobytes())
    return sha.hexdigest()


def read_state(path: Path, identity: str, log: Callable[[str], None]) -> dict[str, Any]:
    """Return what a stopped training left of a network: its weights when done, else its state.

    Parameters
    ----------
    log
        Told when it is damaged: then the network is trained from its first epoch.

    Raises
    ------
    RunMismatchError
        When it belongs to a training with another identity.
    """
    nothing: dict[str, Any] = {"identity": identity, "weights": None, "history": [], "state": None}
    if not path.exists():
        return nothing
    data = path.read_bytes()
    stored, state = data[:_DIGEST_BYTES], data[_DIGEST_BYTES:]
    if stored != _digest(path, state):
        log(f"{path} is damaged on disk: its network is trained from the first epoch")
        return nothing
    content: dict[str, Any] = torch.load(io.BytesIO(state), weights_only=True)
    if content["identity"] != identity:
        raise RunMismatchError(
            f"{path.parent} was left by a training with other data or settings; remove it to start "
            "over"
        )
    return content


def write_state(path: Path, content: dict[str, Any]) -> None:
    """Write the state of a network; an interruption leaves the previous file or the new one."""
    state = io.BytesIO()
    torch.save(content, state)
    write_whole(path, _digest(path, state.getvalue()) + state.getvalue())


def _digest(path: Path, state: bytes) -> bytes:
    """Return a digest of a state and of whose it is."""
    return hashlib.blake2b(path.name.encode() + b"\0" + state, digest_size=_DIGEST_BYTES).digest()


def discard_state(folder: Path) -> None:
    """Remove the state of all networks, once the checkpoint is written."""
    shutil.rmtree(folder, ignore_errors=True)
