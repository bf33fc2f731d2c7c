"""A cache of kernels on disk: they are computed once per machine, not once per process.

in       everything that the kernels depend on, and a function that computes them
out      the arrays
promise  a file appears whole or not at all; if it cannot be read or written, the kernels are
         computed and used all the same
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

from stages.kernel_folders import user_cache

Arrays = Mapping[str, npt.NDArray[Any]]


def load_or_compute(depends_on: object, compute: Callable[[], Arrays]) -> Arrays:
    """Return the arrays of `compute`, from disk if they were computed before.

    Parameters
    ----------
    depends_on : plain values
        Everything that the arrays depend on, including the version of the code that computes them.
    """
    text = json.dumps(depends_on, sort_keys=True).encode()
    path = user_cache() / f"kernels-{hashlib.blake2b(text, digest_size=16).hexdigest()}.npz"
    try:
        with path.open("rb") as stream, np.load(stream) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile):
        pass  # not there, or damaged: zipfile calls some damage encryption, a RuntimeError
    arrays = compute()
    unfinished = path.with_name(f".{path.stem}.{os.getpid()}.npz")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(unfinished, allow_pickle=False, **arrays)
        os.replace(unfinished, path)
    except OSError:
        with suppress(OSError):
            unfinished.unlink()
    return arrays
