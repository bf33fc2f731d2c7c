"""Kernels kept on disk, so that they are made once per machine and not once per process.

in: what the kernels depend on, and how to make them; out: the arrays.
promise: a file appears whole or not at all; one that cannot be read or written is done without.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt

from stages.compiled import user_cache

Arrays = Mapping[str, npt.NDArray[Any]]


def kept(depends_on: object, make: Callable[[], Arrays]) -> Arrays:
    """Return the arrays of `make`, from disk where they were made before.

    Parameters
    ----------
    depends_on : plain values
        Everything that the arrays depend on, the version of the code that makes them included.
    """
    text = json.dumps(depends_on, sort_keys=True).encode()
    path = user_cache() / f"kernels-{hashlib.blake2b(text, digest_size=16).hexdigest()}.npz"
    try:
        with path.open("rb") as stream, np.load(stream) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile):
        pass  # not there, or damaged: zipfile calls some damage encryption, a RuntimeError
    arrays = make()
    unfinished = path.with_name(f".{path.stem}.{os.getpid()}.npz")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(unfinished, allow_pickle=False, **arrays)
        os.replace(unfinished, path)
    except OSError:
        with suppress(OSError):
            unfinished.unlink()
    return arrays
