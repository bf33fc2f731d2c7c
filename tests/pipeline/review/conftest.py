"""Reviews of a copy of the small scan, served in a thread."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest

from pipeline.engine.storage.run_directory import Run
from pipeline.review.serve import ReviewRequest, open_review


@contextmanager
def serve(run: Path, by: str = "N. N.") -> Iterator[str]:
    """Serve a review in a thread, and yield its address."""
    request = ReviewRequest(run=run, waivers=run.parent / "waivers.toml", by=by)
    with open_review(request) as served:
        thread = Thread(target=served.serve)
        thread.start()
        try:
            yield served.address
        finally:
            served.server.should_exit = True
            thread.join()


CopyRun = Callable[[], Path]


@pytest.fixture
def copy_run(reference: Run, tmp_path: Path) -> CopyRun:
    """Return a function that copies the scan which other tests share."""

    def copy() -> Path:
        shutil.copytree(reference.path, tmp_path / "run")
        return tmp_path / "run"

    return copy


@pytest.fixture(scope="module")
def address(reference: Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A review for tests that decide nothing."""
    folder = tmp_path_factory.mktemp("review")
    shutil.copytree(reference.path, folder / "run")
    with serve(folder / "run") as found:
        yield found
