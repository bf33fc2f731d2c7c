"""Fixtures that several test modules share."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings

# Compiled kernels are built at their first call: a deadline would time the compiler.
settings.register_profile("compiled", deadline=None)
settings.load_profile("compiled")

# Two threads that wait for each other on a busy machine take ten times as long as one.
torch.set_num_threads(1)

CHECKOUT = Path(__file__).resolve().parent.parent


def data_folder() -> Path:
    """Folder of the real layouts, which the project does not ship."""
    return Path(os.environ.get("HOTSCAN_DATA", CHECKOUT.parent / "shared" / "data"))


@pytest.fixture(scope="session", autouse=True)
def kernel_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep kernels in a folder of this session: none of other code is read, none is left."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOTSCAN_CACHE", str(tmp_path_factory.mktemp("kernels")))
        yield


@pytest.fixture(scope="session")
def shared_data() -> Callable[[str], Path]:
    """Return a function from a name to a path, which skips the test where the file is absent."""

    def path_of(name: str) -> Path:
        path = data_folder() / name
        if not path.exists():
            pytest.skip(f"needs {name}, which is not shipped; set HOTSCAN_DATA to its folder")
        return path

    return path_of
