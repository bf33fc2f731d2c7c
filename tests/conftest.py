"""Fixtures that several test modules share."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from tests.support.kernels import compile_once

compile_once()

# Compiled kernels are built at their first call: a deadline would time the compiler.
settings.register_profile("compiled", deadline=None)
settings.load_profile("compiled")

# Two threads that wait for each other on a busy machine take ten times as long as one.
torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")  # for the commands that tests start

# In the background SIGINT is ignored, which the commands that tests interrupt would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)

CHECKOUT = Path(__file__).resolve().parent.parent


def data_folder() -> Path:
    """Folder of the real layouts, which the project does not ship."""
    return Path(os.environ.get("HOTSCAN_DATA", CHECKOUT.parent / "shared" / "data"))


@pytest.fixture(scope="session")
def shared_data() -> Callable[[str], Path]:
    """Return a function from a name to a path, which skips the test where the file is absent."""

    def path_of(name: str) -> Path:
        path = data_folder() / name
        if not path.exists():
            pytest.skip(f"needs {name}, which is not shipped; set HOTSCAN_DATA to its folder")
        return path

    return path_of
